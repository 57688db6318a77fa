"""One layer run step by step, with the gradient at every state within reach of autograd.

    s[t] = F(p[t], s[t-1]) + probe[t]                 probe = 0: what anything is to s[t], it is to probe[t]
    delta[t] = entering[t] + J[t+1]^T delta[t+1]      entering: what comes from above, delta: the total

The whole layer is one node of the autograd graph. Its backward is the recursion in closed form, for a stack of several
losses at once. Axes: A losses, T time, B batch, S state, P projection (blocks times hidden size).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from retrograd.cells import Cell, Local
from retrograd.errors import NotMeasured
from retrograd.numerics import all_finite
from retrograd.trace.pieces import Pieces, taken

TWICE = (
    "The loss takes a gradient through a recurrent layer within itself, as a gradient penalty does. The gradient of "
    "that gradient is not followed."
)


class Steps(ABC):
    """The linear maps of a run's steps."""

    starts: Tensor | None = None  # (T, B): where a new document begins, and the step sets out from zero
    live: Tensor | None = None  # (T, B): false where a sequence has already ended, and its state stays as it is

    @property
    def linear(self) -> Local | None:
        """All steps, with the leading axes (T, B), where the cell's equation is known."""
        return None

    @abstractmethod
    def back(self, t: int, delta: Tensor) -> Tensor:
        """A gradient (..., B, S) at the state after step t = 0 .. T-1, at the state before."""


@dataclass(frozen=True, eq=False)
class Given:
    """A first state that came from the run before by way of the model."""

    tensors: tuple[Tensor, ...]  # as the model gave it, live
    arranged: Callable[[Sequence[Tensor]], Sequence[Tensor]]  # as the first states of all the module's runs
    index: int  # which of those

    def rows(self, tensors: Sequence[Tensor]) -> Tensor:
        """(B, S)"""
        return self.arranged(tensors)[self.index]

    @property
    def state(self) -> Tensor:
        """(B, S), live."""
        with torch.enable_grad():
            return self.rows(self.tensors)

    @property
    def wells(self) -> list[Tensor]:
        """The tensors, with something in the place of one that has no gradient."""
        return [x if x.requires_grad else x.detach().clone().requires_grad_() for x in self.tensors]

    def read(self, gradients: Sequence[Tensor]) -> Tensor:
        """Those of the wells, (A, ...) each, as (A, B, S)."""
        return torch.stack([self.rows(row) for row in zip(*gradients, strict=True)])


@dataclass(frozen=True, eq=False)
class Run:
    """One pass of one cell over T steps.

    The last state is there twice: `final` for the rest of the model, `last` for the run that continues this one, so
    that what enters from above and what comes back through time stay apart.
    """

    cell: Cell | None  # None: somebody's own, whose equation is not known
    inputs: Tensor  # (T, B, X)
    states: Tensor  # (T+1, B, S)
    outputs: Tensor  # (T, B, H), live
    final: Tensor  # (B, S), live
    last: Tensor  # (B, S), live
    probe: Tensor  # (T+1, B, S), zeros: the gradient at it is the total gradient at each state
    steps: Steps
    given: Given | None = None
    others: Mapping[int, Tensor] = field(default_factory=dict)  # what a cell put out beside its state, live; by its id


