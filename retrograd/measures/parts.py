"""The gradient at what a layer puts out and at what it keeps to itself, apart: dL/dh and dL/dc.

    ln |dL_t/dh[t-l]|,  ln |dL_t/dc[t-l]|          l = t - k, t the last loss that is asked

The gradient travels along c and is read off at h: at lag 0 it is on h alone, further back almost all of it on c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import NotMeasured
from retrograd.measures.joined import asked_steps
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True)
class LayerParts:
    """Medians over the sequences, natural logarithms; -inf is an exact zero."""

    layer: str
    cell: str  # the class: "LSTM"
    output: tuple[float, ...]  # ln |dL/dh| by lag, from 0
    memory: tuple[float, ...]  # ln |dL/dc|
    sequences: int


@dataclass(frozen=True)
class Parts:
    layers: tuple[LayerParts, ...]
    at: int  # t


def parts(trace: Trace) -> Parts:
    """Of every layer whose equation is known and whose state has a memory beside its output.

    >>> layer = parts(trace).layers[0]
    >>> layer.output[0], layer.memory[0]
    (-2.1, -inf)

    Raises NotMeasured where no layer has one.
    """
    at = asked_steps(trace, len(trace))[-1]
    gradients = trace.gradients_at([at])
    found = [
        _of_layer(layer, gradient[0], at)
        for layer, gradient in zip(trace.layers, gradients, strict=True)
        if layer.has_memory and layer.cell is not None and not layer.reverse
    ]
    if not found:
        raise NotMeasured("No layer keeps a memory beside what it puts out, so its gradient has no two parts.")
    return Parts(tuple(found), at)


def _of_layer(layer: LayerTrace, gradient: Tensor, at: int) -> LayerParts:
    assert layer.cell is not None
    size, last = layer.cell.output_size, min(at - layer.begins, len(layer))
    back = gradient[layer.first : last + 1].flip(0)  # by lag
    return LayerParts(
        layer=layer.name,
        cell=layer.kind,
        output=_medians(back[..., :size]),
        memory=_medians(back[..., size:]),
        sequences=back.shape[1],
    )


def _medians(x: Tensor) -> tuple[float, ...]:
    found: list[float] = torch.median(log_norm(x), dim=-1).values.tolist()
    return tuple(found)
