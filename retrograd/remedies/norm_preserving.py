"""A regulariser that keeps the length of the gradient on its way back (Pascanu, Mikolov & Bengio, 2013, eq. 9).

    Omega = mean over b of sum over t of ( |J[t+1]^T delta[t+1]| / |delta[t+1]| - 1 )^2        delta[t] = dL/ds[t]

As in the paper the states and delta are taken as they are, so that Omega pulls on each step's own Jacobian and not on
where the net goes: its gradient is that of J[t+1], at the recorded input and state, by the layer's weights. It needs
delta at each state, so the layers run step by step. Axes: T time, B batch, S state.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from retrograd.cells import Cell
from retrograd.errors import ConfigError
from retrograd.numerics import log_norm
from retrograd.remedies.patch import Course, Loss
from retrograd.remedies.unrolled import Pass, Tap, recurrent_modules, unrolled


def omega(cell: Cell, inputs: Tensor, before: Tensor, delta: Tensor) -> Tensor:
    """Omega, differentiable by the cell's weights, of inputs (T, B, X), states before (T, B, S) and delta after them.

    A step without a gradient, or with one that is not finite, has no length to keep and is left out.
    """
    logs = log_norm(delta)[..., None]
    told = logs.isfinite()
    unit = torch.where(told, delta.double() * (-logs).exp(), 0.0).to(delta.dtype)
    local = cell.linearize(cell.project(inputs), before)
    back, _, _ = local.pullback(unit)
    length = torch.linalg.vector_norm(torch.where(told, back, torch.ones_like(back)), dim=-1)  # no sqrt at 0
    off = torch.where(told[..., 0], (length - 1).square(), 0.0)
    return off.sum() / delta.shape[1]


@dataclass(eq=False)
class _Walk:
    """A pass with its states before each step and, once there is a gradient, delta after it."""

    it: Pass
    before: list[Tensor] = field(default_factory=list)
    delta: dict[int, Tensor] = field(default_factory=dict)

    def omega(self) -> Tensor | None:
        if not self.delta:
            return None
        before = torch.stack(self.before)
        none = torch.zeros_like(before[0])
        delta = torch.stack([self.delta.get(t, none) for t in range(1, len(before) + 1)])
        if self.it.live is not None:
            delta = torch.where(self.it.live[..., None], delta, 0.0)
        if self.it.starts is not None:  # nothing is carried over the start of a document
            delta = torch.where(self.it.starts[..., None], 0.0, delta)
        return omega(self.it.cell, self.it.inputs.detach(), before, delta)


class NormPreserving(Course):
    """`weight` times Omega beside the loss."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._values: list[float] = []

    @contextmanager
    def step(self, model: nn.Module) -> Iterator[None]:
        walks: list[_Walk] = []

        def watch(it: Pass) -> Tap:
            walk = _Walk(it, [it.state.detach()])
            walks.append(walk)

            def tap(t: int, s: Tensor) -> Tensor:
                if t < len(it.inputs):
                    walk.before.append(s.detach())
                if s.requires_grad:
                    s.register_hook(partial(walk.delta.__setitem__, t))  # type: ignore[no-untyped-call]
                return s

            return tap

        with unrolled(model, watch):
            yield
        self._add(walks)

    def _add(self, walks: Sequence[_Walk]) -> None:
        with torch.enable_grad():
            terms = [term for walk in walks if (term := walk.omega()) is not None]
            total = torch.stack(terms).sum() if terms else torch.zeros(())
        self._values.append(float(total.detach()))
        if total.requires_grad and total.isfinite():
            (self.weight * total).backward()  # type: ignore[no-untyped-call]

    @property
    def statistics(self) -> dict[str, float]:
        first, last = (self._values[0], self._values[-1]) if self._values else (0.0, 0.0)
        return {"weight": self.weight, "omega at first": first, "omega at last": last}


def norm_preserving(model: nn.Module, loss: Loss, weight: float = 1.0) -> NormPreserving:
    if weight <= 0:
        raise ConfigError(f"The weight of norm_preserving must be positive, got {weight:g}.")
    recurrent_modules(model)
    return NormPreserving(weight)
