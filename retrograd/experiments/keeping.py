"""What of a training is kept: the best weights by validation, and the last."""

import math
from dataclasses import dataclass

import torch

from retrograd.experiments.objective import Evaluation, evaluate
from retrograd.models import RecurrentLM
from retrograd.runs import Run
from retrograd.tasks import Task
from retrograd.training import checkpoint
from retrograd.training.loop import Step

SAVE_EVERY = 60.0  # seconds


@dataclass
class Keeper:
    """Validates and saves one model into one run."""

    run: Run
    task: Task
    model: RecurrentLM
    device: torch.device
    latest: Evaluation | None = None
    best: float = math.inf  # nats per target
    worse: int = 0  # validations since the best
    validated: int = -1  # the step of the last validation
    saved: int = -1  # ... of the last checkpoint
    minute: float = 0.0  # seconds into the training when a checkpoint was last written by the clock

    def validate(self, step: int) -> None:
        """Read the validation data, and save: as the best where it is."""
        if step == self.validated:
            return
        self.latest, self.validated = evaluate(self.model, self.task.validation(), self.device), step
        self.run.record(step=step, validation=self.latest.nats, accuracy=self.latest.accuracy)
        better = self.latest.nats < self.best
        self.worse = 0 if better else self.worse + 1
        self.best = min(self.best, self.latest.nats)
        self.save(step, best=better)

    def save(self, step: int, *, best: bool = False) -> None:
        if step == self.saved:
            return
        info = {"vocabulary": self.task.vocabulary, "validation": self.latest and self.latest.nats}
        checkpoint.save(self.run.checkpoints, self.model, step=step, best=best, info=info)
        self.saved = step

    def save_now_and_then(self, step: Step) -> None:
        """A checkpoint a minute: that much work may be lost, whatever happens."""
        if step.seconds - self.minute >= SAVE_EVERY:
            self.minute = step.seconds
            self.save(step.index)

    def restore_best(self) -> int:
        """Put the best weights back; returns the step they are from."""
        best = checkpoint.find(self.run.checkpoints)
        checkpoint.restore(best, self.model)
        return best.step
