"""A remedy applied to somebody's model, and proved by measuring again.

    fixed = fix(model, loss, "forget-bias", 3.0, need=200)
    fixed.before.horizon, fixed.after.horizon, fixed.gained

The model is as it was when this returns, unless the remedy is to be kept.
"""

import copy as copying
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from retrograd.diagnosis import Kind, Remedy
from retrograd.diagnosis.finding import SEVERITIES
from retrograd.errors import ConfigError, UsageError
from retrograd.experiments.calling import MEASURED, Batches, Loss, taken
from retrograd.experiments.examination import diagnose
from retrograd.experiments.proving import FRESH, Proof, prove, seeded, written
from retrograd.remedies import Patch, Snapshot, remedy_in, remedy_named
from retrograd.reports import Report
from retrograd.trace.snapshot import untouched

TRAINED = 100  # steps, for a remedy that does nothing until something is trained


class NothingToFix(UsageError):
    """The diagnosis, `report`, names no remedy."""

    def __init__(self, report: Report) -> None:
        self.report = report
        found = " ".join(finding.message for finding in report.findings)
        super().__init__(
            f"No remedy is named: {found or 'nothing wrong was found.'} Ask for one to see what it does, such as "
            "orthogonal."
        )


@dataclass(frozen=True, repr=False)
class Fixed:
    """A model before and after a remedy. One of the training is measured after some: without it, and with it."""

    remedy: str  # "forget_bias=3"
    kind: Kind
    note: str  # what the remedy does, and what it costs
    before: Report
    after: Report
    predicted: float | None  # the horizon that was to be expected, where that was said
    kept: bool  # does the model have it now?
    trained: Proof | None = None  # a short training without and with it, where one was asked for
    model: nn.Module | None = None  # what has the remedy: the model, if it was kept, or its copy

    @property
    def gained(self) -> int:
        """Steps that the gradient reaches further; at least so many, where it outlives the sequence."""
        return self.after.horizon.steps - self.before.horizon.steps

    @property
    def told_apart(self) -> bool:
        """Is that more than chance: are there intervals, and do they not overlap?"""
        one, other = self.before.horizon, self.after.horizon
        if one.low is None or one.high is None or other.low is None or other.high is None or one.lost or other.lost:
            return False
        return other.low > one.high or other.high < one.low

    @property
    def cured(self) -> bool:
        """Is nothing wrong any more?"""
        return not something_wrong(self.after)

    @property
    def helps(self) -> bool:
        """Is nothing wrong any more, or is it better by more than chance: the horizon, or what is learned?"""
        further = self.gained > 0 and self.told_apart
        return self.cured or further or (self.trained is not None and self.trained.won)

    @property
    def sentence(self) -> str:
        chance = "" if self.told_apart or not self.gained else " That may be chance."
        if self.kind == "training" and self.trained:
            return (
                f"After {self.trained.steps} steps of training the gradient reaches {self.after.horizon} steps back "
                f"with {self.remedy}, and {self.before.horizon} without it.{chance}"
            )
        left = "It is in the model." if self.kept else "It is in the copy." if self.model else "It was taken back."
        return (
            f"{self.remedy}: the gradient reached {self.before.horizon} steps back, and {self.after.horizon} with it."
            f"{chance} {left}"
        )

    def __repr__(self) -> str:
        return f"{self.sentence} {self.trained.sentence}" if self.trained else self.sentence


def fix(
    model: nn.Module,
    loss: Loss,
    remedy: str | None = None,
    *numbers: float,
    need: int | None = None,
    keep: bool = False,
    copy: bool = False,
    batches: Batches | None = None,
    steps: int | None = None,
    lr: float = 3e-3,
    seeds: Sequence[int] = (0,),
) -> Fixed:
    """Diagnose, apply a remedy (`REMEDIES`, with hyphens or underscores) in place, diagnose again, and take it back.

    Without a name it is the first that the diagnosis names. `keep` leaves it in the model, `copy` puts it into a deep
    copy, `fixed.model`, and leaves the model alone. With `batches`, `loss` takes one of them beside the model; see
    `prove`. With `steps` the model is also trained for as many, without and with the remedy, and put back; a remedy of
    kind "training" is measured after that, 100 steps if left out. Weights are drawn under the first of the `seeds`.

    A start, and most architectures, discard what the recurrent layers have learned: they are for the beginning of a
    training. Raises what `diagnose` raises, NothingToFix where no remedy is given or named, and UsageError or
    NotMeasured, with the reason, where one does not apply; the model is then as it was.

    >>> fix(nn_lstm, loss, "forget-bias", 3.0, need=200).gained
    152
    """
    if keep and copy:
        raise UsageError("A remedy is kept in the model or put into a copy of it, not both.")
    named = _named(remedy, numbers) if remedy else None
    subject = _copied(model) if copy else model
    trains = steps or (0 if named and named[0].kind != "training" else TRAINED)
    case = _Case(subject, loss, _held(subject, batches, seeds, trains), need, tuple(seeds), lr)
    before = case.look(subject)
    patch, values = named or first_of(before)
    predicted = _predicted(before, patch, values)
    if patch.kind == "training":
        if keep or copy:
            raise UsageError(_nothing_to_keep(patch))
        return case.trained(patch, values, steps or TRAINED, predicted)
    changed, after, proof = case.applied(patch, values, steps)
    if keep or copy:
        changed.restore()
    return Fixed(
        remedy=written(patch.name, values),
        kind=patch.kind,
        note=patch.note,
        before=before,
        after=after,
        predicted=predicted,
        kept=keep,
        trained=proof,
        model=subject if keep or copy else None,
    )


