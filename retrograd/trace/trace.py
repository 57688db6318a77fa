"""A record of one forward pass, from which every gradient through time can be had.

    s[0] the initial state, s[t] the state after step t, L_t = losses[t-1] the loss of step t, t = 1 .. T

Axes: A losses, T time, B batch, X input, S state (h, or [h; c] side by side). A layer that runs backwards is kept in
the order in which it is computed: its s[1] is the state after reading the last input.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from retrograd.cells import Cell, Local
from retrograd.errors import NotMeasured
from retrograd.numerics import flush_denormals
from retrograd.trace.replay import Run, Tape, entered


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One recurrent layer in one direction. `total` and `entering` cost a backward pass when first read."""

    name: str  # "encoder.l0", "encoder.l0.reverse"; a second, separate pass is "encoder.l0 (2)"
    reverse: bool  # does it run from the last input to the first?
    cell: Cell  # a copy in the precision of the record
    inputs: Tensor  # (T, B, X)
    states: Tensor  # (T+1, B, S)
    tape: Tape  # the linearised steps
    runs: tuple[Run, ...] = field(repr=False)
    loss: Tensor = field(repr=False)  # the summed loss, live

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def kind(self) -> str:
        """The cell's class: "LSTM"."""
        return type(self.cell).__name__

    @property
    def live(self) -> Tensor | None:
        """(T, B): has sequence b a step t? None where all have all."""
        return self.tape.live

    def back(self, t: int, delta: Tensor) -> Tensor:
        """J[t]^T delta: gradients (..., B, S) at s[t] taken back over step t = 1 .. T, to s[t-1]."""
        return self.tape.back(t - 1, delta)[0]

    @cached_property
    def linear(self) -> Local:
        """All steps linearised at once: gates, derivatives and the map J^T, with the axes (T, B, ...)."""
        before = self.states[:-1]
        if self.tape.starts is not None:
            before = torch.where(self.tape.starts[..., None], 0.0, before)
        return self.cell.linearize(self.cell.project(self.inputs), before)

    @property
    def entering(self) -> Tensor:
        """(T, B, S): the summed loss's gradient that enters from above at each step, not counting later steps."""
        return self._gradients[0]

    @property
    def total(self) -> Tensor:
        """(T+1, B, S): the summed loss's gradient at each state, through every path."""
        return self._gradients[1]

    @cached_property
    def _gradients(self) -> tuple[Tensor, Tensor]:
        doors = [door for run in self.runs for door in (run.outputs, run.final)]
        (*gradients,) = _gradients_of(self.loss[None], doors + self.probes, self.runs)
        at_states = list(map(entered, gradients[: len(doors) : 2], gradients[1 : len(doors) : 2]))
        return self.join(at_states)[0, 1:], self.join(gradients[len(doors) :])[0]

    @property
    def probes(self) -> list[Tensor]:
        return [run.probe for run in self.runs]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """The runs' (A, T'+1, B, S) end to end: where one continues another, their common state counts once."""
        return torch.cat([pieces[0], *(piece[:, 1:] for piece in pieces[1:])], dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The recurrent layers of a model during one forward pass, and its losses, still attached to the graph.

    Read it before the next optimiser step: the graph refers to the weights outside the recurrent layers. What
    flows back between two recurrent modules passes through the model's own, lower precision.
    """

    layers: tuple[LayerTrace, ...]
    losses: Tensor  # (T, B) or (T,), or a single number; live

    def __repr__(self) -> str:
        return f"Trace of {', '.join(f'{layer.name} ({len(layer)} steps)' for layer in self.layers)}"

    @property
    def per_step(self) -> bool:
        """Is there a loss for each step, or only one for all?"""
        return self.losses.dim() > 0

    def gradients(self, t: int) -> tuple[Tensor, ...]:
        """dL_t/ds[k] of each layer for every k, (T+1, B, S); L_t is summed over the batch.

        A single loss is taken to be that of the last step.
        """
        return tuple(gradients[0] for gradients in self.gradients_at([t]))

    def gradients_at(self, steps: Sequence[int]) -> tuple[Tensor, ...]:
        """`gradients` for several t in one pass: (A, T+1, B, S) of each layer."""
        with torch.enable_grad():
            losses = self._losses_at(steps)
        runs = [run for layer in self.layers for run in layer.runs]
        gradients = iter(_gradients_of(losses, [run.probe for run in runs], runs))
        return tuple(layer.join([next(gradients) for _ in layer.runs]) for layer in self.layers)

    def _losses_at(self, steps: Sequence[int]) -> Tensor:
        if not self.per_step:
            last = max(map(len, self.layers))
            if list(steps) != [last]:
                raise NotMeasured(
                    f"The loss is a single number, so it has one gradient, counted from step {last}; asked for "
                    f"{list(steps)}. Return the losses of all steps, (time, batch), to tell them apart."
                )
            return self.losses[None]
        for t in steps:
            if not 1 <= t <= len(self.losses):
                raise NotMeasured(f"There are losses for the steps 1 to {len(self.losses)}, none for {t}.")
        return (
            self.losses.flatten(1).sum(1)[[t - 1 for t in steps]]
            if self.losses.dim() > 1
            else (self.losses[[t - 1 for t in steps]])
        )


def _gradients_of(losses: Tensor, wells: Sequence[Tensor], runs: Sequence[Run]) -> tuple[Tensor, ...]:
    """d losses[a] / d well for each well, (A, ...); the graph is kept."""
    finite, broken = losses.detach().isfinite(), _broken(runs)

    def back(weights: Tensor) -> tuple[Tensor, ...]:
        with _without(broken, (finite & weights.ne(0)).any()):
            return torch.autograd.grad(losses, wells, weights, retain_graph=True, materialize_grads=True)

    each = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
    with torch.enable_grad(), flush_denormals(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of vmap; the numbers are the same
        try:
            stacked: tuple[Tensor, ...] = torch.func.vmap(back, chunk_size=8)(each)
        except RuntimeError:  # vmap cannot take something in the model's own backward
            stacked = tuple(map(torch.stack, zip(*map(back, each), strict=True)))
    return stacked


def _broken(runs: Sequence[Run]) -> list[tuple[Tensor, Tensor]]:
    """What the runs hand to the rest of the model, where it is not finite: the tensor, and which of its rows."""
    doors = [door for run in runs for door in (run.outputs, run.final)]
    rows = [~door.detach().float().isfinite().all(-1, keepdim=True) for door in doors]  # as a float32 model sees it
    return [(door, row) for door, row in zip(doors, rows, strict=True) if row.any()]


@contextmanager
def _without(broken: Sequence[tuple[Tensor, Tensor]], finite: Tensor) -> Iterator[None]:
    """Where the loss is finite, let no NaN enter a run through its broken rows.

    A finite loss does not depend on what is not finite. That the model's own backward takes 0 * NaN there, when the
    losses of all steps are computed at once, is no gradient.
    """
    hooks = [
        door.register_hook(partial(_cleaned, rows=rows, finite=finite))  # type: ignore[no-untyped-call]
        for door, rows in broken
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cleaned(gradient: Tensor | None, *, rows: Tensor, finite: Tensor) -> Tensor | None:
    return None if gradient is None else torch.where(rows & gradient.isnan() & finite, 0.0, gradient)
