"""Why a layer's gradient shrinks or grows from one step back to the next, along its own direction.

    delta' = J^T delta                          ln |delta'| / |delta|       in nats per step
    Elman:  dz = f'(z) * delta,  delta' = W_hh^T dz
            ln |delta'| / |delta| = ln |dz| / |delta|  +  ln |delta'| / |dz|         activation + weights, exactly
    gates:  delta' = sum of the paths' pieces, as vectors
            share of a path = <delta', piece> / |delta'|^2        they sum to 1, and one of them may be negative

What enters a layer from above is followed back by the layer's own steps, and scaled to length 1 after each, so that
it does not underflow however far that is. With a memory cell the first step back is left out: there the gradient is
on h alone, and the step is the read-out. Axes: T time, B batch, S state, N sequences that have a step to measure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from retrograd.cells import Elman
from retrograd.errors import UsageError
from retrograd.measures.bootstrap import Estimate, estimate
from retrograd.measures.stretches import live_steps, starting_steps
from retrograd.numerics import log_norm, unit
from retrograd.trace import LayerTrace, Trace

AT_ONCE = 1 << 16  # numbers of each path's piece that are held together: they stay in the cache


@dataclass(frozen=True)
class LayerAttribution:
    """Of one layer, in nats per step; the intervals are over the sequences."""

    layer: str
    cell: str  # the class: "LSTM"
    total: Estimate | None  # mean of ln |delta'| / |delta|; None where there was no step to measure
    parts: dict[str, Estimate]  # of an Elman cell: "activation" and "weights", which sum to the total
    shares: dict[str, Estimate]  # of each path: the median over a sequence's steps, and of that over the sequences
    steps: int  # what it rests on
    sequences: int
    zero: int  # steps left out because the gradient became exactly zero there, so that it went no further
    not_finite: int  # steps left out because it became NaN or infinite

    @property
    def factor(self) -> float:
        """The geometric mean of |delta'| / |delta|; NaN where there was no step to measure."""
        return math.nan if self.total is None else math.exp(self.total.value)


@dataclass(frozen=True)
class Attribution:
    layers: tuple[LayerAttribution, ...]


@dataclass(frozen=True, eq=False)
class _Way:
    """A gradient's way back: of length 1 above each step, and how the step changes its length."""

    first: int  # the steps before those that are looked at
    above: Tensor  # (T, B, S)
    change: Tensor  # (T, B): ln |delta'| / |delta|
    lags: Tensor  # (T, B): steps back since it entered; -1 where there is none to follow


def attribution(
    trace: Trace, *, longest: int | None = None, latest: int | None = None, resamples: int = 200, seed: int = 0
) -> Attribution:
    """The mean change per step of each layer, its parts and its paths' shares; the global generators are left alone.

    The gradient that enters last is followed back to the start; or for `longest` steps, and then the one that enters
    next. To explain a horizon, take it as `longest`: it costs the same. Only the `latest` steps are looked at,
    or all. A cell without an equation has a total alone.

    >>> layer = attribution(trace).layers[0]
    >>> layer.total.value, layer.parts["activation"].value, layer.parts["weights"].value
    (-0.69, -0.15, -0.54)
    """
    if any(steps is not None and steps < 1 for steps in (longest, latest)):
        raise UsageError(f"A gradient is followed for at least 1 step, got longest={longest} and latest={latest}.")
    return Attribution(tuple(_of_layer(layer, longest, latest, resamples, seed) for layer in trace.layers))


