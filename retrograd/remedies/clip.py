"""Gradients held down: all of them together after the way back, or at each step of it.

    clip_norm       g <- g min(1, c / |g|)                g all gradients of the weights as one vector, after BPTT
    clip_in_time    delta[t] <- delta[t] min(1, c / |delta[t]|)      delta[t] = dL/ds[t] of one sequence, during BPTT
    window          delta[t] <- 0 at every `steps`-th t: no gradient goes further back than that

Clipped by norm a gradient keeps its direction, but the direction of one that exploded is that of the steps where it
did; clipped in time, what those steps hand back is no larger than what anything else does (Graves, 2013, clipped each
component there). A gradient that is not finite is left as it is, and counted.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from retrograd.errors import ConfigError, NotMeasured
from retrograd.numerics import log_norm, log_total_norm, scale_
from retrograd.remedies.patch import Course, Loss
from retrograd.remedies.unrolled import Pass, Tap, recurrent_modules, unrolled
from retrograd.trace.snapshot import untouched


class ClipNorm(Course):
    """All gradients of the weights, together no longer than `norm`."""

    def __init__(self, norm: float) -> None:
        self.norm = norm
        self._logs: list[float] = []  # ln |g| before clipping, a step each

    @contextmanager
    def step(self, model: nn.Module) -> Iterator[None]:
        yield
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        log = log_total_norm(gradients)
        self._logs.append(log)
        if math.log(self.norm) < log < math.inf:
            scale_(gradients, math.log(self.norm) - log)

    @property
    def statistics(self) -> dict[str, float]:
        steps = len(self._logs)
        finite = [log for log in self._logs if log < math.inf]
        over = [log - math.log(self.norm) for log in finite if log > math.log(self.norm)]
        return {
            "norm": self.norm,
            "steps": steps,
            "clipped": len(over) / max(steps, 1),
            "largest factor": math.exp(min(max(over, default=0.0), 700.0)),
            "not finite": steps - len(finite),
        }


class ClipInTime(Course):
    """The gradient of each sequence at each state, on its way back, no longer than `norm`."""

    def __init__(self, norm: float) -> None:
        self.norm = norm
        self._seen = self._clipped = self._broken = 0
        self._sum = self._most = 0.0  # of ln(|delta| / norm) where it was clipped

    @contextmanager
    def step(self, model: nn.Module) -> Iterator[None]:
        norms: list[Tensor] = []
        with unrolled(model, lambda it: self._tap(it, norms)):
            yield
        self._count(norms)

    def _tap(self, it: Pass, norms: list[Tensor]) -> Tap:
        def tap(t: int, s: Tensor) -> Tensor:
            if s.requires_grad:
                held = partial(self._held, norms=norms, live=None if it.live is None else it.live[t - 1])
                s.register_hook(held)  # type: ignore[no-untyped-call]
            return s

        return tap

    def _held(self, delta: Tensor, *, norms: list[Tensor], live: Tensor | None) -> Tensor:
        narrow = delta.dtype != torch.float64  # whose squares a float64 can hold
        norm = torch.linalg.vector_norm(delta.double(), dim=-1) if narrow else log_norm(delta).exp()
        norms.append(norm if live is None else norm[live])
        factor = torch.where(norm < math.inf, (self.norm / norm).clamp(max=1), 1.0)
        return delta * factor[:, None].to(delta.dtype)

    def _count(self, norms: list[Tensor]) -> None:
        if not norms:
            return
        over = torch.cat(norms).log() - math.log(self.norm)
        finite = over < math.inf
        clipped = over[finite & (over > 0)]
        self._seen += len(over)
        self._broken += int((~finite).sum())
        self._clipped += len(clipped)
        self._sum += float(clipped.sum())
        self._most = max([self._most, *clipped.tolist()])

    @property
    def statistics(self) -> dict[str, float]:
        return {
            "norm": self.norm,
            "states": self._seen,
            "clipped": self._clipped / max(self._seen, 1),
            "mean factor": math.exp(min(self._sum / max(self._clipped, 1), 700.0)),
            "largest factor": math.exp(min(self._most, 700.0)),
            "not finite": self._broken,
        }


class Window(Course):
    """Truncated backpropagation: no gradient crosses from a step to the one before at every `steps`-th step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._cuts = 0

    @contextmanager
    def step(self, model: nn.Module) -> Iterator[None]:
        with unrolled(model, self._watch):
            yield

    def _watch(self, it: Pass) -> Tap:
        def tap(t: int, s: Tensor) -> Tensor:
            if t % self.steps or t == len(it.inputs):
                return s
            self._cuts += 1
            return s.detach()

        return tap

    @property
    def statistics(self) -> dict[str, float]:
        return {"window": self.steps, "cuts": self._cuts}


def clip_norm(model: nn.Module, loss: Loss, norm: float | None = None) -> ClipNorm:
    return ClipNorm(_threshold("clip_norm", measured_norm(model, loss) if norm is None else norm))


def clip_in_time(model: nn.Module, loss: Loss, norm: float | None = None) -> ClipInTime:
    recurrent_modules(model)
    return ClipInTime(_threshold("clip_in_time", measured_entry(model, loss) if norm is None else norm))


def window(model: nn.Module, loss: Loss, steps: float) -> Window:
    if steps != int(steps) or steps < 1:
        raise ConfigError(f"A window is a whole number of steps, at least 1; got {steps:g}.")
    recurrent_modules(model)
    return Window(int(steps))


def measured_norm(model: nn.Module, loss: Loss) -> float:
    """|g| of the mean loss as the model stands: what is usual for it, so that only what is unusual is clipped."""
    with untouched(model), torch.enable_grad():
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss(model).mean(), trained, allow_unused=True)
    return math.exp(min(log_total_norm([g for g in gradients if g is not None]), 700.0))


def measured_entry(model: nn.Module, loss: Loss) -> float:
    """The longest gradient that enters any layer at any step from above: what comes back through time is held to it."""
    entered: list[Tensor] = []

    def watch(it: Pass) -> Tap:
        def tap(t: int, s: Tensor) -> Tensor:
            if s.requires_grad:
                s.register_hook(lambda delta: entered.append(log_norm(delta).max()))  # type: ignore[no-untyped-call]
            return s.detach()  # nothing comes back through time

        return tap

    with untouched(model), torch.enable_grad():
        with unrolled(model, watch):
            value = loss(model).mean()
        trained = [p for p in model.parameters() if p.requires_grad]
        torch.autograd.grad(value, trained, allow_unused=True)
    return math.exp(min(float(torch.stack(entered).max()), 700.0)) if entered else math.nan


def _threshold(name: str, norm: float) -> float:
    if norm > 0 and math.isfinite(norm):
        return norm
    if math.isfinite(norm):
        raise ConfigError(f"The norm of {name} must be positive, got {norm:g}.")
    raise NotMeasured(f"The gradient is not finite, so no threshold can be had from it. Name one: {name}=1.")
