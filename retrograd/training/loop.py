"""Truncated backpropagation through time, as a generator that yields one Step per optimiser step.

    for window in windows:                       T steps of B sequences
        loss, state = objective(window, state)   the state enters detached: no gradient crosses a window's edge
        backward, clip, schedule, step

Logging, measuring, saving and stopping are ordinary lines in the loop of whoever iterates. Nothing is known here of
models, tasks or measures. Williams and Peng (1990), with k1 = k2 = the window's length.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from retrograd.training.clipping import clip_
from retrograd.training.schedules import Budget, Position, Schedule


class HasEpoch(Protocol):
    @property
    def epoch(self) -> float: ...


W = TypeVar("W", bound=HasEpoch)
State = tuple[Tensor, ...] | None


@dataclass(frozen=True)
class Loss:
    """What an objective gives: the tensor to differentiate, and the mean over `tokens` targets."""

    tensor: Tensor
    mean: Tensor
    tokens: int


@dataclass(frozen=True)
class Place:
    """Where a training stands between two steps, with the state that is carried over."""

    at: Position = field(default_factory=Position)
    state: State = None


BEGINNING = Place()


@dataclass(frozen=True)
class Step:
    """One optimiser step, after it was taken (or skipped: `finite` is False and nothing was changed)."""

    index: int  # 1, 2, ...
    epoch: float
    seconds: float  # since the start
    loss: float  # mean over its targets, before the update
    log_grad_norm: float  # ln of the norm before clipping
    clipped: bool
    lr: float
    tokens: int
    finite: bool
    state: State = field(default=None, repr=False, compare=False)  # carried to the next step

    @property
    def broken(self) -> str:
        """What of a step that is not finite was not."""
        return "gradient" if math.isfinite(self.loss) else "loss"

    @property
    def place(self) -> Place:
        return Place(Position(self.index, self.epoch, self.seconds), self.state)


def tbptt(
    objective: Callable[[W, State], tuple[Loss, State]],
    windows: Iterable[W],
    optimizer: torch.optim.Optimizer,
    *,
    schedule: Schedule,
    budget: Budget,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
    beside: Callable[[], AbstractContextManager[None]] = nullcontext,
    start: Place = BEGINNING,
) -> Iterator[Step]:
    """Train until the budget is used up. A step whose loss or gradient is not finite changes nothing, and the state
    that it leaves, which may hold the same NaN, is not carried on.

    `beside` stands around each forward and backward pass, and leaves the gradients as the optimiser is to have them.

    To go on from `start`, give the windows that follow it, and the weights, optimiser and random states of then. The
    schedule multiplies each group's `initial_lr`, which is its `lr` at the first call, as torch's own schedulers do.
    """
    begin = time.monotonic() - start.at.seconds
    rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    at, state = start.at, start.state
    for window in windows:
        progress = budget.progress(at)
        if progress >= 1:
            return
        factor = schedule(at, progress)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimizer.zero_grad()
        with beside():
            loss, state = objective(window, state)
            loss.tensor.backward()  # type: ignore[no-untyped-call]
        state = None if state is None else tuple(s.detach() for s in state)
        gradients = [p.grad for p in parameters if p.grad is not None]
        clip = clip_(gradients, norm=clip_norm, value=clip_value)
        mean = float(loss.mean)
        finite = math.isfinite(mean) and clip.finite
        if finite:
            optimizer.step()
        else:
            state = None
        at = Position(at.step + 1, window.epoch, time.monotonic() - begin)
        yield Step(
            index=at.step,
            epoch=at.epoch,
            seconds=at.seconds,
            loss=mean,
            log_grad_norm=clip.log_norm,
            clipped=clip.clipped,
            lr=rates[0] * factor,
            tokens=loss.tokens,
            finite=finite,
            state=state,
        )
