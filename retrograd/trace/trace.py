"""A record of one forward pass, from which every gradient through time can be had.

    s[0] the initial state, s[t] the state after step t, L_t = losses[t-1] the loss of step t, t = 1 .. T

Axes: A losses, T time, B batch, X input, S state (h, or [h; c] side by side). A layer that runs backwards is kept in
the order in which it is computed: its s[1] is the state after reading the last input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from retrograd.cells import Cell, Local
from retrograd.errors import NotMeasured, ShapeError
from retrograd.trace.gradients import batched_gradient, gradients_of
from retrograd.trace.inputs import NoSteps
from retrograd.trace.recording import Recording
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
        return Local.stacked([step for run in self.runs for step in run.steps.linearized])

    @cached_property
    def entering(self) -> Tensor:
        """(T, B, S): the summed loss's gradient that enters from above at each step, not counting later steps."""
        if self.mixed or any(run.others for run in self.runs):
            return self._beyond_the_steps()
        doors = [door for run in self.runs for door in (run.outputs, run.final)]
        gradients = gradients_of(self._whole_loss, doors, self.runs)
        at_states = list(map(entered, gradients[::2], gradients[1::2]))
        for number, run in enumerate(self.runs):
            if run.given is not None:  # what went on through the model is no entry
                on = self._over_the_bridge(number, self._probed[number][0, 0])
                at_states[number - 1][0, -1] = _less(at_states[number - 1][0, -1], on)
        return torch.cat([at_states[0][:, 1:], *(piece[:, 1:] for piece in at_states[1:])], dim=1)[0]

    def _beyond_the_steps(self) -> Tensor:
        """(T, B, S): what of the total has not come back over the next step."""
        total = self.total
        bridges = [run.given.tensors[0].dtype for run in self.runs if run.given is not None]
        rounding = 1e-12 if all(dtype == torch.float64 for dtype in bridges) else 1e-5
        steps = range(1, len(self))
        return torch.stack([*(_less(total[t], self.back(t + 1, total[t + 1]), rounding) for t in steps), total[-1]])

    @cached_property
    def total(self) -> Tensor:
        """(T+1, B, S): the summed loss's gradient at each state, through every path."""
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


def traced(recording: Recording, losses: Tensor) -> tuple[LayerTrace, ...]:
    """The layers of a recording, in the order in which they began.

    Raises NotMeasured where one is cut off from its own state at every step.
    """
    with torch.enable_grad():
        loss = losses.sum()
    for name in {trajectory.name for trajectory in recording.trajectories}:
        pieces = [trajectory for trajectory in recording.trajectories if trajectory.name == name]
        if len(pieces) > 2 and all(len(piece) == 1 and piece.cut for piece in pieces[1:]):
            raise NotMeasured(
                f"The state of {name} is detached at every step, so no gradient goes back in time at all."
            )
    layers: list[LayerTrace] = []
    taken: dict[str, int] = {}
    begins, ends = recording.begins(), recording.ends()
    for trajectory in recording.trajectories:
        for place, runs in zip(trajectory.places, zip(*trajectory.passes, strict=True), strict=True):
            full = f"{trajectory.name}.{place.name}" if place.name else trajectory.name
            taken[full] = taken.get(full, 0) + 1
            number = f" ({taken[full]})" if taken[full] > 1 else ""
            cell = runs[0].cell
            layers.append(
                LayerTrace(
                    name=full + number,
                    module=trajectory.name + number,
                    kind=cell.kind if cell else trajectory.kind,
                    reverse=place.reverse,
                    has_memory=cell.has_memory if cell else trajectory.has_memory,
                    begins=begins[trajectory],
                    first=int(not trajectory.started or bool(trajectory.after) or trajectory.mixed),
                    runs=runs,
                    loss=loss,
                    ends=ends[trajectory],
                    mixed=trajectory.mixed,
                )
            )
    return _directed(layers, losses)


def _directed(layers: Sequence[LayerTrace], losses: Tensor) -> tuple[LayerTrace, ...]:
    """The layers, and which of them run from the end to the start though their module does not say so.

    Of a layer that runs against the losses' time, the first of these depends on more states than the last.
    """
    numbers = asked(losses) if losses.dim() else []
    if len(numbers) < 2:
        return tuple(layers)
    (early,) = _reached(layers, losses, numbers[:1])
    if all(latest <= numbers[0] + 1 for latest in early):
        return tuple(layers)
    (late,) = _reached(layers, losses, numbers[-1:])
    return tuple(
        replace(layer, reverse=layer.reverse or 0 < last < first)
        for layer, first, last in zip(layers, early, late, strict=True)
    )


def asked(losses: Tensor) -> list[int]:
    """The numbers of the losses (T, B) or (T,) that are not exactly 0, as a masked one is, from 0."""
    some: list[int] = losses.detach().reshape(len(losses), -1).ne(0).any(1).nonzero().flatten().tolist()
    return some


def _reached(layers: Sequence[LayerTrace], losses: Tensor, numbers: Sequence[int]) -> list[list[int]]:
    """Of each of the losses with these numbers, the latest state of each layer that has a gradient of it."""
    with torch.enable_grad():
        chosen = losses.reshape(len(losses), -1).sum(1)[list(numbers)]
    gradients = _at_every_state(layers, chosen)
    return [[_latest(found[i]) for found in gradients] for i in range(len(chosen))]


