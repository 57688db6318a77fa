"""A record of one forward pass, from which every gradient through time can be had.

    s[0] the initial state, s[t] the state after step t, L_t = losses[t-1] the loss of step t, t = 1 .. T

Axes: A losses, T time, B batch, S state (h, or [h; c] side by side).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, ShapeError
from retrograd.trace.gradients import gradients_of
from retrograd.trace.layer import LayerTrace
from retrograd.trace.recording import Recording
from retrograd.trace.replay import entered


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
    """Of each of the losses with these numbers, the latest state of each layer that has a gradient of it.

    Where it enters a single run last is the latest: from there it goes back, which need not be waited for.
    """
    with torch.enable_grad():
        chosen = losses.reshape(len(losses), -1).sum(1)[list(numbers)]
    runs, plain = [run for layer in layers for run in layer.runs], [len(layer.doors) == 2 for layer in layers]
    wells = [layer.doors if once else layer.wells for layer, once in zip(layers, plain, strict=True)]
    gradients = iter(gradients_of(chosen, [well for some in wells for well in some], runs))
    latest = []
    for layer, some, once in zip(layers, wells, plain, strict=True):
        found = [next(gradients) for _ in some]
        latest.append([_latest(one) for one in (entered(*found) if once else layer.join(found))])
    return [list(each) for each in zip(*latest, strict=True)]


def _at_every_state(layers: Sequence[LayerTrace], losses: Tensor) -> tuple[tuple[Tensor, ...], list[list[Tensor]]]:
    """d losses[a] / ds[k] of each layer for every k, (A, T+1, B, S); and what of it is at the layer's doors."""
    runs, wells = [run for layer in layers for run in layer.runs], [[*layer.wells, *layer.doors] for layer in layers]
    gradients = iter(gradients_of(losses, [well for some in wells for well in some], runs))
    found = [[next(gradients) for _ in some] for some in wells]
    states = tuple(layer.join(some) for layer, some in zip(layers, found, strict=True))
    return states, [some[len(layer.wells) :] for layer, some in zip(layers, found, strict=True)]


def _once(doors: Sequence[Tensor]) -> bool:
    """Does the last loss's gradient at a run's outputs (A, T, B, H) and final state enter each sequence at one step?"""
    if len(doors) != 2:
        return False
    outputs, final = (door[-1].ne(0).any(-1) for door in doors)
    outputs[-1] |= final
    return bool((outputs.sum(0) <= 1).all())


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
    _known: dict[int, tuple[tuple[Tensor, ...], tuple[bool, ...]]] = field(default_factory=dict, init=False)

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
        return self._known[t][0]

    def entering_at_once(self, t: int) -> tuple[bool, ...]:
        """Of each layer: is it known that L_t enters it from above at one step alone, where it enters last?

        Then all of its gradient further back was carried there by the layer's own steps.
        """
        _ = self.gradients(t)
        return self._known[t][1]

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
            return self._gradients_of([0], steps)
        first, last = self.first_loss + 1, self.first_loss + len(self.losses)
        for t in steps:
            if not first <= t <= last:
                raise NotMeasured(f"There are losses for the steps {first} to {last}, none for {t}.")
        return self._gradients_of([t - first for t in steps], steps, sequences)

    def _gradients_of(
        self, numbers: Sequence[int], steps: Sequence[int], sequences: int | None = None
    ) -> tuple[Tensor, ...]:
        """Of the losses with these numbers, from 0, which are those of `steps`.

        The last of them is kept for who asks next: a backward pass is half of what a look costs.
        """
        with torch.enable_grad():
            losses = self.losses.reshape(len(self.losses) if self.per_step else 1, -1)
            losses = losses[:, :sequences].sum(1)[list(numbers)]
        gradients, doors = _at_every_state(self.layers, losses)
        if steps and sequences is None:
            self._known.clear()
            own = tuple(found[-1].clone() for found in gradients)
            self._known[steps[-1]] = own, tuple(map(_once, doors))
        return gradients
