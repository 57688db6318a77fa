"""What of a training is kept: the best weights by validation, and the last."""

import math
from dataclasses import dataclass

import torch

from retrograd.experiments.objective import Evaluation, evaluate
from retrograd.models import RecurrentLM
from retrograd.runs import Run
from retrograd.tasks import Task
from retrograd.training import checkpoint


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

    def restore_best(self) -> None:
        checkpoint.restore(checkpoint.find(self.run.checkpoints), self.model)