def first_of(report: Report) -> tuple[Patch, tuple[float, ...]]:
    """The first remedy that the report names, with its numbers. Raises NothingToFix where it names none."""
    for offered in _offered(report):
        return remedy_named(offered.name), tuple(offered.arguments.values())
    raise NothingToFix(report)


def something_wrong(report: Report) -> bool:
    """Is there more than a note?"""
    return any(finding.severity == SEVERITIES[0] for finding in report.findings)


@dataclass(frozen=True, eq=False)
class _Case:
    """A model that is to be fixed, and how it is measured and trained."""

    model: nn.Module
    loss: Loss
    batches: list[Any] | None
    need: int | None
    seeds: tuple[int, ...]
    lr: float

    def look(self, model: nn.Module) -> Report:
        if self.batches is None:
            return diagnose(model, self.loss, need=self.need)
        return diagnose(model, self.loss, need=self.need, batches=self.batches[:MEASURED])

    def applied(
        self, patch: Patch, numbers: tuple[float, ...], steps: int | None
    ) -> tuple[Snapshot, Report, Proof | None]:
        """The model with the remedy, what was found of it, and its training; the model is as it was."""
        found = Snapshot(self.model)
        try:
            with _drawn(self.seeds[0]):
                patch.apply(self.model, self._first(), *numbers)
            changed, after = Snapshot(self.model), self.look(self.model)
        finally:
            found.restore()
        return changed, after, self._proof(patch, numbers, steps) if steps else None

    def trained(self, patch: Patch, numbers: tuple[float, ...], steps: int, predicted: float | None) -> Fixed:
        """A remedy of the training, measured where there has been some."""
        proof = self._proof(patch, numbers, steps, look=self.look)
        plain, remedied = proof.pairs[0].plain.report, proof.pairs[0].remedied.report
        assert plain is not None
        assert remedied is not None
        return Fixed(written(patch.name, numbers), patch.kind, patch.note, plain, remedied, predicted, False, proof)

    def _proof(
        self, patch: Patch, numbers: tuple[float, ...], steps: int, look: Callable[[nn.Module], Report] | None = None
    ) -> Proof:
        options: dict[str, Any] = {"batches": self.batches, "steps": steps, "lr": self.lr}
        return prove(self.model, self.loss, patch.name, *numbers, seeds=self.seeds, look=look, **options)

    def _first(self) -> Callable[[nn.Module], Any]:
        """The loss that a remedy may measure, as a function of the model alone."""
        return self.loss if self.batches is None else lambda model: self.loss(model, (self.batches or [])[0])


def _held(model: nn.Module, batches: Batches | None, seeds: Sequence[int], steps: int) -> list[Any] | None:
    """The batches that are measured and trained on, drawn without touching anybody's random numbers."""
    if not seeds:
        raise ConfigError("At least one seed is needed.")
    with untouched(model):
        seeded(seeds[0])
        return taken(batches, steps * len(seeds) + FRESH if steps else MEASURED)


def _nothing_to_keep(patch: Patch) -> str:
    return (
        f"{patch.name} is a way to train and leaves nothing in the model to be kept. In a loop of your own: "
        f'course = rg.REMEDIES["{patch.name}"].apply(model, loss), and `with course.step(model):` around the loss '
        "and its backward()."
    )


def _named(remedy: str, numbers: tuple[float, ...]) -> tuple[Patch, tuple[float, ...]]:
    """With the numbers of the call, or those behind the name."""
    patch, own = remedy_in(remedy)
    if own and numbers:
        raise ConfigError(f"{remedy} has its numbers behind the name, and got {len(numbers)} more; give them once.")
    return patch, own or tuple(map(float, numbers))


def _offered(report: Report) -> Iterator[Remedy]:
    for finding in report.findings:
        yield from finding.remedies


def _predicted(report: Report, patch: Patch, numbers: tuple[float, ...]) -> float | None:
    """What the diagnosis expected of just this."""
    for offered in _offered(report):
        if offered.name.replace("-", "_") == patch.name and tuple(offered.arguments.values()) == numbers:
            return offered.predicted
    return None


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copying.deepcopy(model)
    except Exception as error:
        raise UsageError(
            f"The model cannot be copied ({error}); leave copy out, and the remedy is applied in place and taken back."
        ) from None


@contextmanager
def _drawn(seed: int) -> Iterator[None]:
    """What is drawn inside is what `prove` draws under this seed, and is nothing to anybody else."""
    with untouched(nn.Module()):
        seeded(seed)
        yield
