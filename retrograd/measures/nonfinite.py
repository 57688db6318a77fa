"""Where a NaN or an infinity first came up in a trace.

    forward    each layer's first state s[0], then step by step its input x[t], its gates, its state s[t]; then L_t
    back       dL/ds[t] from the last step to the first, the upper layers before the lower ones

Layers are looked at in the order in which they ran, the way back in reverse: the first that shows one was not handed it
by another. Record in the precision that the model computes in: what overflows in float32 is a number in float64.
Axes: T time, B batch, S state.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from retrograd.trace import LayerTrace, Trace

AFTER = {"n": "r"}  # a gate that is computed from another of the same step: a GRU's new state from its reset gate


@dataclass(frozen=True)
class NonFinitePlace:
    """The first number that is not finite; positions count as in the sequence that the model was given.

    `part` is "first state", "input", "gate" or "state" of a layer, "loss", and for the way back "gradient from above"
    (what enters a layer at a step) or "gradient" (what its own recurrence made of it).
    """

    part: str
    layer: str | None  # None: the loss, after all layers were found finite
    step: int | None  # 1 .. T, and 0 for the first state; None for a loss that is one number
    sequence: int | None  # row of the batch, from 0
    unit: int | None  # from 0, within the gate, the state [h; c] or the input
    gate: str | None  # the gates that broke at once: "f", or "i, f, g, o"
    value: float  # nan, inf or -inf

    def __str__(self) -> str:
        where = f"the {self.part}" if self.gate is None else f"gate {self.gate}"
        of = f" of {self.layer}" if self.layer else ""
        time = "" if self.step is None else f" at time {self.step}" if self.step else " before the first step"
        row = "" if self.sequence is None else f" of sequence {self.sequence}"
        unit = "" if self.unit is None else f", unit {self.unit}"
        return f"{_name(self.value)} in {where}{of}{time}{row}{unit}"


def first_nonfinite(trace: Trace) -> NonFinitePlace | None:
    """The first number that is not finite, forwards and then back; None where all are.

    >>> str(first_nonfinite(record(model, loss, dtype=torch.float32)))
    'NaN in gate f of rnn.l0 at time 17 of sequence 3, unit 5'
    """
    forwards = (place for layer in trace.layers if (place := _forwards(layer)))
    backwards = (place for layer in trace.layers[::-1] if (place := _backwards(layer)))
    return next(forwards, None) or _loss(trace) or next(backwards, None)


def _forwards(layer: LayerTrace) -> NonFinitePlace | None:
    """The earliest step that holds one, and of that step the input before the gates before the state."""
    start = layer.states[0]
    if not start.isfinite().all():
        b, unit = _first(~start.isfinite())
        return NonFinitePlace("first state", layer.name, 0, b, unit, None, float(start[b, unit]))
    found = []
    for order, part, gate, values in _parts(layer):
        bad = ~values.isfinite()
        if layer.live is not None:
            bad &= layer.live[..., None]
        if bad.any():
            t, b, unit = _first(bad)
            position, value = _position(layer, t + 1), float(values[t, b, unit])
            found.append((t, order, b, NonFinitePlace(part, layer.name, position, b, unit, gate, value)))
    if not found:
        return None
    t, order, b, place = min(found, key=lambda one: one[:3])
    gates = [other.gate for *at, other in found if at == [t, order, b] and other.gate]
    return replace(place, gate=", ".join(gate for gate in gates if AFTER.get(gate) not in gates) or None)


def _parts(layer: LayerTrace) -> Iterator[tuple[int, str, str | None, Tensor]]:
    """Input, gates and state, each (T, B, .), in the order of a step. A cell of one block has no gate but its state."""
    yield 0, "input", None, layer.inputs
    gates = layer.linear.gates if layer.cell is not None else {}
    if len(gates) > 1:
        for name, gate in gates.items():
            yield 1, "gate", name, gate
    yield 2, "state", None, layer.states[1:]


def _loss(trace: Trace) -> NonFinitePlace | None:
    losses = trace.losses.detach()
    if losses.isfinite().all():
        return None
    where = _first(~losses.isfinite())
    step = where[0] + 1 if where else None
    sequence = where[1] if len(where) > 1 else None
    return NonFinitePlace("loss", None, step, sequence, None, None, float(losses[tuple(where)]))


def _backwards(layer: LayerTrace) -> NonFinitePlace | None:
    """The latest state whose gradient is not finite."""
    total, entering = layer.total, layer.entering
    bad = ~total.isfinite()
    if not bad.any():
        return None
    after, b, unit = _first(bad.flip(0))
    t = len(layer) - after
    above = t > 0 and not bool(entering[t - 1, b].isfinite().all())
    part = "gradient from above" if above else "gradient"
    return NonFinitePlace(part, layer.name, _position(layer, t), b, unit, None, float(total[t, b, unit]))


def _position(layer: LayerTrace, t: int) -> int:
    """Step t = 1 .. T in the order in which the layer computes, as a place in the sequence; 0 stays the first state."""
    return len(layer) + 1 - t if layer.reverse and t else t


def _first(bad: Tensor) -> list[int]:
    """The indices of the first true element, the first axis counting most; none of a single number."""
    found: list[int] = torch.nonzero(bad)[0].tolist()
    return found


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "an infinity" if value > 0 else "a negative infinity"