def _of_layer(
    layer: LayerTrace, longest: int | None, latest: int | None, resamples: int, seed: int
) -> LayerAttribution:
    readout = 1 if layer.has_memory else 0
    first = 0 if latest is None else max(len(layer) - latest, 0)
    way = _followed(layer, len(layer) if longest is None else max(longest, readout + 1), first)
    on_way = live_steps(layer)[first:] & (way.lags >= 0)
    counted = on_way & (way.lags >= readout) & way.change.isfinite()
    some = counted.any(0)

    def summary(of: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]], values: Tensor) -> Estimate:
        statistic = of(values[:, some].cpu(), counted[:, some].cpu())
        return estimate(statistic, int(some.sum()), resamples=resamples, seed=seed)

    return LayerAttribution(
        layer=layer.name,
        cell=layer.kind,
        total=summary(_mean, way.change) if some.any() else None,
        parts={name: summary(_mean, part) for name, part in _parts(layer, way).items()} if some.any() else {},
        shares={name: summary(_median, share) for name, share in _shares(layer, way).items()} if some.any() else {},
        steps=int(counted.sum()),
        sequences=int(some.sum()),
        zero=int((on_way & ~starting_steps(layer)[first:] & (way.change == -math.inf)).sum()),
        not_finite=int((on_way & (way.change.isnan() | (way.change == math.inf))).sum()),
    )


def _followed(layer: LayerTrace, longest: int, first: int) -> _Way:
    """At each step of each sequence the gradient on its way; where there is none, the one that enters is taken up."""
    entering, live = layer.entering[first:], live_steps(layer)[first:]
    units, sizes = unit(entering)
    above, change, lags = torch.zeros_like(units), torch.zeros_like(sizes), torch.zeros_like(sizes, dtype=torch.long)
    delta, lag = torch.zeros_like(units[0]), torch.full_like(lags[0], -1)
    for t in reversed(range(len(units))):
        fresh = (lag < 0) & (sizes[t] != -math.inf)
        above[t] = delta = torch.where(fresh[:, None], units[t], delta)
        lags[t] = lag = torch.where(fresh, 0, lag)
        delta, change[t] = unit(layer.back(first + t + 1, delta))
        lag = torch.where(change[t].isfinite() & (lag >= 0) & (lag + live[t] < longest), lag + live[t], -1)
        delta = torch.where(lag[:, None] >= 0, delta, 0.0)
    return _Way(first, above, change, lags)


def _parts(layer: LayerTrace, way: _Way) -> dict[str, Tensor]:
    """Each (T, B), in nats."""
    if not isinstance(layer.cell, Elman):
        return {}
    activation = log_norm(layer.linear.derivatives["h"][way.first :] * way.above)
    return {"activation": activation, "weights": way.change - activation}


def _shares(layer: LayerTrace, way: _Way) -> dict[str, Tensor]:
    """Of each path (T, B); none for an Elman cell, with one alone, nor where the model changes the state in between."""
    if layer.cell is None or isinstance(layer.cell, Elman) or layer.bridged:
        return {}
    steps = max(1, AT_ONCE // way.above[0].numel())
    found = [_shares_of(layer, way, t, t + steps) for t in range(0, len(way.above), steps)]
    return {name: torch.cat([shares[name] for shares in found]) for name in found[0]}


def _shares_of(layer: LayerTrace, way: _Way, begin: int, end: int) -> dict[str, Tensor]:
    pieces = layer.linear[way.first + begin : way.first + end].paths(way.above[begin:end])
    whole = reduce(torch.add, pieces.values())
    length = log_norm(whole).exp()
    direction = whole / length[..., None]  # not the product over the square, which underflows sooner
    return {name: (direction * piece).sum(-1) / length for name, piece in pieces.items()}


def _mean(values: Tensor, counted: Tensor) -> Callable[[Tensor], Tensor]:
    """Of all steps of the sequences asked for; values and counted (T, N)."""
    sums, steps = torch.where(counted, values, 0.0).sum(0), counted.sum(0)
    return lambda asked: sums[asked].sum(-1) / steps[asked].sum(-1)


def _median(values: Tensor, counted: Tensor) -> Callable[[Tensor], Tensor]:
    """Of the sequences asked for, each with the median of its steps; the lower of the two in the middle."""
    ordered = torch.where(counted, values, math.inf).sort(0).values
    middle = ordered.gather(0, (counted.sum(0, keepdim=True) - 1) // 2)[0]
    return lambda asked: middle[asked].median(-1).values
