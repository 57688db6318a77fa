"""Which units no longer respond, how far the gates stand open, and how long a memory lasts.

    saturated: f'(z) < 0.05           dead: f'(z) = 0 at every step of every sequence
    timescale of a memory unit = -1 / mean over time and batch of ln f       the steps in which c falls to 1/e

f is an LSTM's forget gate, and a GRU's update gate z, which keeps when it is near 1.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from retrograd.measures.bootstrap import quantile
from retrograd.trace import LayerTrace, Trace

SATURATED = 0.05
KEEPING_GATE = {"LSTM": "f", "GRU": "z"}


@dataclass(frozen=True)
class LayerSaturation:
    """Of one layer; shares are over units, time and batch."""

    layer: str
    cell: str  # the class: "LSTM"
    saturated: dict[str, float]  # share with a derivative under 0.05, for each squashing non-linearity
    dead: dict[str, float]  # share of units whose derivative is zero throughout
    gates: dict[str, float]  # mean activation
    keeping: str | None  # the gate that keeps the state: "f", "z"
    timescales: tuple[float, float, float] | None  # its units' 10 %, 50 % and 90 % quantiles, in steps


@dataclass(frozen=True)
class Saturation:
    layers: tuple[LayerSaturation, ...]


def saturation(trace: Trace) -> Saturation:
    """Saturation of every layer of the trace whose equation is known, one entry a layer and direction.

    >>> saturation(trace).layers[0].gates["f"]
    0.51
    """
    return Saturation(tuple(_of_layer(layer) for layer in trace.layers if layer.cell is not None))


def _of_layer(layer: LayerTrace) -> LayerSaturation:
    linear = layer.linear
    derivatives = {name: _counted(layer, d) for name, d in linear.derivatives.items()}
    gates = {name: _counted(layer, gate) for name, gate in linear.gates.items()}
    keeping = KEEPING_GATE.get(layer.kind)
    return LayerSaturation(
        layer=layer.name,
        cell=layer.kind,
        saturated={name: _share(d < SATURATED) for name, d in derivatives.items()},
        dead={name: _share(d.amax(0) == 0) for name, d in derivatives.items()},
        gates={name: float(gate.mean()) for name, gate in gates.items()},
        keeping=keeping,
        timescales=_timescales(gates[keeping]) if keeping else None,
    )


def _counted(layer: LayerTrace, values: Tensor) -> Tensor:
    """(T, B, H) as (N, H), of the steps that there are."""
    return values.flatten(0, 1) if layer.live is None else values[layer.live]


def _share(true: Tensor) -> float:
    return int(true.count_nonzero()) / true.numel() if true.numel() else math.nan


def _timescales(gate: Tensor) -> tuple[float, float, float]:
    each = 1 / -gate.log().mean(0).clamp(max=-0.0)  # a gate that is 1 throughout keeps for ever: inf
    low, middle, high = (float(quantile(each, q)) for q in (0.1, 0.5, 0.9))
    return low, middle, high
