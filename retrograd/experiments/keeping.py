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
from retrograd.experiments.objective import Evaluation, evaluate
from retrograd.experiments.work import Work
from retrograd.numerics import all_finite
from retrograd.reports.tensorboard import Board
from retrograd.runs import Run
from retrograd.training import checkpoint, snapshot
from retrograd.training.checkpoint import Checkpoint
from retrograd.training.loop import Place, Step
from retrograd.training.rollback import Rollback
from retrograd.training.schedules import Position

SAVE_EVERY = 60.0  # seconds
RECENT = 50  # steps over which the shown loss and share clipped are averaged
T = TypeVar("T")


@dataclass
class Counts:
    """The numbers that a resumed training goes on with."""

    best: float = math.inf  # validation, nats per target
    worse: int = 0  # validations since the best
    validations: int = 0  # that were due so far
    validated: int = -1  # the step of the last one
    sampled: int = -1  # the tenth of the run in which the model last wrote something
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
    place: Place = field(default_factory=Place)  # where training stands
    saved: int = -1  # the step of the last checkpoint
    minute: float = 0.0  # seconds into the training when a checkpoint was last written by the clock
    saving: float = 0.0  # seconds that all checkpoints took
    board: Board | None = None  # TensorBoard's files, where they are wanted

    def log(self, **values: Any) -> None:
        """One line of numbers, of the step where training stands."""
        step = self.place.at.step
        self.run.record(step=step, **values)
        if self.board:
            self.board.add(step, **values)

    def validate(self, sample: Callable[[], str | None]) -> None:
        """Read the validation data, and save: as the best where it is."""
        step, counts = self.place.at.step, self.counts
        if step == counts.validated:
            return
        self.latest = evaluate(self.work.model, self.work.task.validation(), self.work.device)
        self.log(validation=self.latest.nats, accuracy=self.latest.accuracy)
        better = self.latest.nats < counts.best
        counts.validated, counts.worse = step, 0 if better else counts.worse + 1
        counts.best = min(counts.best, self.latest.nats)
        tenth = int(10 * self.work.budget.progress(self.place.at))
        if counts.sampled < tenth < 10 and (text := sample()):  # the end has a longer one of its own
            counts.sampled = tenth
            self.log(sample=text)
        self.save(best=better)

    def save(self, *, best: bool = False) -> bool:
        """Write a checkpoint, unless there is one of this step; not of weights that have become NaN."""
        step, model = self.place.at.step, self.work.model
        if step == self.saved or self.rollback.skipped or not all_finite(model.parameters()):
            return False
        begin = time.monotonic()
        self.counts.measuring = self.work.gauge.spent
        info = {
            "vocabulary": self.work.task.vocabulary,
            "validation": self.latest and asdict(self.latest),
            "at": asdict(self.place.at),
            "counts": asdict(self.counts),
            "recent": [asdict(replace(one, state=None)) for one in self.recent],
        }
        tensors = snapshot.take(self.work.optimizer, self.place.state, self.work.device)
        checkpoint.save(self.run.checkpoints, model, step=step, best=best, info=info, training=tensors)
        self.saved, self.saving = step, self.saving + time.monotonic() - begin
        return True

    def save_now_and_then(self) -> bool:
        """A checkpoint a minute: that much work may be lost, whatever happens."""
        if self.place.at.seconds - self.minute < SAVE_EVERY:
            return False
        self.minute = self.place.at.seconds
        return self.save()

    def put_back(self, point: Checkpoint) -> None:
        """Everything as it was when the checkpoint was written. Raises RunError where it does not fit."""
        try:
            at, counts = _of_numbers(Position, point.info["at"]), _of_numbers(Counts, point.info["counts"])
            latest = point.info["validation"] and _of_numbers(Evaluation, point.info["validation"])
            recent = [_of_numbers(Step, one) for one in point.info["recent"]]
        except (AttributeError, KeyError, TypeError) as error:
            weights = point.path / checkpoint.WEIGHTS
            raise RunError(
                f"The checkpoint {point.path} cannot be gone on from: its numbers are not as a training writes them "
                f"({type(error).__name__} {error}). Its weights can start a new run: --weights {weights}."
            ) from None
        checkpoint.restore(point, self.work.model)
        carried = snapshot.put_back(checkpoint.training_tensors(point), self.work.optimizer, self.work.device)
        self.counts, self.latest, self.saved, self.minute = counts, latest, point.step, at.seconds
        self.work.gauge.spent = counts.measuring
        self.recent.clear()
        self.recent.extend(recent)
        self.place = Place(at, carried)

    def newest_whole(self) -> tuple[Checkpoint, list[str]]:
        """The newest checkpoint that can be read, and why newer ones cannot. Raises RunError where none can."""
        reasons: list[str] = []
        for name in checkpoint.pointed(self.run.checkpoints).newest_first:
            try:
                return checkpoint.read(self.run.checkpoints, name), reasons
            except RunError as error:
                reasons.append(str(error))
        raise RunError(reasons[0]) if reasons else checkpoint.none_named(self.run.checkpoints)

    def go_back(self) -> bool:
        """Return to an earlier checkpoint, with a smaller step; the clock goes on. False where that cannot help."""
        folder, best, seconds = self.run.checkpoints, self.counts.best, self.place.at.seconds
        pointer = checkpoint.pointed(folder)
        name = self.rollback.choose(pointer.newest_first)
        if name is None:
            return False
        self.put_back(checkpoint.read(folder, name))
        self.place = replace(self.place, at=replace(self.place.at, seconds=seconds))
        self.counts.best = min(self.counts.best, best)
        older = pointer.newest_first[pointer.newest_first.index(name) + 1 :]
        previous = older[0] if older else None
        moved = replace(pointer, last=name, previous=previous, returns=self.rollback.tried)
        checkpoint.point(folder, moved)
        self.run.back(self.place.at.step)
        return True

    def restore_best(self) -> int:
        """Put the best weights back; returns the step they are from."""
        best = checkpoint.find(self.run.checkpoints)
        checkpoint.restore(best, self.work.model)
        return best.step


def _of_numbers(kind: type[T], values: dict[str, Any]) -> T:
    """Raises TypeError where one of the fields is no number; only a step's state, which is kept apart, is None."""
    for name, x in values.items():
        if not isinstance(x, int | float) and name != "state":
            raise TypeError(f"{name} is {x!r}")
    return kind(**values)


def rollback(settings: config.Config, run: Run) -> Rollback:
    """As the config says, with the returns that the run has behind it."""
    t = settings.training
    return Rollback(t.tolerance, t.returns, t.return_factor, tried=checkpoint.pointed(run.checkpoints).returns)
