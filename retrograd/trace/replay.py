"""One layer run step by step, with the gradient at every state within reach of autograd.

    s[t] = F(p[t], s[t-1]) + probe[t]                 probe = 0, so d(anything)/d(probe[t]) = d(anything)/d(s[t])
    delta[t] = entering[t] + J[t+1]^T delta[t+1]      entering: what comes from above, delta: the total

The whole layer is one node of the autograd graph. Its backward is the recursion in closed form, for a stack of several
losses at once. Axes: A losses, T time, B batch, S state, P projection (blocks times hidden size).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from retrograd.cells import Cell, Local


@dataclass(frozen=True, eq=False)
class Run:
    """One pass of one cell over T steps.

    `states` is what the rest of the model sees; `last` is its final row again, as a tensor of its own for the run that
    continues this one, so that what enters from above and what comes back through time stay apart.
    """

    cell: Cell
    inputs: Tensor  # (T, B, X), live
    states: Tensor  # (T+1, B, S), live
    last: Tensor  # (B, S), live
    probe: Tensor  # (T+1, B, S), zeros: the gradient at it is the total gradient at each state
    tape: "Tape"

    @property
    def outputs(self) -> Tensor:
        return self.cell.output(self.states[1:])


@dataclass(frozen=True, eq=False)
class Tape:
    """The linearised steps of a run, in the order in which they were taken.

    Where `starts` is true a new document begins: the step sets out from zero. Where `live` is false a sequence
    has already ended: its state stays as it is. Both (T, B); None when that happens nowhere.
    """

    cell: Cell
    starts: Tensor | None = None
    live: Tensor | None = None
    steps: list[Local] = field(default_factory=list)

    def forward(self, p: Tensor, s: Tensor) -> Tensor:
        """All states (T+1, B, S) from projections p (T, B, P) and the initial state s (B, S)."""
        states = [s]
        for t in range(len(p)):
            before = s if self.starts is None else torch.where(self.starts[t, :, None], 0.0, s)
            step = self.cell.linearize(p[t], before)
            s = step.state if self.live is None else torch.where(self.live[t, :, None], step.state, s)
            self.steps.append(step)
            states.append(s)
        return torch.stack(states)

    def back(self, t: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        """A gradient (..., B, S) at the state after step t taken back over that step: at the state before, at p[t]."""
        before, p, _ = self.cell.pullback(self.steps[t], delta)
        if self.starts is not None:
            before = torch.where(self.starts[t, :, None], 0.0, before)
        if self.live is not None:
            before = torch.where(self.live[t, :, None], before, delta)
            p = torch.where(self.live[t, :, None], p, 0.0)
        return before, p

    def backward(self, entering: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Total gradients (..., T+1, B, S) and those at p (..., T, B, P) from what enters at each state."""
        total, at_p = entering.clone(), []
        delta = last
        for t in reversed(range(len(self.steps))):
            delta = total[..., t + 1, :, :].add_(delta)
            delta, p = self.back(t, delta)
            at_p.append(p)
        total[..., 0, :, :].add_(delta)
        return total, torch.stack(at_p[::-1], dim=-3)


def run(
    cell: Cell, inputs: Tensor, state: Tensor, *, starts: Tensor | None = None, live: Tensor | None = None
) -> Run:
    """Run `cell` over inputs (T, B, X) from state (B, S); the cell's own weights are taken as constants."""
    p = cell.project(inputs)
    probe = p.new_zeros(()).expand(len(p) + 1, *state.shape).requires_grad_()
    tape = Tape(cell, starts, live)
    states, last = _Replay.apply(tape, p, state, probe)
    return Run(cell, inputs, states, last, probe, tape)


class _Replay(Function):
    """(p, s0, probe) -> (states, last state)."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, p: Tensor, state: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        ctx.tape = tape
        states = tape.forward(p, state)
        return states, states[-1].clone()

    @staticmethod
    def backward(ctx: Any, entering: Tensor, last: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        total, p, state = _Recursion.apply(ctx.tape, entering, last)
        return None, p, state, total


class _Recursion(Function):
    """`Tape.backward`; under vmap it takes the whole stack of losses through each step together."""

    @staticmethod
    def forward(tape: Tape, entering: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total, p = tape.backward(entering, last)
        return total, p, total[..., 0, :, :].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], tape: Tape, entering: Tensor, last: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        def stacked(x: Tensor, dim: int | None) -> Tensor:
            return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

        return _Recursion.apply(tape, stacked(entering, in_dims[1]), stacked(last, in_dims[2])), (0, 0, 0)
