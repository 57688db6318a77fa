"""Gradient flossing: Lyapunov exponents pushed towards zero, before and while a net learns (Engelken, 2023).

    Q[t-1] R[t-1] = J[t]^T Q[t]      from the last step back, Q orthonormal (S, k), random at first
    lambda_i = mean over t of ln |R[t]_ii|
    floss = mean over the sequences of the sum over i <= k of lambda_i^2

Taken along the way that a gradient goes; the exponents are those of the forward product. Where lambda_i is 0, a
gradient neither vanishes nor explodes in that direction. Differentiable: by the weights in each Jacobian, and by those
that made the states it is taken at. A layer's inputs are taken as they come. Axes: T time, B batch, S state.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from retrograd.cells import Cell
from retrograd.errors import ConfigError
from retrograd.remedies.patch import Course, Loss
from retrograd.remedies.unrolled import Pass, Tap, recurrent_modules, unrolled

SEQUENCES = 4  # that the exponents are taken along: they are averages over time already


def exponents(cell: Cell, inputs: Tensor, state: Tensor, *, first: int, frame: Tensor | None = None) -> Tensor:
    """lambda_i (B, k), the first k of each sequence, differentiable by the cell's weights.

    Along inputs (T, B, X) from `state` (B, S). `frame` (k, B, S) is where the directions start; random if left out.
    """
    p = cell.project(inputs)
    s, before = state, []
    for now in p:
        before.append(s)
        s = cell.recur(now, s)
    local = cell.linearize(p, torch.stack(before))
    k = min(first, state.shape[-1])
    directions = _frame(k, state) if frame is None else frame
    directions, _ = _orthonormal(directions)
    logs = []
    for t in range(len(p) - 1, -1, -1):
        directions, log = _orthonormal(local[t].pullback(directions)[0])
        logs.append(log)
    return torch.stack(logs).mean(0)


def floss(cell: Cell, inputs: Tensor, state: Tensor, *, first: int) -> Tensor:
    return exponents(cell, inputs, state, first=first).square().sum(-1).mean()


def _frame(k: int, state: Tensor) -> Tensor:
    drawn = torch.randn(k, *state.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return drawn.to(state)


def _orthonormal(v: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (k, B, S) made orthonormal, and ln |R_ii| (B, k)."""
    Q, R = torch.linalg.qr(v.permute(1, 2, 0))
    return Q.permute(2, 0, 1), R.diagonal(dim1=-2, dim2=-1).abs().log()


class Flossing(Course):
    """The floss of the first `first` exponents of each layer beside the loss, for the first `steps` steps."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps
        self._taken = self._lost = 0
        self._values: list[float] = []

    @contextmanager
    def step(self, model: nn.Module) -> Iterator[None]:
        self._taken += 1
        if self._taken > self.steps:
            yield
            return
        passes: list[Pass] = []
        with unrolled(model, lambda it: _seen(it, passes)):
            yield
        self._add(passes)

    def _add(self, passes: list[Pass]) -> None:
        with torch.enable_grad():
            total = torch.stack([self._of(it) for it in passes]).sum() if passes else torch.zeros(())
            if not total.isfinite():  # a direction that is lost altogether
                self._lost += 1
                return
            self._values.append(float(total.detach()))
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]

    def _of(self, it: Pass) -> Tensor:
        """Along sequences that run the whole time, in one piece."""
        whole = torch.ones(it.inputs.shape[1], dtype=torch.bool, device=it.inputs.device)
        whole = whole if it.live is None else whole & it.live.all(0)
        whole = whole if it.starts is None else whole & ~it.starts[1:].any(0)
        chosen = whole.nonzero().flatten()[:SEQUENCES]
        inputs, state = it.inputs.detach()[:, chosen], it.state.detach()[chosen]
        return floss(it.cell, inputs, state, first=self.first)

    @property
    def statistics(self) -> dict[str, float]:
        first, last = (self._values[0], self._values[-1]) if self._values else (0.0, 0.0)
        return {
            "exponents": self.first,
            "floss at first": first,
            "floss at last": last,
            "flossed": len(self._values),
            "left out": self._lost,
        }


def _seen(it: Pass, passes: list[Pass]) -> Tap:
    passes.append(it)
    return lambda t, s: s


def flossing(model: nn.Module, loss: Loss, first: float = 16, steps: float = 100) -> Flossing:
    for what, x in (("The exponents of flossing are", first), ("Its steps are", steps)):
        if x != int(x) or x < 1:
            raise ConfigError(f"{what} a whole number, at least 1; got {x:g}.")
    recurrent_modules(model)
    return Flossing(int(first), int(steps))
