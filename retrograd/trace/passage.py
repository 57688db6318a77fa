"""The passes through one module of torch's or of our own, replayed layer by layer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from retrograd.cells import Cell
from retrograd.trace.following import Following
from retrograd.trace.recording import Link, Place, Recording
from retrograd.trace.replay import Given, Run, run

Layers = list[list[Cell]]  # lowest first; one cell, or one for each direction
Noise = Callable[[Tensor], Tensor]  # dropout's mask for what a layer puts out
Arrangement = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # of a caller's state as the states (B, S) of the cells


class Passage:
    """One module during one recording. `cells` gives its layers, in the precision of the record, as at each call.

    `reverse`: are the steps that its calls give the last of the sequence first?
    """

    def __init__(
        self,
        name: str,
        cells: Callable[[], Layers],
        recording: Recording,
        dtype: torch.dtype,
        *,
        reverse: bool = False,
    ) -> None:
        self.name, self._cells, self.recording, self.dtype, self.reverse = name, cells, recording, dtype, reverse
        self.following = Following(name, recording)

    def runs(
        self,
        x: Tensor,
        given: tuple[Tensor, ...],
        arranged: Arrangement,
        *,
        noise: Noise | None = None,
        starts: Tensor | None = None,
        live: Tensor | None = None,
    ) -> tuple[Tensor, list[Run]]:
        """Outputs (T, B, D*H) and the runs, also those live where the model has switched gradients off.

        `given` are the very tensors that the caller passed as initial state.
        """
        layers, recording = self._cells(), self.recording  # once a call: a weight may be computed anew each time
        recording.outside_autocast(self.name, self.dtype, x.device)
        link = self.following.link(given) if all(len(cells) == 1 for cells in layers) else Link()
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            self.trajectory = link.trajectory or recording.begin(self.name, _places(layers, reverse=self.reverse))
            starts = recording.forgotten(self.trajectory, x, starts)
            states = self._states(layers, link, given, arranged, batch=x.shape[1])
            runs: list[Run] = []
            y = x
            for layer, cells in enumerate(layers):
                if layer and noise:
                    y = y * noise(y)
                options = {"starts": starts, "live": live, "follows": bool(layer or recording.lineage.of(y))}
                outputs: list[Tensor] = []
                for cell in cells:
                    source = Given(given, arranged, len(runs)) if link.bridged else None
                    backwards = bool(outputs)
                    done = _directed(cell, y, states[len(runs)], backwards=backwards, given=source, **options)
                    outputs.append(done.outputs.flip(0) if backwards else done.outputs)
                    runs.append(done)
                y = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            recording.add(self.trajectory, runs, x, states, link)
        return y, runs

    def hand_out(self, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last states of the pass, as the model gets them."""
        return self.following.hand_out(self.trajectory, states)

    def _states(
        self, layers: Layers, link: Link, given: tuple[Tensor, ...], arranged: Arrangement, *, batch: int
    ) -> Sequence[Tensor]:
        if link.trajectory and not link.bridged:
            return [earlier.last for earlier in link.trajectory.passes[-1]]
        if given:
            return arranged(given)
        return [cell.initial_state(batch) for cells in layers for cell in cells]


def _places(layers: Layers, *, reverse: bool) -> tuple[Place, ...]:
    """Of each cell, lowest layer first: what its layer is called within the module, and whether it runs in reverse."""
    both = ("", reverse), (".reverse", True)
    return tuple(
        Place(f"l{layer}{end}", turned) for layer, cells in enumerate(layers) for end, turned in both[: len(cells)]
    )


def _directed(cell: Cell, x: Tensor, state: Tensor, *, backwards: bool, **options: Any) -> Run:
    """A run over x from its first step to its last, or the other way; all of it in the order in which it is run."""
    if not backwards:
        return run(cell, x, state, **options)
    flipped = {name: mask.flip(0) for name in ("starts", "live") if (mask := options[name]) is not None}
    return run(cell, x.flip(0), state, **(options | flipped))
