"""How fast a layer forgets where it set out from: two states from different starts under the same inputs.

    s[t] = F(x[t], s[t-1])          d[t] = |s~[t] - s[t]|          s~ the same from another start

The other start is far (a random state of the size of those visited: d[t] until it reaches rounding) or near (brought
back to a tiny distance after each step, Benettin et al., 1980: the mean of ln d[t]/d[t-1] is the leading Lyapunov
exponent). An upper layer is driven by its recorded inputs. Axes: n steps, b sequences, S state.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.cells import Cell
from retrograd.errors import NotMeasured
from retrograd.measures.bootstrap import estimate, quantile
from retrograd.measures.step_jacobians import aligned, on_cpu
from retrograd.measures.stretches import Stretches, averages, check_transient, stretches
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace

NEAR = 1e-7  # of 1 + |s|: its square and the rounding of the states are both about 1e-9 of it, or less
ROUNDING = 64 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class LayerForgetting:
    """Of one layer. Rates are nats per step, below 0 where it forgets; intervals are None for a single sequence."""

    layer: str
    cell: str  # the class: "LSTM"
    sequences: int
    steps: int  # of each sequence
    distance: tuple[float, ...]  # median over the sequences of ln d[t]/d[0], t = 0 .. steps; -inf: the very same state
    distance_low: tuple[float, ...]  # the 10 % and the 90 % quantile
    distance_high: tuple[float, ...]
    rounding: int | None  # the first t at which that median is no more than rounding; None where it never is
    rate: float  # median of the slopes of ln d[t] up to rounding; -inf: gone after one step
    rate_low: float | None  # its 95 % bootstrap interval over the sequences
    rate_high: float | None
    half_life: float  # the steps in which the distance halves at that rate; inf where it does not shrink
    half_life_low: float | None
    half_life_high: float | None
    exponent: float  # the leading Lyapunov exponent, from the near start
    exponent_low: float | None  # its 95 % interval over blocks of time and sequences
    exponent_high: float | None
    transient: int  # the steps that the exponent leaves out
    blocks: int


@dataclass(frozen=True)
class Forgetting:
    layers: tuple[LayerForgetting, ...]
    not_measured: tuple[str, ...]  # layers that cannot be run again, their equation unknown, or that have no such step


def forgetting(
    trace: Trace, *, sequences: int | None = None, transient: int | None = None, blocks: int = 10, seed: int = 0
) -> Forgetting:
    """How fast each layer forgets its start. It is run again in float64, with a private generator for the starts.

    The sequences are those that are at least as long as the median one, cut to that length, so that every step has
    the same ones. The transient of the exponent is a quarter of the steps unless told otherwise.

    >>> forgetting(trace).layers[0].half_life
    3.1
    """
    check_transient(trace, transient)
    found, unknown = [], []
    for layer in trace.layers:
        try:
            found.append(_of_layer(layer, sequences=sequences, transient=transient, blocks=blocks, seed=seed))
        except NotMeasured:
            unknown.append(layer.name)
    return Forgetting(tuple(found), tuple(unknown))


def _of_layer(
    layer: LayerTrace, *, sequences: int | None, transient: int | None, blocks: int, seed: int
) -> LayerForgetting:
    cell = layer.cell
    if cell is None or layer.bridged:
        raise NotMeasured(f"What leads from state to state in {layer.name} is not known, so it cannot be run again.")
    along = _even(stretches(layer, sequences))
    counted = along.counted(transient)
    far, near = _distances(layer, cell, along, seed)
    shown = far.logs - far.logs[0]
    slopes = _slopes(far)
    rate = estimate(lambda drawn: quantile(slopes[drawn], 0.5), len(along), seed=seed)
    exponent = averages(near[..., None], counted, blocks=blocks)
    return LayerForgetting(
        layer=layer.name,
        cell=layer.kind,
        sequences=len(along),
        steps=along.steps,
        distance=tuple(quantile(shown, 0.5).tolist()),
        distance_low=tuple(quantile(shown, 0.1).tolist()),
        distance_high=tuple(quantile(shown, 0.9).tolist()),
        rounding=_first(quantile(far.rounded.double(), 0.5) == 1),
        rate=rate.value,
        rate_low=rate.low,
        rate_high=rate.high,
        half_life=_half_life(rate.value),
        half_life_low=None if rate.low is None else _half_life(rate.low),
        half_life_high=None if rate.high is None else _half_life(rate.high),
        exponent=float(exponent.mean),
        exponent_low=None if exponent.low is None else float(exponent.low),
        exponent_high=None if exponent.high is None else float(exponent.high),
        transient=int((~counted[:, 0]).sum()),
        blocks=exponent.blocks,
    )


def _even(along: Stretches) -> Stretches:
    """Those at least as long as the median one (the shorter of two), cut to its length."""
    length = along.length[len(along) // 2]
    kept = int((along.length >= length).sum())
    return Stretches(along.sequence[:kept], along.begin[:kept], length.expand(kept))


@dataclass(frozen=True, eq=False)
class _Far:
    logs: Tensor  # ln d[t], (n+1, b)
    rounded: Tensor  # is d[t] no more than the rounding of the two states? (n+1, b)


def _distances(layer: LayerTrace, cell: Cell, along: Stretches, seed: int) -> tuple[_Far, Tensor]:
    """From the far start, and from the near one ln of the growth at each step, (n, b)."""
    cell, before = on_cpu(cell), along.times(0, along.steps) - 1
    inputs, states = (aligned(values, before, along.sequence) for values in (layer.inputs, layer.states))
    generator = torch.Generator().manual_seed(seed)
    s, far, gap = states[0], *_starts(states, generator)
    logs = [log_norm(torch.stack([far - s, far, s, gap, gap]))]
    with torch.no_grad():
        for p in cell.project(inputs):
            near = s + _resized(gap, s)
            begun = near - s
            s, far, near = cell.recur(p.repeat(3, 1), torch.cat([s, far, near])).chunk(3)
            ended = near - s
            logs.append(log_norm(torch.stack([far - s, far, s, begun, ended])))
            gap = torch.where(ended.any(-1, keepdim=True), ended, gap)  # gone: the old direction once more
    apart, far, s, begun, ended = torch.stack(logs, 1)
    return _Far(apart, apart <= math.log(ROUNDING) + torch.maximum(far, s)), (ended - begun)[1:]


def _starts(states: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A state whose elements are drawn with the size that they have along the data (n, b, S), and a direction."""
    size = states.square().mean((0, 1)).sqrt()
    if not size.any():
        size = torch.ones_like(size)
    far, direction = torch.randn(2, *states.shape[1:], dtype=states.dtype, generator=generator)
    return size * far, direction


def _resized(gap: Tensor, s: Tensor) -> Tensor:
    """The gap at its tiny size beside the state s."""
    gap = gap / gap.abs().amax(-1, keepdim=True)
    size: Tensor = NEAR * (1 + s.norm(dim=-1, keepdim=True)) / gap.norm(dim=-1, keepdim=True)
    return gap * size


def _slopes(far: _Far) -> Tensor:
    """Least squares of ln d[t] over the steps before the first rounding, (b,)."""
    fitted = (~far.rounded).cumprod(0).double()
    count = fitted.sum(0)
    t = torch.arange(len(fitted), dtype=torch.float64)[:, None]
    t = fitted * (t - (fitted * t).sum(0) / count)
    slopes = (t * torch.where(fitted > 0, far.logs, 0.0)).sum(0) / t.square().sum(0)
    return torch.where(count == 1, -math.inf, slopes)


def _half_life(rate: float) -> float:
    return math.inf if rate >= 0 else math.log(2) / -rate


def _first(true: Tensor) -> int | None:
    return int(true.nonzero()[0]) if true.any() else None
