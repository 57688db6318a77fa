"""The last loss's gradient at each layer's state, and what it is made of.

    ln |dL_t/ds[t-l]|                  by every way there is          l = t - k, t the last loss that is asked
    ln |J[t-l+1]^T ... J[t]^T g|       carried by the layer alone, g = dL_t/ds[t]; all else entered on the way, from
                                       above or, of a loss made of several steps, from the losses in between
    ln |dL_t/dh[t-l]|, ln |dL_t/dc[t-l]|     at what the layer puts out and at what it keeps to itself

In an LSTM the gradient travels along c and is read off at h: at lag 0 it is on h alone, further back almost all on c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import NotMeasured
from retrograd.measures.carry import taken_back
from retrograd.measures.joined import asked_steps, ends
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True)
class LayerParts:
    """By lag, from 0: medians over the sequences, natural logarithms; -inf is an exact zero."""

    layer: str
    cell: str  # the class: "LSTM"
    whole: tuple[float, ...]
    carried: tuple[float, ...]
    output: tuple[float, ...]  # ln |dL/dh|; none where the state has no memory, or its equation is not known
    memory: tuple[float, ...]  # ln |dL/dc|
    sequences: int


@dataclass(frozen=True)
class Parts:
    layers: tuple[LayerParts, ...]
    at: int  # t


def parts(trace: Trace) -> Parts:
    """Of every layer that runs forwards and shows its states.

    >>> layer = parts(trace).layers[0]
    >>> layer.output[0], layer.memory[0]
    (-2.1, -inf)

    Raises NotMeasured where there is none.
    """
    at = asked_steps(trace, len(trace))[-1]
    found = [
        _of_layer(trace, layer, gradient, at, alone=alone)
        for layer, gradient, alone in zip(trace.layers, trace.gradients(at), trace.entering_at_once(at), strict=True)
        if not layer.reverse and layer.has_states and layer.begins + layer.first <= at
    ]
    if not found:
        raise NotMeasured("No layer that runs forwards shows its states, so the gradient has no parts.")
    return Parts(tuple(found), at)


def _of_layer(trace: Trace, layer: LayerTrace, gradient: Tensor, at: int, *, alone: bool) -> LayerParts:
    """`gradient` (T+1, B, S); `alone`: it is known to enter the layer once."""
    last = ends(trace, layer, len(layer)).clamp(max=at - layer.begins).to(gradient.device)
    lags = torch.arange(max(int(last.min()) - layer.first, 0) + 1, device=gradient.device)
    by_lag = (last - lags[:, None])[..., None].expand(-1, -1, gradient.shape[-1])
    back = gradient.gather(0, by_lag)
    whole, pieces = _logs(layer, back)
    return LayerParts(
        layer=layer.name,
        cell=layer.kind,
        whole=_medians(whole),
        carried=_medians(
            whole
            if alone and (whole[0] > -torch.inf).all()
            else _carried(layer, back[0], last).gather(0, by_lag[..., 0])
        ),
        output=_medians(pieces[0]) if pieces else (),
        memory=_medians(pieces[1]) if pieces else (),
        sequences=back.shape[1],
    )


def _carried(layer: LayerTrace, delta: Tensor, last: Tensor) -> Tensor:
    """ln of what the layer's steps make of each sequence's gradient at its last step (B, S), for every k: (T+1, B)."""
    end = [int(last.max())]  # from there a gradient goes back to a shorter sequence's own end as it is
    log_norms, _ = taken_back(layer.back, delta[None], end, length=len(layer), dtype=delta.dtype)
    return log_norms[0]


def _logs(layer: LayerTrace, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
    """ln of the norms of (..., S), and of its two parts where the layer has them."""
    if not layer.has_memory or layer.cell is None:
        return log_norm(gradient), []
    pieces = [log_norm(piece) for piece in gradient.tensor_split([layer.cell.output_size], -1)]
    return torch.stack(pieces).mul(2).logsumexp(0) / 2, pieces


def _medians(x: Tensor) -> tuple[float, ...]:
    found: list[float] = torch.median(x, dim=-1).values.tolist()
    return tuple(found)
