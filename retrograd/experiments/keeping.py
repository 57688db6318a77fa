"""What of a training is kept: the weights, the last two and the best by validation, with all that training goes on
from: optimiser, schedule position, random states, data position, carried state, and the numbers counted so far.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from retrograd import config
from retrograd.errors import RunError
from retrograd.experiments import logbook
from retrograd.experiments.objective import Evaluation, evaluate
from retrograd.experiments.work import Work
from retrograd.numerics import all_finite
from retrograd.reports import Measurement
from retrograd.reports.tensorboard import Board
from retrograd.runs import Run
from retrograd.training import checkpoint, snapshot
from retrograd.training.checkpoint import Checkpoint
from retrograd.training.loop import Place, Step
from retrograd.training.pointer import point, pointed
from retrograd.training.rollback import Rollback
from retrograd.training.schedules import Position

SAVE_EVERY = 60.0  # seconds
VALIDATIONS = 10  # in one run, unless validate_every says otherwise
RECENT = 50  # steps over which the shown loss and share clipped are averaged
T = TypeVar("T")


@dataclass
class Counts:
    """The numbers that a resumed training goes on with."""

    worse: int = 0  # validations since the best
    validations: int = 0  # that were due so far
    validated: int = -1  # the step of the last one
    sampled: int = -1  # the tenth of the run in which the model last wrote something
    logged: int = 0  # the step of the last line of numbers in the log
    strikes: float = 0.0  # see Rollback
    measuring: float = 0.0  # seconds


@dataclass
class Keeper:
    """Validates and saves one training into one run, and puts it back."""

    run: Run
    work: Work
    rollback: Rollback
    counts: Counts = field(default_factory=Counts)
    recent: deque[Step] = field(default_factory=lambda: deque(maxlen=RECENT))
    latest: Evaluation | None = None
    best: float = math.inf  # validation of the checkpoint that is pointed to as the best, nats per target
    place: Place = field(default_factory=Place)  # where training stands
    saved: int = -1  # the step of the last checkpoint
    minute: float = 0.0  # seconds into the training when a checkpoint was last written by the clock
    saving: float = 0.0  # seconds that all checkpoints took
    board: Board | None = None  # TensorBoard's files, where they are wanted

    @property
    def had_enough(self) -> bool:
        """Has the validation not become better for as long as training is patient?"""
        patience = self.work.settings.training.patience
        return patience is not None and self.counts.worse >= patience

    def log(self, **values: Any) -> None:
        """One line of numbers, of the step where training stands."""
        step = self.place.at.step
        self.run.record(step=step, **values)
        if self.board:
            self.board.add(step, **values)

    def look(self, taken: Measurement | None) -> None:
        """Log what was measured, if anything was, under the step of the weights that it was measured on."""
        if taken is None:
            return
        values = logbook.looked(taken)
        if not any(line["step"] == taken.step and "horizon" in line for line in self.run.metrics()):
            self.run.record(step=taken.step, **values)
            if self.board:
                self.board.add(taken.step, **values)

    def validate(self, sample: Callable[[], str | None]) -> None:
        """Read the validation data, and save: as the best where it is."""
        step, counts = self.place.at.step, self.counts
        if step == counts.validated:
            return
        self.latest = evaluate(self.work.model, self.work.task.validation(), self.work.device)
        self.log(validation=self.latest.loss, accuracy=self.latest.accuracy)
        better = self.latest.loss < self.best
        counts.validated, counts.worse = step, 0 if better else counts.worse + 1
        tenth = int(10 * self.work.budget.progress(self.place.at))
        if counts.sampled < tenth < 10 and (text := sample()):  # the end has a longer one of its own
            counts.sampled = tenth
            self.log(sample=text)
        self._write(milestone=math.isfinite(self.latest.loss), best=self.latest.loss if better else None)

    def save(self) -> None:
        """Write a checkpoint of where training stands, unless there is one."""
        if self.place.at.step != self.saved:
            # where the budget is in minutes no two runs are alike, and going back by little loses little
            self._write(milestone=self.work.budget.minutes is not None or self.place.at.step == 0)

    def save_now_and_then(self) -> None:
        """A checkpoint a minute: that much work may be lost, whatever happens."""
        if self.place.at.seconds - self.minute >= SAVE_EVERY:
            self.minute = self.place.at.seconds
            self.save()

    def _write(self, *, milestone: bool, best: float | None = None) -> None:
        """... but not of weights, or of an optimiser, that have become NaN or infinite."""
        begin, step, work = time.monotonic(), self.place.at.step, self.work
        tensors = snapshot.take(work.optimizer, self.place.state, work.device)
        if not all_finite([*work.model.parameters(), *tensors.values()]):
            return
        self.counts.measuring, self.counts.strikes = work.gauge.spent, self.rollback.strikes
        info = {
            "sizes": asdict(work.task.sizes),
            "need": work.task.need,
            "validation": self.latest and asdict(self.latest),
            "at": asdict(self.place.at),
            "counts": asdict(self.counts),
            "recent": [asdict(replace(one, state=None)) for one in self.recent],
            "config": work.settings.model_dump(mode="json", exclude_none=True),
        }
        folder = self.run.checkpoints
        checkpoint.save(folder, work.model, step=step, info=info, training=tensors, milestone=milestone, best=best)
        self.best = self.best if best is None else best
        self.saved, self.saving = step, self.saving + time.monotonic() - begin

    def spread_anew(self) -> None:
        """Count from here what is due by share of the budget, and be as patient as at the beginning: the budget is
        another one."""
        progress, t = self.work.budget.progress(self.place.at), self.work.settings.training
        self.counts.worse, self.counts.sampled = 0, int(10 * progress)
        if not t.validate_every:
            self.counts.validations = int(progress * VALIDATIONS)

    def put_back(self, found: Checkpoint) -> None:
        """Everything as it was when the checkpoint was written. Raises RunError where it does not fit."""
        try:
            at, counts = _of_numbers(Position, found.info["at"]), _of_numbers(Counts, found.info["counts"])
            latest = found.info["validation"] and _evaluation(found.info["validation"])
            recent = [_of_numbers(Step, one) for one in found.info["recent"]]
            if at.step != found.step or not 0 <= at.seconds < math.inf:
                raise TypeError(f"the place is {at}")
        except (AttributeError, KeyError, TypeError) as error:
            weights = found.path / checkpoint.WEIGHTS
            raise RunError(
                f"The checkpoint {found.path} cannot be gone on from: its numbers are not as a training writes them "
                f"({type(error).__name__} {error}). Its weights can start a new run: --weights {weights}."
            ) from None
        checkpoint.restore(found, self.work.model)
        carried = snapshot.put_back(checkpoint.training_tensors(found), self.work.optimizer, self.work.device)
        pointer, back = pointed(self.run.checkpoints), self.rollback
        self.counts, self.latest, self.best = counts, latest, pointer.nats
        self.saved, self.minute, self.place = found.step, at.seconds, Place(at, carried)
        self.work.gauge.spent = counts.measuring
        self.recent.clear()
        self.recent.extend(recent)
        back.moved = found.step > 0 and found.path.name not in back.tried[-1:]
        back.strikes = counts.strikes if back.moved else 0.0

    def go_back(self, step: Step) -> str | None:
        """Return to an earlier checkpoint, with a smaller step; the clock goes on. What was done, or None where that
        cannot help."""
        folder, back, t = self.run.checkpoints, self.rollback, self.work.settings.training
        pointer, seconds = pointed(folder), self.place.at.seconds
        name = back.choose(pointer.grounds)
        if name is None:
            return None
        self.put_back(checkpoint.read(folder, name))
        self.place = replace(self.place, at=replace(self.place.at, seconds=seconds))
        to, lr, clip = self.place.at.step, t.lr * back.scale, back.clip_norm(t.clip_norm)
        self.run.event("went back", step=step.index, to=to, lr=lr, clip_norm=clip, returns=len(back.tried))
        point(folder, pointer.back_to(name, back.tried))
        self.run.back(to)
        if self.board:
            self.board.back(to)
        return (
            f"The {step.broken} was not finite again and again up to step {step.index}: back to step {to} with"
            f" a learning rate of {lr:.3g}, clipped at {clip:g} (return {len(back.tried)} of at most {back.limit})."
        )

    def restore_best(self) -> int:
        """Put the best weights back; returns the step they are from."""
        best = checkpoint.find(self.run.checkpoints)
        checkpoint.restore(best, self.work.model)
        return best.step


def _evaluation(values: dict[str, Any]) -> Evaluation:
    """Earlier runs called the loss by its unit."""
    return _of_numbers(Evaluation, {"loss" if name == "nats" else name: value for name, value in values.items()})


def _of_numbers(kind: type[T], values: dict[str, Any]) -> T:
    """Raises TypeError where one of the fields is no number; only a step's state, which is kept apart, is None."""
    for name, x in values.items():
        if not isinstance(x, int | float) and name != "state":
            raise TypeError(f"{name} is {x!r}")
    return kind(**values)


def rollback(settings: config.Config, run: Run) -> Rollback:
    """As the config says, with the returns that the run has behind it."""
    t = settings.training
    return Rollback(t.tolerance, t.returns, t.return_factor, tried=pointed(run.checkpoints).returns)
