"""What a remedy is: a named change, applied in place to a model or to a training, which the caller takes back.

start          new weights to begin a training from; what the recurrent layers have learned is lost
architecture   other modules or equations; the new ones begin untrained
training       the model stays as it is: each training step does something besides

    course = REMEDIES["clip_in_time"].apply(model, loss)
    with course.step(model):
        loss(model).mean().backward()
    optimizer.step()
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from retrograd.diagnosis.remedy import Kind
from retrograd.errors import ConfigError
from retrograd.remedies.snapshot import Snapshot

Loss = Callable[[Any], Tensor]  # the model -> the losses of all steps, or one number


class Course(ABC):
    """What a training step does besides computing the gradient of the loss."""

    @abstractmethod
    def step(self, model: nn.Module) -> AbstractContextManager[None]:
        """For one forward and backward pass; on the way out the gradients are as the optimiser is to have them."""

    @property
    @abstractmethod
    def statistics(self) -> dict[str, float]:
        """What it has done so far, by name."""


class Plain(Course):
    """Nothing besides."""

    def step(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def statistics(self) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Patch:
    """A remedy that can be applied: `change(model, loss, *numbers)` does it."""

    name: str
    kind: Kind
    note: str  # what it does and what it costs, in a sentence or two
    change: Callable[..., Course]
    numbers: tuple[str, ...] = ()  # what they are called, in order
    required: int = 0  # how many of them have no default

    def apply(self, model: nn.Module, loss: Loss, *numbers: float) -> Course:
        """Apply it to `model` in place. The course is what a training step is to do besides: often nothing.

        `loss(model)` is for remedies that measure. Weights are drawn from torch's global generator. Raises UsageError
        or NotMeasured, in a sentence that says why, where it does not apply; the model is then as it was.
        """
        if not self.required <= len(numbers) <= len(self.numbers):
            raise ConfigError(f"{self.name} takes {self._wanted()}, got {_listed(numbers)}.")
        if not all(math.isfinite(x) for x in numbers):
            raise ConfigError(f"The numbers of {self.name} must be finite, got {_listed(numbers)}.")
        before = Snapshot(model)
        try:
            return self.change(model, loss, *numbers)
        except BaseException:
            before.restore()
            raise

    def _wanted(self) -> str:
        if not self.numbers:
            return "no number"
        at_most = "" if self.required == len(self.numbers) else "at most "
        return f"{at_most}{len(self.numbers)} number{'s' if len(self.numbers) > 1 else ''} ({', '.join(self.numbers)})"


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{x:g}" for x in numbers) or "none"
