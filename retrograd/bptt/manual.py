"""Backpropagation through time, written out.

    forward    s[t] = F(p[t], a[t], s[t-1])              p[t] = W_ih x[t] + b_ih,  a[t] = W_hh r[t-1] + b_hh
    back       G[t] = dL/ds[t] = (dL/dh[t] that enters from above) + J[t+1]^T G[t+1]
               d_p[t], d_a[t] = G[t] taken back through step t to p[t] and a[t]
    totals     dL/dW_hh = sum_t d_a[t]^T r[t-1]          dL/dW_ih = sum_t d_p[t]^T x[t]
               dL/db_hh = sum_t d_a[t]                   dL/db_ih = sum_t d_p[t]           dL/dx = d_p W_ih

r is what W_hh reads of a state: h, or the h of several earlier steps. Only two things run step by step: the states
forward, each step linearised as it is taken, and G back. Each total is one matrix product over time and batch
(Werbos, 1990).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from retrograd.bptt.shapes import check_shapes
from retrograd.cells import Cell, Local
from retrograd.errors import ShapeError

Run = tuple[Tensor, list[Local]]  # states (T+1, B, S), and the T steps linearised


@dataclass(frozen=True, eq=False)
class Terms:
    """Every term of the gradient; s[0] is the first state and s[t] the state after step t, for t = 1 .. T.

    >>> terms = bptt(cell, x, s0, d_outputs)
    >>> dW = sum(terms.weight_hh_term(t) for t in range(1, T + 1))    # is terms.gradient("weight_hh")
    """

    cell: Cell
    inputs: Tensor  # (T, B, X)
    states: Tensor  # (T+1, B, S)
    state_gradients: Tensor  # (T+1, B, S): G[t] = dL/ds[t], through every later step
    d_projection: Tensor  # (T, B, G*H): dL/dp of steps 1 .. T
    d_recurrent: Tensor  # (T, B, G*H): dL/da of steps 1 .. T

    def weight_hh_term(self, t: int) -> Tensor:
        """Step t's term of dL/dW_hh, (G*H, R): what W_hh did at step t, to all of the loss that came after."""
        self._check_step(t)
        return self.d_recurrent[t - 1].T @ self.cell.read(self.states[t - 1])

    def weight_ih_term(self, t: int) -> Tensor:
        """Step t's term of dL/dW_ih, (G*H, X)."""
        self._check_step(t)
        return self.d_projection[t - 1].T @ self.inputs[t - 1]

    def gradient(self, name: str) -> Tensor:
        """The total dL/d`name`: weight_ih, weight_hh, bias_ih or bias_hh."""
        d = (self.d_projection if name.endswith("_ih") else self.d_recurrent).flatten(0, 1)
        if name.startswith("bias"):
            return d.sum(0)
        left = self.inputs if name == "weight_ih" else self.cell.read(self.states[:-1])
        return d.T @ left.flatten(0, 1)

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The total of each of the cell's parameters by name."""
        return {name: self.gradient(name) for name, _ in self.cell.named_parameters()}

    @property
    def input_gradients(self) -> Tensor:
        """dL/dx, (T, B, X)."""
        return self.d_projection @ self.cell.weight_ih

    def _check_step(self, t: int) -> None:
        if not 1 <= t <= len(self.inputs):
            raise ShapeError(f"Steps are counted from 1 to {len(self.inputs)}, got {t}.")


@torch.no_grad()
def bptt(cell: Cell, x: Tensor, s0: Tensor, d_outputs: Tensor, d_last: Tensor | None = None) -> Terms:
    """All terms of the gradient of a loss that enters as dL/dh (T, B, H) and, if wanted, dL/ds[T] (B, S)."""
    check_shapes(cell, x, s0)
    if d_outputs.shape != (*x.shape[:2], cell.hidden_size):
        raise ShapeError(f"d_outputs must be (time, batch, {cell.hidden_size}), got {tuple(d_outputs.shape)}.")
    d_last = torch.zeros_like(s0) if d_last is None else d_last
    return _back(cell, x, _forward(cell, x, s0), d_outputs, d_last)


def manual(cell: Cell, x: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)), differentiable once, by `bptt` instead of autograd."""
    check_shapes(cell, x, s0)
    names, parameters = zip(*cell.named_parameters(), strict=True)
    outputs, last = _Unrolled.apply(cell, names, x, s0, *parameters)  # type: ignore[no-untyped-call]
    return outputs, last


def no_closed_form(cell: Cell) -> str | None:
    """Why this cell cannot be taken back by hand, or None where it can."""
    if type(cell).linearize is Cell.linearize:
        return f"{type(cell).__name__} gives no derivative in closed form"
    return None


def _forward(cell: Cell, x: Tensor, s0: Tensor) -> Run:
    """The states, and each step linearised while its numbers are at hand: what the way back needs of it is kept."""
    steps: list[Local] = []
    s = s0
    for p in cell.project(x):
        steps.append(cell.linearize(p, s))
        s = steps[-1].state
    return torch.stack([s0, *(step.state for step in steps)]), steps


def _back(cell: Cell, x: Tensor, run: Run, d_outputs: Tensor, d_last: Tensor) -> Terms:
    states, steps = run
    T, H = len(steps), cell.hidden_size
    G = torch.empty_like(states)
    G[T] = d_last
    d_p, d_a = [], []
    for t in range(T, 0, -1):
        G[t, :, :H] += d_outputs[t - 1]
        G[t - 1], dp, da = steps[t - 1].pullback(G[t])
        d_p.append(dp)
        d_a.append(da)
    d_projection = torch.stack(d_p[::-1])
    # an Elman cell or LSTM only ever sees p + a: one gradient, not two
    d_recurrent = d_projection if d_a[0] is d_p[0] else torch.stack(d_a[::-1])
    return Terms(cell, x, states, G, d_projection, d_recurrent)


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: Cell, names: tuple[str, ...], x: Tensor, s0: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        states, steps = _forward(cell, x, s0)
        ctx.cell, ctx.names, ctx.steps = cell, names, steps
        ctx.save_for_backward(x, states, *parameters)  # the weights too: torch then refuses changed ones
        return cell.output(states[1:]).clone(), states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        x, states, *_ = ctx.saved_tensors
        terms = _back(ctx.cell, x, (states, ctx.steps), d_outputs, d_last)
        _, _, needs_x, _, *needed = ctx.needs_input_grad
        totals = [terms.gradient(n) if needs else None for n, needs in zip(ctx.names, needed, strict=True)]
        return None, None, terms.input_gradients if needs_x else None, terms.state_gradients[0], *totals
