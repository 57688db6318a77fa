"""How long a training lasts, and the learning rate on the way.

    constant   1
    cosine     (1 + cos(pi progress)) / 2            progress by steps, epochs or minutes
    divide     k ** -max(0, epochs begun - n)        each epoch after the n-th (Zaremba et al. 2014)

all times a linear warm-up from 5 % of the rate over the first `warmup` share of the budget.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from retrograd.errors import UnknownName


@dataclass(frozen=True)
class Position:
    """Where a training stands: steps taken, passes over the data, seconds since the start."""

    step: int = 0
    epoch: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Budget:
    """The end of a training, given as one of steps, epochs, minutes."""

    minutes: float | None = None
    steps: int | None = None
    epochs: int | None = None

    def progress(self, at: Position) -> float:
        """Share of the budget that is used up, 0 to 1."""
        if self.steps is not None:
            used = at.step / self.steps
        elif self.epochs is not None:
            used = at.epoch / self.epochs
        else:
            used = at.seconds / (60 * (self.minutes or math.inf))
        return min(1.0, used)


Schedule = Callable[[Position, float], float]  # (position, progress) -> factor on the learning rate


def constant(at: Position, progress: float) -> float:
    return 1.0


def cosine(at: Position, progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def divide(by: float, after: int) -> Schedule:
    """Divide by `by` at the beginning of each epoch after the first `after`."""
    return lambda at, progress: by ** -max(0, math.floor(at.epoch) + 1 - after)


SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda by, after: constant,
    "cosine": lambda by, after: cosine,
    "divide": divide,
}


def make_schedule(name: str, *, warmup: float = 0.0, divide_by: float = 2.0, divide_after: int = 4) -> Schedule:
    """The named schedule behind its warm-up. Raises UnknownName."""
    if name not in SCHEDULES:
        raise UnknownName("schedule", name, SCHEDULES)
    schedule = SCHEDULES[name](divide_by, divide_after)
    return lambda at, progress: _warm(progress, warmup) * schedule(at, progress)


def _warm(progress: float, warmup: float) -> float:
    return 0.05 + 0.95 * progress / warmup if progress < warmup else 1.0