class Tape(Steps):
    """The linearised steps of a run, taken by the native kernels where these know the cell and all sequences last."""

    def __init__(self, cell: Cell, starts: Tensor | None = None, live: Tensor | None = None) -> None:
        self.cell, self.starts, self.live = cell, starts, live
        self._pieces: Pieces | None = None

    @cached_property
    def linear(self) -> Local:
        """Of a run by the kernels, when somebody asks for it."""
        assert self._pieces is not None
        return self._pieces.linearized(self.cell)

    def forward(self, p: Tensor, s: Tensor) -> Tensor:
        """All states (T+1, B, S) from projections p (T, B, P) and the initial state s (B, S)."""
        if self.live is None:
            self._pieces = taken(self.cell, p, s, self.starts)
        if self._pieces is not None:
            self._states = self._pieces.states
            return self._states
        states, steps = [s], []
        for t in range(len(p)):
            before = s if self.starts is None else torch.where(self.starts[t, :, None], 0.0, s)
            steps.append(self.cell.linearize(p[t], before))
            s = steps[-1].state if self.live is None else torch.where(self.live[t, :, None], steps[-1].state, s)
            states.append(s)
        self.linear, self._states = Local.stacked(steps), torch.stack(states)
        return self._states

    def back(self, t: int, delta: Tensor) -> Tensor:
        return self.pull(t, delta)[0]

    def pull(self, t: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        """A gradient (..., B', S) at the state after step t taken back over it: at the state before, at p[t].

        B' are the first sequences, or all. A sequence with a gradient of exactly zero keeps it, also where the step
        holds a NaN: 0 * NaN is NaN.
        """
        step, count = self.linear[t], delta.shape[-2]
        before, p, _ = (step if count == len(step.state) else step[:count]).pullback(delta)
        if not self.finite:
            some = delta.ne(0).any(-1, keepdim=True)
            before, p = torch.where(some, before, 0.0), torch.where(some, p, 0.0)
        if self.starts is not None:
            before = torch.where(self.starts[t, :count, None], 0.0, before)
        if self.live is not None:
            live = self.live[t, :count, None]
            before, p = torch.where(live, before, delta), torch.where(live, p, 0.0)
        return before, p

    @cached_property
    def finite(self) -> bool:
        """Is every weight and every state a number?"""
        weights = (x for x in self.cell.parameters() if x is not None)
        return all_finite(weights) and all_finite([self._states])

    def backward(self, total: Tensor, *, wanted: bool) -> Tensor | None:
        """Turn what enters at each state (A, T+1, B, S), in place, into the total gradient there.

        A loss joins the sweep where it first enters: the steps after it are none of its business, and cost nothing.
        Nor do the sequences after the last that any of them is about. Where `wanted`, returns the gradient at every p,
        (A, T, B, P).
        """
        entering = total.ne(0).any(-1)  # (A, T+1, B)
        ends, sequences = _last(entering.any(2)), 1 + int(_last(entering.any(0).any(0)[None]))
        if self._pieces is not None and self.finite:
            return self._pieces.back(total, ends, sequences, wanted=wanted)
        ends, order = ends.sort(stable=True)
        late = torch.equal(order, torch.arange(len(order), device=order.device))
        delta = (total if late else total[order])[:, :, :sequences]
        at_p = None
        for t in reversed(range(total.shape[1] - 1)):
            first = int(torch.searchsorted(ends, t + 1))  # the losses before it enter earlier
            if first == len(ends):
                continue
            before, p = self.pull(t, delta[first:, t + 1])
            delta[first:, t] += before
            if wanted:
                if at_p is None:
                    at_p = p.new_zeros(len(total), total.shape[1] - 1, total.shape[2], p.shape[-1])
                at_p[order[first:], t, :sequences] = p
        if not late:
            total[order, :, :sequences] = delta
        return at_p


def _last(true: Tensor) -> Tensor:
    """The place of the last true of each row, 0 where there is none."""
    places = torch.arange(true.shape[1], device=true.device)
    return torch.where(true, places, 0).amax(1)


def run(
    cell: Cell,
    inputs: Tensor,
    state: Tensor,
    *,
    starts: Tensor | None,
    live: Tensor | None,
    follows: bool,
    given: Given | None,
) -> Run:
    """Run `cell` over inputs (T, B, X) from state (B, S); the cell's own weights are taken as constants.

    `follows`: do the inputs depend on a layer that is recorded? Otherwise their gradient need not be had. `given`:
    where the state came from, if that is the run before this one by way of the model.
    """
    if not follows:
        inputs = inputs.detach()
    p = cell.project(inputs)
    probe = p.new_zeros(()).expand(len(p) + 1, *state.shape).requires_grad_()
    tape = Tape(cell, starts, live)
    states, outputs, final, last = _Replay.apply(tape, p, state, probe)  # type: ignore[no-untyped-call]
    return Run(cell, inputs.detach(), states, outputs, final, last, probe, tape, given)


class _Replay(Function):
    """(p, s0, probe) -> (states, outputs, final, last); the states themselves are for reading only."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, p: Tensor, state: Tensor, probe: Tensor) -> tuple[Tensor, ...]:
        states = tape.forward(p, state)
        ctx.tape = tape
        ctx.mark_non_differentiable(states)
        return states, tape.cell.output(states[1:]).clone(), states[-1].clone(), states[-1].clone()

    @staticmethod
    def backward(ctx: Any, _: Tensor, *entering: Tensor) -> tuple[Tensor | None, ...]:
        total, p, state = _Recursion.apply(ctx.tape, ctx.needs_input_grad[1], *entering)  # type: ignore[no-untyped-call]
        return None, p, state, total


class _Recursion(Function):
    """`Tape.backward` from what enters at the outputs, the final state and its double.

    Under vmap the whole stack of losses is taken through each step together.
    """

    @staticmethod
    def forward(tape: Tape, wanted: bool, *entering: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        outputs, final, last = entering
        total = entered(outputs, final + last)
        *losses, _, _, _ = total.shape  # none, or one axis of them
        p = tape.backward(total.view(-1, *total.shape[-3:]), wanted=wanted)
        return total, None if p is None else p.view(*losses, *p.shape[1:]), total[..., 0, :, :].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotMeasured(TWICE)

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], tape: Tape, wanted: bool, *entering: Tensor
    ) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
        stacked = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(entering, in_dims[2:], strict=True)
        )
        gradients = _Recursion.apply(tape, wanted, *stacked)  # type: ignore[no-untyped-call]
        return gradients, (0, 0 if wanted else None, 0)


def entered(outputs: Tensor, final: Tensor) -> Tensor:
    """What enters at the outputs (..., T, B, H) and the final state (..., B, S), by state: (..., T+1, B, S)."""
    *leading, steps, batch, hidden = outputs.shape
    states = outputs.new_zeros(*leading, steps + 1, batch, final.shape[-1])
    states[..., 1:, :, :hidden] = outputs
    states[..., -1, :, :] += final
    return states