def _at_every_state(layers: Sequence[LayerTrace], losses: Tensor) -> tuple[Tensor, ...]:
    """d losses[a] / ds[k] of each layer for every k, (A, T+1, B, S)."""
    runs, wells = [run for layer in layers for run in layer.runs], [layer.wells for layer in layers]
    gradients = iter(gradients_of(losses, [well for some in wells for well in some], runs))
    return tuple(layer.join([next(gradients) for _ in some]) for layer, some in zip(layers, wells, strict=True))


def _latest(gradient: Tensor) -> int:
    """The last k at which a gradient (T+1, B, S) is not 0; -1 where it is everywhere."""
    some = gradient.ne(0).flatten(1).any(1).nonzero()
    return int(some[-1]) if len(some) else -1


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The recurrent layers of a model during one forward pass, and its losses, still attached to the graph.

    All layers have one clock, t = 1 .. T: a decoder that starts from an encoder's last state goes on where that ended.
    Read it before the next optimiser step: the graph refers to the weights outside the recurrent layers. What
    flows back between two recurrent modules passes through the model's own, lower precision.
    """

    layers: tuple[LayerTrace, ...]
    losses: Tensor  # (T, B) or (T,), or a single number; live
    notes: tuple[str, ...] = ()  # what a reader should know of how it was recorded
    _known: dict[int, tuple[Tensor, ...]] = field(default_factory=dict, init=False)  # the gradients asked for last

    def __repr__(self) -> str:
        return f"Trace of {', '.join(f'{layer.name} ({len(layer)} steps)' for layer in self.layers)}"

    def __len__(self) -> int:
        """T, of all layers on their common clock."""
        return max(layer.begins + len(layer) for layer in self.layers)

    @property
    def per_step(self) -> bool:
        """Is there a loss for each step, or only one for all?"""
        return self.losses.dim() > 0

    @cached_property
    def first_loss(self) -> int:
        """The step before that of losses[0]: 0 where there are as many losses as steps.

        Of fewer losses, each belongs to the latest state that it depends on. Raises ShapeError where these are not
        one step apart from loss to loss.
        """
        count, length = len(self.losses), len(self)
        if count == length:
            return 0
        numbers = asked(self.losses) or [0]
        first, last = numbers[0], numbers[-1]
        early, late = map(self._step, _reached(self.layers, self.losses, [first, last]))
        if late - early != last - first or not 0 <= early - first - 1 <= length - count:
            raise ShapeError(self._misfit())
        return early - first - 1

    def _step(self, latest: Sequence[int]) -> int:
        """On the common clock, the last of the latest states of the layers that run forwards."""
        pairs = zip(self.layers, latest, strict=True)
        return max((layer.begins + k for layer, k in pairs if k >= 0 and not layer.reverse), default=0)

    def _misfit(self) -> str:
        shape, length = tuple(self.losses.shape), len(self)
        said = f"The losses must be (time, batch) or (time,), one for each of {length} steps, got {shape}."
        if len(shape) > 1 and shape[1] == length:
            return f"{said} If batch comes first, return losses.transpose(0, 1)."
        alone = [layer.name for layer in self.layers if len(layer) == length and not layer.begins]
        if len(alone) > 1 and len(alone) == len(self.layers) and any(name.endswith(f"({shape[0]})") for name in alone):
            return f"{alone[0]} ran {shape[0]} times, each time from a state of its own, so no step has one before it."
        return f"{said} Which step each of them belongs to cannot be told."

    def gradients(self, t: int) -> tuple[Tensor, ...]:
        """dL_t/ds[k] of each layer for every k, (T+1, B, S); L_t is summed over the batch.

        A single loss is taken to be that of the last step.
        """
        if t not in self._known:
            self.gradients_at([t])
        return self._known[t]

    def gradients_at(self, steps: Sequence[int], *, sequences: int | None = None) -> tuple[Tensor, ...]:
        """`gradients` for several t in one pass: (A, T+1, B, S) of each layer, T that layer's own steps.

        Of the first `sequences` alone, where the losses tell them apart: the others have zero, and cost nothing.
        """
        if not self.per_step:
            if list(steps) != [len(self)]:
                raise NotMeasured(
                    f"The loss is a single number, so it has one gradient, counted from step {len(self)}; asked for "
                    f"{list(steps)}. Return the losses of all steps, (time, batch), to tell them apart."
                )
            return self._keep(steps, self._gradients_of([0]))
        first, last = self.first_loss + 1, self.first_loss + len(self.losses)
        for t in steps:
            if not first <= t <= last:
                raise NotMeasured(f"There are losses for the steps {first} to {last}, none for {t}.")
        gradients = self._gradients_of([t - first for t in steps], sequences)
        return gradients if sequences or not steps else self._keep(steps, gradients)

    def _keep(self, steps: Sequence[int], gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Those of the last of the steps, for who asks next: a backward pass is half of what a look costs."""
        self._known.clear()
        self._known[steps[-1]] = tuple(found[-1].clone() for found in gradients)
        return gradients

    def _gradients_of(self, numbers: Sequence[int], sequences: int | None = None) -> tuple[Tensor, ...]:
        """Of the losses with these numbers, from 0."""
        with torch.enable_grad():
            losses = self.losses.reshape(len(self.losses) if self.per_step else 1, -1)
            losses = losses[:, :sequences].sum(1)[list(numbers)]
        return _at_every_state(self.layers, losses)
