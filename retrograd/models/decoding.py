"""The likeliest sentence of a model that writes one token after another.

    greedy    y[t] = argmax over v of  ln p(v | y[<t])
    beam      the W best beginnings are kept at each step; one that ends is set aside and leaves its place empty
              score = (1/n^a) sum_t ln p(y[t] | y[<t]), over the n tokens, the end's included      a = 1: their mean

Axes: B sentences at a time, W hypotheses of each, V types. After Graves (2012), Sutskever et al. (2014) and, for the
normalisation by length, Wu et al. (2016). Both go by a step function and know no model: (tokens (1, B), state or None)
-> (logits (1, B, V), state), a flat tuple of tensors with the batch first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import ConfigError, NonFinite

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State | None], tuple[Tensor, State]]


@dataclass(frozen=True)
class Ending:
    """How a sentence begins and when it is over."""

    first: int  # the token that stands before the first one
    last: int  # the token that ends it
    longest: int  # tokens, the end's included; a sentence that has not ended by then is taken as it stands
    never: Sequence[int] = ()  # tokens that are not written


@dataclass(frozen=True)
class Hypothesis:
    tokens: tuple[int, ...]  # without the end
    score: float
    ended: bool


@torch.no_grad()
def greedy(step: Step, batch: int, ending: Ending, *, device: torch.device | None = None) -> list[tuple[int, ...]]:
    """The tokens of each sentence, without the end. Raises NonFinite where the scores are no numbers."""
    tokens = torch.full((1, batch), ending.first, device=device)
    open_ = torch.ones(batch, dtype=torch.bool, device=device)
    state: State | None = None
    written: list[Tensor] = []
    while bool(open_.any()) and len(written) < ending.longest:
        logits, state = step(tokens, state)
        tokens = _allowed(logits, ending).argmax(-1)
        open_ = open_ & (tokens[0] != ending.last)
        written.append(torch.where(open_, tokens[0], ending.last))
    sentences = torch.stack(written, 1).tolist()
    return [tuple(token for token in sentence if token != ending.last) for sentence in sentences]


@torch.no_grad()
def beam(
    step: Step, batch: int, ending: Ending, *, width: int, power: float = 1.0, device: torch.device | None = None
) -> list[Hypothesis]:
    """The best hypothesis of each sentence: of those that ended, or of the others where none did.

    `power`: a, of the length that scores are divided by. Width 1 is greedy. Raises NonFinite, ConfigError.
    """
    if width < 1:
        raise ConfigError(f"A beam is 1 wide at least; got {width}.")
    search = _Search(batch, width, ending, power, device)
    state: State | None = None
    while len(search.searched):
        logits, state = step(search.latest, state)
        rows = search.extend(_allowed(logits, ending)[0].log_softmax(-1))
        state = tuple(x[rows] for x in state)
    return [hypothesis for hypothesis in search.best if hypothesis is not None]


class _Search:
    """The open hypotheses of the sentences that are still searched; a place of score -inf is empty."""

    def __init__(self, batch: int, width: int, ending: Ending, power: float, device: torch.device | None) -> None:
        self.width, self.ending, self.power = width, ending, power
        self.best: list[Hypothesis | None] = [None] * batch
        self.searched = torch.arange(batch, device=device)  # (B,) which sentences these are
        self.left = torch.full((batch,), width, device=device)  # (B,) hypotheses that have not ended
        self.words = torch.full((batch, 1, 1), ending.first, device=device)  # (B, W, n + 1)
        self.scores = torch.zeros(batch, 1, device=device)  # (B, W) ln p

    @property
    def latest(self) -> Tensor:
        """The token of each open hypothesis that the model reads next, (1, B W)."""
        return self.words[..., -1].view(1, -1)

    def extend(self, ln_p: Tensor) -> Tensor:
        """One token more, by ln p (B W, V); which rows of the state the hypotheses go on from, (B W,)."""
        B, W = self.scores.shape
        V = ln_p.shape[-1]
        totals = (self.scores[..., None] + ln_p.view(B, W, V)).flatten(1)
        top, chosen = totals.topk(min(self.width, W * V))
        places = torch.arange(top.shape[1], device=top.device)
        self.scores = top.masked_fill(places >= self.left[:, None], -torch.inf)
        parent, token = chosen // V, chosen % V
        self.words = torch.cat([_chosen(self.words, parent), token[..., None]], -1)
        self._set_aside()
        rows = parent + W * torch.arange(B, device=top.device)[:, None]
        return rows[self._drop_what_is_decided()].flatten()

    def _set_aside(self) -> None:
        """Those that end, or are as long as they may be, compete for the best of their sentence."""
        open_ = self.scores.isfinite()
        ends = open_ & (self.words[..., -1] == self.ending.last)
        last_step = self._written == self.ending.longest
        for b, w in (open_ if last_step else ends).nonzero().tolist():
            self._compete(int(self.searched[b]), b, w, ended=bool(ends[b, w]))
        self.left = self.left - ends.sum(1)
        self.scores = self.scores.masked_fill(open_ if last_step else ends, -torch.inf)

    def _compete(self, sentence: int, b: int, w: int, *, ended: bool) -> None:
        tokens = self.words[b, w, 1:].tolist()
        new = Hypothesis(tuple(tokens[:-1] if ended else tokens), self._normalised(float(self.scores[b, w])), ended)
        old = self.best[sentence]
        if old is None or (new.ended, new.score) > (old.ended, old.score):
            self.best[sentence] = new

    def _drop_what_is_decided(self) -> Tensor:
        """A sentence is decided when nothing open can pass its best: ln p only falls, and is divided by no more than
        the longest length. Which sentences are left, (B,) true or false."""
        bound = self.scores.max(1).values / self.ending.longest**self.power
        best = [self.best[i] for i in self.searched.tolist()]
        reached = [h.score if h is not None and h.ended else -torch.inf for h in best]
        going_on: Tensor = bound > bound.new_tensor(reached)
        self.searched, self.left = self.searched[going_on], self.left[going_on]
        self.words, self.scores = self.words[going_on], self.scores[going_on]
        return going_on

    @property
    def _written(self) -> int:
        return self.words.shape[-1] - 1

    def _normalised(self, score: float) -> float:
        return score / float(self._written**self.power)


def _chosen(x: Tensor, index: Tensor) -> Tensor:
    """x (B, W, n) at index (B, W') of its second axis: (B, W', n)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _allowed(logits: Tensor, ending: Ending) -> Tensor:
    """(1, B, V), -inf where a token is never written."""
    if not bool(logits.isfinite().all()):
        raise NonFinite("The model's scores are no longer finite, so it cannot write.")
    return logits.index_fill(-1, torch.tensor(ending.never, dtype=torch.long, device=logits.device), -torch.inf)
