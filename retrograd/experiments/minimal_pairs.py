"""Of two ways to go on, is the right one the likelier?

    sum over t of ln P(right[t] | prefix, right[<t])  >  the same of wrong          a tie is half right

Each pair is read from a zero state, at the beginning of a line; or from the state that the pairs before it left, each
with its right way to go on to its line's end. A pair whose deciding words the model does not know is counted apart.

Where the latest word of the sort that decides calls for the wrong one, a model that goes by syntactic recency is right
and one that goes by sequential recency is wrong (Linzen et al. 2016).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from retrograd import runs
from retrograd.errors import NonFinite
from retrograd.experiments.build import load_with_tokenizer
from retrograd.experiments.objective import at_rest
from retrograd.models import LanguageModel, NGram
from retrograd.reports import Grid
from retrograd.tasks import pairs as minimal
from retrograd.tasks.pairs import Encoded, Pair
from retrograd.tasks.tokenizers import Tokenizer

Ids = tuple[int, ...]
Scores = list[tuple[float, float]]  # ln P of each pair's right and wrong way to go on
Score = Callable[[Sequence[Encoded]], Scores]
State = tuple[Tensor, ...] | None
TOKENS, LOGITS = 2**13, 2**24  # that are computed at a time
EXACT = 12  # distances that are told one by one; more are told up to 1, 2, 4, 8 ...


@dataclass(frozen=True)
class Tally:
    """Of so many pairs, the share that is right; `beyond`: the share that is longer than any trained on."""

    pairs: int
    accuracy: float
    beyond: float


@dataclass(frozen=True)
class Judgement:
    """What a model makes of minimal pairs."""

    pairs: tuple[Pair, ...]
    hits: tuple[float, ...]  # of each: 1 right, 0 wrong, 1/2 a tie, NaN where it cannot be judged
    coverage: float  # share of the pairs' tokens that are in the vocabulary

    def tally(self, chosen: Callable[[Pair], bool] = lambda pair: True) -> Tally:
        """Of those that can be judged."""
        both = zip(self.pairs, self.hits, strict=True)
        told = [(hit, pair.beyond) for pair, hit in both if not math.isnan(hit) and chosen(pair)]
        accuracy, beyond = np.mean(told, axis=0).tolist() if told else (math.nan, math.nan)
        return Tally(len(told), accuracy, beyond)

    @property
    def judged(self) -> int:
        return self.tally().pairs

    @property
    def accuracy(self) -> float:
        return self.tally().accuracy

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pair.kind for pair in self.pairs))

    def of(self, kind: str) -> "Judgement":
        """What it makes of one kind of them."""
        both = [(pair, hit) for pair, hit in zip(self.pairs, self.hits, strict=True) if pair.kind == kind]
        return Judgement(tuple(pair for pair, _ in both), tuple(hit for _, hit in both), self.coverage)

    @property
    def syntactic(self) -> float:
        """Where the two kinds of recency call for different words, the share that goes by the syntactic one."""
        return self.tally(lambda pair: pair.misled is True).accuracy

    @property
    def sequential(self) -> float:
        """... and the share that goes by the sequential one."""
        return 1 - self.syntactic

    @property
    def agreeing(self) -> float:
        """Accuracy where both call for the same word."""
        return self.tally(lambda pair: pair.misled is False).accuracy

    def by_attractors(self) -> dict[int, Tally]:
        return _by([pair.attractors for pair in self.pairs], lambda n: self.tally(lambda pair: pair.attractors == n))

    def by_distance(self, *, misled: bool | None = None) -> dict[int, Tally]:
        """In words; of all pairs, or of those alone that the latest word misleads, or does not."""
        distances = {pair.distance for pair in self.pairs if pair.distance is not None}
        place = _identity if len(distances) <= EXACT else _upper

        def tally(n: int) -> Tally:
            return self.tally(
                lambda p: p.distance is not None and place(p.distance) == n and misled in (None, p.misled)
            )

        return _by([place(distance) for distance in distances], tally)

    def figures(self) -> dict[str, float]:
        """By name; what the pairs do not tell is left out."""
        named = {"pairs": float(len(self.pairs)), "pairs judged": float(self.judged)}
        named |= {"pair accuracy": self.accuracy, "pair coverage": self.coverage}
        if len(self.kinds) > 1:
            named |= {f"pair accuracy, {kind}": self.of(kind).accuracy for kind in self.kinds}
        named |= {"syntactic recency": self.syntactic, "sequential recency": self.sequential}
        named |= {"accuracy where both agree": self.agreeing}
        return {name: value for name, value in named.items() if not math.isnan(value)}

    def grids(self) -> dict[str, Grid]:
        """By attractors and by distance, of each kind that has them."""
        grids: dict[str, Grid] = {}
        for kind in self.kinds:
            mine, named = self.of(kind), f": {kind}" if kind else ""
            if attractors := mine.by_attractors():
                heads = ("attractors", "accuracy", "pairs", "longer than trained")
                rows = [(float(n), t.accuracy, float(t.pairs), t.beyond) for n, t in attractors.items()]
                grids[f"Accuracy by attractors{named}"] = Grid(heads, tuple(rows))
            if distances := mine.by_distance():
                misled, others = mine.by_distance(misled=True), mine.by_distance(misled=False)
                more = ("words between", "accuracy", "misled", "not misled", "pairs", "longer than trained")
                told = [
                    (float(n), t.accuracy, misled[n].accuracy, others[n].accuracy, float(t.pairs), t.beyond)
                    for n, t in distances.items()
                ]
                grids[f"Accuracy by distance{named}"] = Grid(more, tuple(told))
        return grids


def evaluate_pairs(path: str | Path, file: str | Path, *, carry: bool = False) -> Judgement:
    """The best model of a run on a file of minimal pairs. Raises RunError, DataError for one with no known word."""
    pairs = minimal.read(file)
    model, tokenizer = load_with_tokenizer(path)
    minimal.refuse_unknown([minimal.encoded(pair, tokenizer) for pair in pairs], tokenizer, file)
    anew = runs.open_run(path).config().training.carry == "document"
    return judge(model, tokenizer, pairs, carry=carry, anew=anew)


def judge(
    model: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[Pair], *, carry: bool = False, anew: bool = False
) -> Judgement:
    """`anew`: the model was trained with a state that starts at zero in each document."""
    if isinstance(model, NGram):
        return judged(by_counts(model, tokenizer.first, carry=carry, anew=anew), tokenizer, pairs)
    with at_rest(model):
        return judged(by_network(model, tokenizer.first, carry=carry), tokenizer, pairs)


def judged(score: Score, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> Judgement:
    """Raises NonFinite where a score is no number."""
    asked = [minimal.encoded(pair, tokenizer) for pair in pairs]
    hits = []
    for pair, (right, wrong) in zip(asked, score(asked), strict=True):
        if not (math.isfinite(right) and math.isfinite(wrong)):
            raise NonFinite("The model's scores are no longer finite, so it cannot tell which of two is the likelier.")
        hit = 0.5 if right == wrong else float(right > wrong)
        hits.append(hit if minimal.is_known(pair, tokenizer) else math.nan)
    return Judgement(tuple(pairs), tuple(hits), minimal.coverage(asked, tokenizer))


def by_network(model: nn.Module, first: int, *, carry: bool = False) -> Score:
    """`first`: the token that stands before a line."""
    return (lambda asked: _carried(model, first, asked)) if carry else (lambda asked: _reset(model, first, asked))


def by_counts(model: NGram, first: int, *, carry: bool = False, anew: bool = False) -> Score:
    """`anew`: nothing stands before a line."""
    return lambda asked: _counted(model, () if anew else (first,), asked, carry=carry)


@torch.no_grad()
def _reset(model: nn.Module, first: int, asked: Sequence[Encoded]) -> Scores:
    """All side by side. What both sides of a pair begin with is read once where they differ in the last token alone."""
    asks = [((first, *pair.prefix, *form), len(form)) for pair in asked for form in (pair.right, pair.wrong)]
    same: dict[Ids, list[int]] = {}  # of what is read, whose it is
    for i, (tokens, _) in enumerate(asks):
        same.setdefault(tokens[:-1], []).append(i)
    found = [math.nan] * len(asks)
    for texts in _batches(sorted(same, key=len), _most(model)):
        longest = len(texts[-1])  # what is shorter is filled up behind its end
        inputs = torch.tensor([[*text, *[first] * (longest - len(text))] for text in texts]).t()
        log_p = _log_p(model, inputs, None)[0]
        for b, text in enumerate(texts):
            for i in same[text]:
                found[i] = _summed(log_p[: len(text), b], *asks[i])
    return list(zip(found[::2], found[1::2], strict=True))


@torch.no_grad()
def _carried(model: nn.Module, first: int, asked: Sequence[Encoded]) -> Scores:
    """One after the other. `before`: what follows the state and was not read yet."""
    state: State = None
    before: Ids = (first,)
    scores = []
    for pair in asked:
        found, states = [], []
        for form in (pair.right, pair.wrong):
            tokens = (*before, *pair.prefix, *form)
            log_p, after = _log_p(model, torch.tensor(tokens[:-1])[:, None], state)
            found.append(_summed(log_p[:, 0], tokens, len(form)))
            states.append(after)
        scores.append((found[0], found[1]))
        state = states[0]
        before = _ended((pair.right[-1], *pair.rest), first)
    return scores


def _counted(model: NGram, first: Ids, asked: Sequence[Encoded], *, carry: bool) -> Scores:
    """All in one piece, the history cut between them; as much as counts of what came before is repeated."""
    ids: list[int] = []
    starts: list[int] = []
    ends: list[tuple[int, int]] = []
    before: Ids = first
    for pair in asked:
        for form in (pair.right, pair.wrong):
            starts.append(len(ids))
            ids += [*before, *pair.prefix, *form]
            ends.append((len(ids) - len(form), len(ids)))
        if carry:
            line = (*before, *pair.prefix, *pair.right, *pair.rest)
            before = (_ended(line, *first) if first else line)[-len(model.orders) :]
    marks = np.zeros(len(ids), dtype=bool)
    marks[starts] = True
    log_p = model.log_probabilities(np.array(ids, dtype=np.int64), marks)
    found = [float(log_p[begin:end].sum()) for begin, end in ends]
    return list(zip(found[::2], found[1::2], strict=True))


def _ended(line: Ids, end: int) -> Ids:
    """The line with its end, if it has none."""
    return line if line[-1] == end else (*line, end)


def _log_p(model: nn.Module, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """ln P of what comes next (T, B, V), on the CPU, and the state after the last step."""
    device = next(model.parameters()).device
    logits, state = model(tokens.to(device), state, None)
    return logits.log_softmax(-1).cpu(), state


def _summed(log_p: Tensor, tokens: Ids, last: int) -> float:
    """ln P of the last so many tokens; log_p (T, V) is of those behind the first one."""
    targets = torch.tensor(tokens[-last:])[:, None]
    return float(log_p[-last:].gather(1, targets).sum(dtype=torch.float64))


def _most(model: nn.Module) -> int:
    """How many tokens are read at a time."""
    softmax = model.softmax
    assert isinstance(softmax, nn.Linear)
    return min(TOKENS, LOGITS // softmax.out_features)


def _batches(texts: Sequence[Ids], most: int) -> Iterator[Sequence[Ids]]:
    """Those of similar length together, so that each batch, filled up, has at most so many tokens, or one text."""
    begin = 0
    for end in range(1, len(texts) + 1):
        if end == len(texts) or (end - begin + 1) * len(texts[end]) > most:
            yield texts[begin:end]
            begin = end


def _identity(distance: int) -> int:
    return distance


def _upper(distance: int) -> int:
    """The power of two that it is at most."""
    return 1 << (distance - 1).bit_length() if distance > 0 else 0


def _by(places: Iterable[int | None], tally: Callable[[int], Tally]) -> dict[int, Tally]:
    return {n: tally(n) for n in sorted({n for n in places if n is not None})}
