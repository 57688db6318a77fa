"""One recurrent layer of a recorded forward pass: its states, its steps, and the gradient of the summed loss there.

Axes: A losses, T time, B batch, X input, S state (h, or [h; c] side by side). A layer that runs backwards is kept in
the order in which it is computed: its s[1] is the state after reading the last input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from retrograd.cells import Cell, Local
from retrograd.errors import NotMeasured
from retrograd.trace.gradients import batched_gradient, gradients_of
from retrograd.trace.inputs import NoSteps
from retrograd.trace.replay import Given, Run, entered


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One recurrent layer in one direction. `total` and `entering` cost a backward pass when first read."""

    name: str  # "encoder.l0", "encoder.l0.reverse"; a second, separate pass is "encoder.l0 (2)"
    module: str  # "encoder"; in a second pass "encoder (2)"
    kind: str  # the cell's class: "LSTM"
    reverse: bool  # does it run from the last input to the first?
    has_memory: bool  # does its state hold more than what it puts out?
    begins: int  # steps on the trace's clock before its first
    first: int  # the first state whose gradient is its own: 1 where there is no s[0], or it is an earlier layer's last
    runs: tuple[Run, ...] = field(repr=False)
    loss: Tensor = field(repr=False)  # the summed loss, live
    ends: int  # the last step on the clock of all that hangs together with it
    mixed: bool  # does the model mix what a call gave with older states before the next? Then that is the state

    def __len__(self) -> int:
        return sum(len(run.inputs) for run in self.runs)

    @property
    def cell(self) -> Cell | None:
        """A copy in the precision of the record; None for somebody's own cell, and where weights change on the way.

        Also where the model mixes states, so that a step from one to the next is not the cell's alone.
        """
        cells = {run.cell for run in self.runs}
        return cells.pop() if len(cells) == 1 and not self.mixed else None

    @cached_property
    def inputs(self) -> Tensor:
        """(T, B, X); X is 0 where a cell of somebody's own is given another number of them at each step."""
        inputs = [run.inputs for run in self.runs]
        same = len({x.shape[2:] for x in inputs}) == 1
        return torch.cat(inputs if same else [x[..., :0] for x in inputs])

    @cached_property
    def states(self) -> Tensor:
        """(T+1, B, S)."""
        found = torch.cat([self.runs[0].states, *(run.states[1:] for run in self.runs[1:])])
        for k, given in self._given.items():
            found[k] = given.state.detach()
        return found

    @cached_property
    def before(self) -> Tensor:
        """(T, B, S): the state from which each step sets out."""
        states = torch.cat([run.states[:-1] for run in self.runs])
        return states if self.starts is None else torch.where(self.starts[..., None], 0.0, states)

    @property
    def has_states(self) -> bool:
        """Are these states? Otherwise the layer shows none, and the inputs of its steps are in their place."""
        return not isinstance(self.runs[0].steps, NoSteps)

    @property
    def bridged(self) -> bool:
        """Does the model change the state between two calls of the layer, so that it is not the cell's alone?"""
        return any(run.given is not None for run in self.runs)

    @cached_property
    def starts(self) -> Tensor | None:
        """(T, B): where a new document begins, and the step sets out from zero; None where none does."""
        return self._joined([run.steps.starts for run in self.runs], empty=False)

    @cached_property
    def live(self) -> Tensor | None:
        """(T, B): has sequence b a step t? None where all have all."""
        return self._joined([run.steps.live for run in self.runs], empty=True)

    def back(self, t: int, delta: Tensor) -> Tensor:
        """J[t]^T delta: gradients (..., B, S) at s[t] taken back over step t = 1 .. T, to s[t-1]."""
        number, within = self._steps[t - 1]
        given = self._given.get(t)
        if given is not None:
            wells, read = self._well(t - 1)
            state, deltas = given.state, delta.reshape(-1, *delta.shape[-2:])
            return read([batched_gradient(state, well, deltas) for well in wells]).reshape(delta.shape)
        before = self.runs[number].steps.back(within, delta)
        if within or self.runs[number].given is None or t - 1 in self._given:
            return before
        return self._over_the_bridge(number, before)

    @cached_property
    def _steps(self) -> list[tuple[int, int]]:
        """Of every step, its run and which one it is there."""
        return [(number, t) for number, run in enumerate(self.runs) for t in range(len(run.inputs))]

    @cached_property
    def _given(self) -> dict[int, Given]:
        """The states, by their number, that are what a run was given and not what the one before gave."""
        if not self.mixed:
            return {}
        starts = [k for k, (_, within) in enumerate(self._steps) if not within]
        return {k: run.given for k, run in zip(starts, self.runs, strict=True) if run.given is not None}

    def _well(self, k: int) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Tensor]]:
        """The tensors at whose gradients (A, ...) that of s[k] is read, (A, B, S)."""
        if k in self._given:
            return self._given[k].wells, self._given[k].read
        number, within = self._steps[k - 1] if k else (0, -1)
        return [self.runs[number].probe], lambda gradients: gradients[0][:, within + 1]

    def _over_the_bridge(self, number: int, delta: Tensor) -> Tensor:
        """From the first state of a run through what the model did, to the last state of the run before."""
        given, probe = self.runs[number].given, self.runs[number - 1].probe
        assert given is not None
        at = batched_gradient(given.state, probe, delta.reshape(-1, *delta.shape[-2:]))
        return at[:, -1].reshape(delta.shape)

    @cached_property
    def linear(self) -> Local:
        """All steps linearised at once: gates, derivatives and the map J^T, with the axes (T, B, ...).

        Raises NotMeasured where the cell's equation is not known.
        """
        if self.cell is None:
            raise NotMeasured(f"The equation of {self.name} ({self.kind}) is not known, so it has no gates to show.")
        return Local.joined([run.steps.linear for run in self.runs if run.steps.linear is not None])

    @cached_property
    def entering(self) -> Tensor:
        """(T, B, S): the summed loss's gradient that enters from above at each step, not counting later steps."""
        if not self.doors:
            return self._beyond_the_steps()
        gradients = gradients_of(self._whole_loss, self.doors, self.runs)
        at_states = list(map(entered, gradients[::2], gradients[1::2]))
        for number, run in enumerate(self.runs):
            if run.given is not None:  # what went on through the model is no entry
                on = self._over_the_bridge(number, self._probed[number][0, 0])
                at_states[number - 1][0, -1] = _less(at_states[number - 1][0, -1], on)
        return torch.cat([at_states[0][:, 1:], *(piece[:, 1:] for piece in at_states[1:])], dim=1)[0]

    @property
    def doors(self) -> list[Tensor]:
        """What the runs hand to the rest of the model, outputs and final state; none where it is more."""
        if self.mixed or any(run.others for run in self.runs):
            return []
        return [door for run in self.runs for door in (run.outputs, run.final)]

    def _beyond_the_steps(self) -> Tensor:
        """(T, B, S): what of the total has not come back over the next step."""
        total = self.total
        bridges = [run.given.tensors[0].dtype for run in self.runs if run.given is not None]
        rounding = 1e-12 if all(dtype == torch.float64 for dtype in bridges) else 1e-5
        steps = range(1, len(self))
        return torch.stack([*(_less(total[t], self.back(t + 1, total[t + 1]), rounding) for t in steps), total[-1]])

    @cached_property
    def total(self) -> Tensor:
        """(T+1, B, S): the summed loss's gradient at each state, through every path.

        A state that waits, behind a sequence's end or before the first step of one that is run from the end, has that
        of the state it is.
        """
        return self.join(self._probed)[0]

    @cached_property
    def _probed(self) -> tuple[Tensor, ...]:
        return gradients_of(self._whole_loss, self.wells, self.runs)

    @property
    def _whole_loss(self) -> Tensor:
        with torch.enable_grad():
            return self.loss[None]

    @property
    def wells(self) -> list[Tensor]:
        """The tensors whose gradients, joined, are those of all states."""
        return [*(run.probe for run in self.runs), *(well for given in self._given.values() for well in given.wells)]

    def join(self, gradients: Sequence[Tensor]) -> Tensor:
        """(A, T+1, B, S) of those of the wells. Where a run continues another, their common state counts once."""
        pieces, rest = gradients[: len(self.runs)], iter(gradients[len(self.runs) :])
        if len(pieces) == 1:
            return pieces[0]
        found = torch.cat([pieces[0], *(piece[:, 1:] for piece in pieces[1:])], dim=1)
        for k, given in self._given.items():
            found[:, k] = given.read([next(rest) for _ in given.tensors])
        return found

    def _joined(self, masks: list[Tensor | None], *, empty: bool) -> Tensor | None:
        """The runs' masks end to end, `empty` where a run has none; None where none has."""
        if all(mask is None for mask in masks):
            return None
        blank = [run.inputs.new_full(run.inputs.shape[:2], empty, dtype=torch.bool) for run in self.runs]
        return torch.cat([b if m is None else m for b, m in zip(blank, masks, strict=True)])


def _less(whole: Tensor, part: Tensor, rounding: float = 1e-12) -> Tensor:
    """whole - part, and exactly 0 where that is rounding."""
    rest = whole - part
    return torch.where(rest.abs() <= rounding * whole.abs().amax(-1, keepdim=True), 0.0, rest)
