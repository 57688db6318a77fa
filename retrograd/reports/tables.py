"""The further measures as tables of a page: a row for each layer, from the first measurement to the last.

tables(report)["lyapunov"].rows[0]
("rnn.l0", "-0.68 → -0.29", "-0.304 to -0.273", "0 of 8")
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from retrograd.measures import (
    Context,
    Depth,
    Estimate,
    Exponents,
    LayerAttribution,
    LayerForgetting,
    LayerJacobians,
    Parts,
)
from retrograd.reports.plots.gates import change
from retrograd.reports.report import Measurement, Report
from retrograd.reports.sentences import estimated, of
from retrograd.reports.words import LN10, power, rounded

T = TypeVar("T")


class Table(NamedTuple):
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables(report: Report) -> dict[str, Table]:
    """By measure, of those that were taken."""
    looks = list(report.measurements.values())
    depths = [m.depth for m in looks if m.depth]
    found = {
        "attribution": _attribution(looks),
        "window": _window(report),
        "jacobians": _jacobians(looks),
        "lyapunov": _lyapunov(looks),
        "forgetting": _forgetting(looks),
        "depth": _depth(depths[-1]) if depths else None,
        "parts": _parts([m.parts for m in looks if m.parts]),
        "context": _context([m.context for m in looks if m.context]),
    }
    return {name: _filled(table) for name, table in found.items() if table and table.rows}


def _filled(table: Table) -> Table:
    """Without the columns that have nothing in any row."""
    kept = [i for i in range(len(table.heads)) if any(row[i] for row in table.rows)]
    return Table(tuple(table.heads[i] for i in kept), [tuple(row[i] for i in kept) for row in table.rows])


def _attribution(looks: Sequence[Measurement]) -> Table:
    def row(each: list[LayerAttribution]) -> tuple[str, ...]:
        factors = change([it.factor if it.total else None for it in each], rounded)
        wholes = change(_values(it.total for it in each), rounded)
        parts = [change(_values(it.parts.get(name) for it in each), rounded) for name in ("activation", "weights")]
        return each[-1].layer, factors, wholes, *parts

    layers = _by_layer((layer.layer, layer) for m in looks if m.attribution for layer in m.attribution.layers)
    heads = ("layer", "factor per step", "nats per step", "by the activation", "by the weights")
    return Table(heads, [row(each) for each in layers.values()])


def _window(report: Report) -> Table:
    rows = [
        (name, "none" if it.smallest is None else f"{it.smallest:,}", f"{len(it.anchors):,}", f"{it.sequences:,}")
        for name, m in report.measurements.items()
        if (it := m.window)
    ]
    wanted = next((f"{m.window.wanted:g}" for m in report.measurements.values() if m.window), "")
    return Table(("measured at", f"smallest window with cosine {wanted}", "losses", "sequences"), rows)


def _jacobians(looks: Sequence[Measurement]) -> Table:
    def row(each: list[LayerJacobians]) -> tuple[str, ...]:
        last, step = each[-1], change([it.largest[1] for it in each], rounded)
        if not last.lags:
            return last.layer, step, "", ""
        far = change([it.log_largest[-1][1] / LN10 for it in each if it.lags == last.lags], power)
        return last.layer, step, f"{far} over {last.lags[-1]:,}", power(last.log_chain[-1][1] / LN10)

    layers = _by_layer((layer.layer, layer) for m in looks if m.jacobians for layer in m.jacobians.layers)
    heads = ("layer", "largest, one step", "steps in a row", "bound on these")
    return Table(heads, [row(each) for each in layers.values()])


def _lyapunov(looks: Sequence[Measurement]) -> Table:
    def row(each: list[Exponents]) -> tuple[str, ...]:
        last = each[-1]
        between = f"{rounded(last.low[0])} to {rounded(last.high[0])}" if last.low and last.high else ""
        above = f"{sum(x > 0 for x in last.exponents)} of {len(last.exponents)}"
        return of(last), change([it.exponents[0] for it in each], rounded), between, above

    found = [one for m in looks if m.lyapunov for one in (*m.lyapunov.layers, *m.lyapunov.stacks) if one.exponents]
    layers = _by_layer((one.name, one) for one in found)
    heads = ("of", "largest exponent", "95 % interval", "above 0")
    return Table(heads, [row(each) for each in layers.values()])


def _forgetting(looks: Sequence[Measurement]) -> Table:
    def row(each: list[LayerForgetting]) -> tuple[str, ...]:
        numbers = [it.half_life for it in each], [it.rate for it in each], [it.exponent for it in each]
        gone = each[-1].rounding
        return each[-1].layer, *(change(x, rounded) for x in numbers), "never" if gone is None else f"{gone:,}"

    layers = _by_layer((layer.layer, layer) for m in looks if m.forgetting for layer in m.forgetting.layers)
    heads = ("layer", "halves in steps", "nats per step", "leading exponent", "rounding from step")
    return Table(heads, [row(each) for each in layers.values()])


def _depth(it: Depth) -> Table:
    """Of the last measurement: training changes none of it."""
    rows = [
        (f"{own.layer}, {own.cell}", *_depths(own.recurrent, own.feedforward, own.skip, at_least=own.at_least))
        for own in it.layers
    ]
    whole = _depths(it.recurrent, it.feedforward, it.skip, at_least=it.at_least)
    together = [("all together", *whole)] if len(it.layers) > 1 else []
    return Table(("layer", "recurrent", "feedforward", "skip"), [*rows, *together])


def _depths(recurrent: float, feedforward: float, skip: float | None, *, at_least: bool) -> tuple[str, ...]:
    def told(x: float) -> str:
        return f"at least {rounded(x)}" if at_least and math.isfinite(x) else rounded(x)

    return told(recurrent), told(feedforward), "not known" if skip is None else told(skip)


def _by_layer(named: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """What the measurements say of each layer, the first of them first."""
    found: dict[str, list[T]] = {}
    for name, it in named:
        found.setdefault(name, []).append(it)
    return found


def _values(estimates: Iterable[Estimate | None]) -> list[float | None]:
    return [None if it is None else it.value for it in estimates]


def _context(looks: Sequence[Context]) -> Table | None:
    if not looks:
        return None
    it = looks[-1]
    rows = [
        (str(n), estimated(x, low, high))
        for n, x, low, high in zip(it.lengths, it.excess, it.low, it.high, strict=True)
    ]
    return Table(("steps of the past left", "how much higher the loss is (95 % interval)"), rows)


def _parts(looks: Sequence[Parts]) -> Table | None:
    if not looks:
        return None
    rows = [
        (layer.layer, str(l), *(power(logs[l] / LN10) if logs else "" for logs in columns))
        for layer in looks[-1].layers
        for columns in [(layer.whole, layer.carried, layer.output, layer.memory)]
        for l in sorted({0, *(1 << i for i in range((len(layer.whole) - 1).bit_length()))})
    ]
    return Table(("layer", "lag", "|dL/ds|", "carried by the layer", "|dL/dh|", "|dL/dc|"), rows)
