"""The passes through one module of torch's or of our own, replayed layer by layer.

A call that starts from the very state tensors that the module's last call returned continues it in full precision.
A call whose state only comes from them, as h * mask does, continues it through what the model did in between.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from retrograd.cells import Cell
from retrograd.trace.recording import Place, Recording, Trajectory
from retrograd.trace.replay import Run, run

Layers = list[list[Cell]]  # lowest first; one cell, or one for each direction
Noise = Callable[[Tensor], Tensor]  # dropout's mask for what a layer puts out


class Passage:
    """One module during one recording. `cells` gives its layers as they are at each call."""

    def __init__(self, name: str, cells: Callable[[], Layers], recording: Recording) -> None:
        self.name, self._cells, self.recording = name, cells, recording
        self.current: Trajectory | None = None
        self._handed: tuple[Tensor, ...] = ()

    @property
    def layers(self) -> Layers:
        return self._cells()

    def runs(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        *,
        given: tuple[Tensor, ...] = (),
        noise: Noise | None = None,
        starts: Tensor | None = None,
        live: Tensor | None = None,
    ) -> tuple[Tensor, list[Run]]:
        """Outputs (T, B, D*H) and the runs. `given` are the very tensors that the caller passed as initial state."""
        layers, recording = self.layers, self.recording
        if torch.is_autocast_enabled(x.device.type):
            recording.note(f"The steps of {self.name} were replayed in float64, outside of autocast.")
        trajectory, bridged = self._trajectory(layers, given)
        if trajectory.passes and not bridged:
            states = [earlier.last for earlier in trajectory.passes[-1]]
        runs: list[Run] = []
        y = x
        for layer, cells in enumerate(layers):
            if layer and noise:
                y = y * noise(y)
            options = {"starts": starts, "live": live, "bridged": bridged}
            options["follows"] = bool(layer or recording.lineage.of(y))
            pair = [
                _directed(cell, y, states[len(runs) + i], backwards=i > 0, **options) for i, cell in enumerate(cells)
            ]
            y = torch.cat([outputs for outputs, _ in pair], dim=-1) if len(pair) > 1 else pair[0][0]
            runs += [done for _, done in pair]
        recording.add(trajectory, runs, x, list(states))
        return y, runs

    def hand_out(self, *states: Tensor) -> None:
        self._handed = states

    def _trajectory(self, layers: Layers, given: tuple[Tensor, ...]) -> tuple[Trajectory, bool]:
        """The one that this pass belongs to, and whether its state came to it by way of the model."""
        if self.current and given and all(len(cells) == 1 for cells in layers):
            if len(given) == len(self._handed) and all(map(_is, given, self._handed)):
                return self.current, False
            if self.current in self.recording.lineage.of(*given):
                return self.current, True
        self.current = self.recording.begin(self.name, _places(layers))
        return self.current, False


def _is(a: Tensor, b: Tensor) -> bool:
    return a is b


def _places(layers: Layers) -> tuple[Place, ...]:
    """Of each cell, lowest layer first: what its layer is called within the module, and whether it runs in reverse."""
    both = ("", False), (".reverse", True)
    return tuple(
        Place(f"l{layer}{end}", reverse) for layer, cells in enumerate(layers) for end, reverse in both[: len(cells)]
    )


def _directed(cell: Cell, x: Tensor, state: Tensor, *, backwards: bool, **options: Any) -> tuple[Tensor, Run]:
    if not backwards:
        done = run(cell, x, state, **options)
        return done.outputs, done
    flipped = {name: mask.flip(0) for name in ("starts", "live") if (mask := options[name]) is not None}
    done = run(cell, x.flip(0), state, **(options | flipped))
    return done.outputs.flip(0), done
