"""The states of several recurrent layers taken as one vector, on one clock.

    |dL/dS[k]|^2 = sum over layers of |dL/ds[k]|^2          S[k] the layers' states side by side, of those that run at k

A layer that runs on another's last state, as a decoder does on an encoder's, counts on where that ended. Where nothing
but the end is common, as with two texts of different lengths and one loss for both, steps are counted from the end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, UsageError
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace
from retrograd.trace.trace import asked


class Joined(NamedTuple):
    """Layers to be taken together: where they are in the trace, and how many steps the clock has."""

    indices: tuple[int, ...]
    begins: tuple[int, ...]  # of each, the steps on the clock before its first
    first: int  # the earliest state that has a gradient
    length: int

    def layers(self, trace: Trace) -> list[LayerTrace]:
        return [trace.layers[i] for i in self.indices]


def joined_layers(trace: Trace, names: Sequence[str] | None = None) -> Joined:
    """The layers of these names; by default all that run forwards over the sequences that the losses are of.

    A layer of another batch, as one that reads the letters of each word, is not among them. Raises NotMeasured where
    none can be joined, and ShapeError where the losses do not fit their steps.
    """
    known = [layer.name for layer in trace.layers]
    for name in names or ():
        if name not in known:
            raise UsageError(f"No layer of the trace is called {name!r}. There are: {', '.join(known)}.")
    chosen = [
        i for i, layer in enumerate(trace.layers) if (not layer.reverse if names is None else layer.name in names)
    ]
    if not chosen:
        raise NotMeasured(f"No layer runs forwards, so none can be joined. There are: {', '.join(known)}.")
    batch = _batch(trace, [trace.layers[i] for i in chosen])
    chosen = [i for i in chosen if trace.layers[i].states.shape[1] == batch]
    if trace.per_step:
        _ = trace.first_loss
    begins = _begins(trace, [trace.layers[i] for i in chosen])
    length = max(begin + len(trace.layers[i]) for i, begin in zip(chosen, begins, strict=True))
    first = min(begin + trace.layers[i].first for i, begin in zip(chosen, begins, strict=True))
    return Joined(tuple(chosen), begins, first, length)


def left_out(trace: Trace, joined: Joined) -> list[str]:
    """The layers that run forwards and are not among these."""
    return [x.name for i, x in enumerate(trace.layers) if not x.reverse and i not in joined.indices]


def asked_steps(trace: Trace, length: int) -> Sequence[int]:
    """The steps with a loss that is not exactly 0, as a masked one is; all of them where none is asked that way."""
    if not trace.per_step:
        return [length]
    first = trace.first_loss + 1
    return [first + number for number in asked(trace.losses)] or range(first, first + len(trace.losses))


def ends(trace: Trace, layer: LayerTrace, length: int) -> Tensor:
    """The last step of each sequence, (B,): before T where a packed sequence is shorter and has one loss."""
    if layer.live is None or trace.per_step or len(layer) < length:
        return torch.full((layer.states.shape[1],), length)
    live = layer.live.cpu()
    return torch.where(live, torch.arange(1, len(live) + 1)[:, None], 0).amax(0)


def fewest(trace: Trace, layer: LayerTrace, length: int) -> int:
    """Steps of the shortest sequence. A layer that runs from the end begins late with it, and ends with all."""
    if layer.live is None or trace.per_step or len(layer) < length:
        return length
    return int(layer.live.sum(0).min())


def enters_often(layer: LayerTrace) -> bool:
    """Does the loss reach some sequence from above at more than one step? Always so below another layer."""
    return bool(((log_norm(layer.entering) > -torch.inf).sum(0) > 1).any())


def joined_log_norms(trace: Trace, joined: Joined, gradients: Sequence[Tensor]) -> Tensor:
    """ln |dL/dS[k]| for k = 0 .. T, (A, T+1, B), in float64 on the CPU; -inf is an exact zero.

    `gradients` are those of all layers of the trace, (A, T'+1, B, S) each.
    """
    pieces = [2 * log_norm(gradients[i][:, trace.layers[i].first :]).cpu() for i in joined.indices]
    anchors, _, batch = pieces[0].shape
    squares = pieces[0].new_full((len(pieces), anchors, joined.length + 1, batch), -torch.inf)
    for row, i, begin, piece in zip(squares, joined.indices, joined.begins, pieces, strict=True):
        at = begin + trace.layers[i].first
        row[:, at : at + piece.shape[1]] = piece
    norms: Tensor = squares.logsumexp(0) / 2
    return norms


def _batch(trace: Trace, layers: Sequence[LayerTrace]) -> int:
    """How many sequences: as many as the losses have, where they tell; else those of the layer that ran last."""
    sizes = [layer.states.shape[1] for layer in layers]
    if trace.losses.dim() > 1 and trace.losses.shape[1] in sizes:
        return trace.losses.shape[1]
    return sizes[-1]


def _begins(trace: Trace, layers: list[LayerTrace]) -> tuple[int, ...]:
    """Where they are on the clock. Where only one loss is common, all that hang together end at the same step."""
    end = max(layer.ends for layer in layers)
    return tuple(layer.begins + (0 if trace.per_step else end - layer.ends) for layer in layers)
