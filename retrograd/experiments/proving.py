"""Does a remedy help to learn? A short training without it and the same with it, side by side.

    proof = prove(model, loss, "calibrated", batches=make_batches, steps=200)
    proof.pairs[0].plain.curve, proof.pairs[0].remedied.curve, proof.sentence

Both halves begin at the same weights, meet the same batches in the same order under the same random numbers, and have
the same Adam and clipping. The model is trained in place, and left as it was found.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import fmean, stdev
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from retrograd.errors import ConfigError, NotMeasured
from retrograd.experiments.calling import Batches, Loss, taken
from retrograd.remedies import Course, Plain, Snapshot, remedy_named
from retrograd.reports import Report
from retrograd.trace.record import eagerly
from retrograd.trace.snapshot import untouched
from retrograd.training.clipping import clip_

FRESH = 8  # batches that neither half was trained on
LEARNS = 0.1  # the share of the loss at the start that must go
OWN_CLIP = ("clip_norm", "clip_in_time")  # remedies that would be hidden behind another clipping

Look = Callable[[nn.Module], Report]


@dataclass(frozen=True)
class Half:
    """One of the two trainings."""

    curve: tuple[float, ...]  # the mean loss at each step, before that step
    final: tuple[float, ...]  # the mean loss on each fresh batch, at the end
    score: float | None  # what `score` gives, on average over the fresh batches
    statistics: dict[str, float]  # of the remedy, where it is one of training
    report: Report | None = None  # what a look at the trained model found, where one was asked for

    @property
    def loss(self) -> float:
        """On the fresh batches, at the end."""
        return fmean(self.final)


@dataclass(frozen=True)
class Pair:
    """Two halves that differ in the remedy alone."""

    seed: int
    start: float  # the mean loss on the fresh batches before any training, without the remedy
    plain: Half
    remedied: Half

    @property
    def won(self) -> bool:
        """Is the remedied half better at the end, by more than twice the standard error of that?

        On a single batch there is none; then by a tenth of the loss at the start.
        """
        if not self.remedied.loss < float("inf"):
            return False
        gains = [a - b for a, b in zip(self.plain.final, self.remedied.final, strict=True)]
        if not all(x < float("inf") for x in gains):
            return True
        several = len(set(gains)) > 1
        return fmean(gains) > (2 * stdev(gains) / len(gains) ** 0.5 if several else LEARNS * abs(self.start))

    def learns(self, half: Half) -> bool:
        """Did a tenth of the loss at the start go?"""
        return half.loss < (1 - LEARNS) * self.start if self.start > 0 else half.loss < self.start


@dataclass(frozen=True, repr=False)
class Proof:
    """What a remedy does to a training."""

    remedy: str  # "forget_bias=3"
    steps: int
    lr: float
    clip: float | None  # of all gradients by norm, in both halves
    pairs: tuple[Pair, ...]  # one a seed
    fresh: bool  # was there data for the end that neither half was trained on?

    @cached_property
    def won(self) -> bool:
        """In more than half of the seeds?"""
        return 2 * sum(pair.won for pair in self.pairs) > len(self.pairs)

    @property
    def sentence(self) -> str:
        on = "fresh batches" if self.fresh else "the batches of the training"
        start, plain, remedied = (
            fmean(values)
            for values in zip(*((p.start, p.plain.loss, p.remedied.loss) for p in self.pairs), strict=True)
        )
        said = (
            f"After {self.steps} steps the loss on {on} is {remedied:.3g} with {self.remedy} and {plain:.3g} without "
            f"it; it was {start:.3g} before."
        )
        return f"{said}{self._scores()} {self._verdict()}"

    def _scores(self) -> str:
        scores = [(p.plain.score, p.remedied.score) for p in self.pairs]
        known = [(a, b) for a, b in scores if a is not None and b is not None]
        if not known:
            return ""
        return f" The score is {fmean(b for _, b in known):.3g}, and {fmean(a for a, _ in known):.3g} without."

    def _verdict(self) -> str:
        n, of = len(self.pairs), f" ({sum(p.won for p in self.pairs)} of {len(self.pairs)} seeds)"
        seeds = of if n > 1 else ""
        if not self.won:
            return f"That is no gain that could not be chance{seeds}."
        learned = [(pair.learns(pair.plain), pair.learns(pair.remedied)) for pair in self.pairs]
        if all(b and not a for a, b in learned):
            return f"It learns with the remedy alone{seeds}."
        return f"It learns better with the remedy{seeds}."

    def __repr__(self) -> str:
        return self.sentence


def prove(
    model: nn.Module,
    loss: Loss,
    remedy: str,
    *numbers: float,
    batches: Batches | None = None,
    steps: int = 200,
    lr: float = 3e-3,
    clip: float | None = None,
    seeds: Sequence[int] = (0,),
    score: Callable[..., float] | None = None,
    look: Look | None = None,
) -> Proof:
    """Train `model` twice for `steps` steps of Adam, without the remedy and with it, once for each of the `seeds`.

    `loss(model, batch)` is called with `batches`: any iterable, repeated if it is short, or a function that gives one,
    as a generator function does. All that is trained on is kept in memory. `loss(model)` alone is called at each step;
    what it draws from the global generators is the same in both halves. `clip` is by norm, 1 if left out, and none
    beside a remedy that clips. `score(model)`, or `score(model, batch)`, is another figure for the end, such as the
    accuracy. `look(model)` is what to report of each half when it has been trained.

    >>> prove(model, loss, "calibrated", batches=make_batches).sentence
    'After 200 steps the loss on fresh batches is 0.0085 with calibrated and 2.5 without; it was 2.52 before. ...'
    """
    if not isinstance(steps, int) or steps < 1:
        raise ConfigError(f"A training needs a whole number of steps, at least 1; got {steps!r}.")
    if not lr > 0:
        raise ConfigError(f"The learning rate must be positive, got {lr:g}.")
    if not seeds:
        raise ConfigError("At least one seed is needed.")
    patch = remedy_named(remedy)
    limit = (None if patch.name in OWN_CLIP else 1.0) if clip is None else clip or None
    pairs = []
    with untouched(model), torch.enable_grad(), eagerly(model):
        supply = _Supply(loss, score, batches, steps, tuple(seeds))
        before = Snapshot(model)
        for seed in seeds:
            start, _ = _final(model, supply, seed)
            halves = []
            for put in (patch, None):  # a remedy that does not apply is refused before anything is trained
                before.restore()
                seeded(seed)
                course: Course = put.apply(model, supply.at(seed, 0), *numbers) if put else Plain()
                halves.append(_trained(model, course, supply, seed, lr=lr, clip=limit, look=look))
            before.restore()
            pairs.append(Pair(seed, fmean(start), plain=halves[1], remedied=halves[0]))
    fresh = supply.fresh and len(set(start)) > 1  # a loss without batches may have one of its own
    return Proof(written(patch.name, numbers), steps, lr, limit, tuple(pairs), fresh)


class _Supply:
    """The batches of every training step, and those kept for the end; both halves are given the same."""

    def __init__(
        self,
        loss: Loss,
        score: Callable[..., float] | None,
        batches: Batches | None,
        steps: int,
        seeds: tuple[int, ...],
    ) -> None:
        self.loss, self.score, self.steps, self.seeds = loss, score, steps, seeds
        seeded(seeds[0])
        count = steps * len(seeds)
        found = taken(batches, count + FRESH)
        self.fresh = found is None or len(found) == count + FRESH
        self.batches = found and (found[:count] if self.fresh else found)
        self.last = found and (found[count:] if self.fresh else found[:FRESH])

    def at(self, seed: int, step: int) -> Callable[[nn.Module], Tensor]:
        """The loss of this step of training, with the random numbers that belong to it."""
        number = self.seeds.index(seed) * self.steps + step
        return partial(_called, self.loss, _of(self.batches, number), (seed, step))

    def ends(self, seed: int) -> Iterator[tuple[Callable[[nn.Module], Tensor], Callable[[nn.Module], Any] | None]]:
        """The loss of each batch for the end, and its score."""
        for i in range(len(self.last or range(FRESH))):
            given, at = _of(self.last, i), (seed, self.steps + i)
            yield partial(_called, self.loss, given, at), self.score and partial(_called, self.score, given, at)


def _of(batches: list[Any] | None, i: int) -> tuple[Any, ...]:
    return () if batches is None else (batches[i % len(batches)],)


def _called(function: Callable[..., Any], given: tuple[Any, ...], at: tuple[int, int], model: nn.Module) -> Any:
    seeded(*at)
    return function(model, *given)


def seeded(seed: int, step: int = 0) -> None:
    """The same random numbers in both halves, however many the remedy has drawn in between."""
    number = hash((seed, step)) % 2**32
    torch.manual_seed(number)
    random.seed(number)
    numpy.random.seed(number)


def written(name: str, numbers: Sequence[float]) -> str:
    """A remedy as one word: "forget_bias=3"."""
    return "=".join([name, *([",".join(f"{x:g}" for x in numbers)] if numbers else [])])


def _trained(
    model: nn.Module,
    course: Course,
    supply: _Supply,
    seed: int,
    *,
    lr: float,
    clip: float | None,
    look: Look | None,
) -> Half:
    """Train in place, and measure on what is left for the end."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise NotMeasured("No weight of the model is trained: none has requires_grad.")
    optimizer = torch.optim.Adam(parameters, lr)
    curve = []
    for step in range(supply.steps):
        optimizer.zero_grad()
        with course.step(model):
            value = supply.at(seed, step)(model).mean()
            value.backward()  # type: ignore[no-untyped-call]
        if clip:
            clip_([p.grad for p in parameters if p.grad is not None], norm=clip)
        optimizer.step()
        curve.append(float(value.detach()))
    optimizer.zero_grad()
    final, score = _final(model, supply, seed)
    return Half(tuple(curve), tuple(final), score, course.statistics, look(model) if look else None)


@torch.no_grad()
def _final(model: nn.Module, supply: _Supply, seed: int) -> tuple[list[float], float | None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    losses, scores = [], []
    for loss, score in supply.ends(seed):
        losses.append(float(loss(model).mean()))
        if score:
            scores.append(float(score(model)))
    for module, training in modes:
        module.training = training
    return losses, fmean(scores) if scores else None
