"""How much many steps in a row can stretch or shrink a gradient: singular values of products of step Jacobians.

Against the lag, in decades: the largest, with the range of the middle 80 % of the products, their geometric mean, and
beside them the bounds that never lie under the largest. What falls far below leaves the picture.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retrograd.measures import Jacobians, LayerJacobians
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours, Entry, Frame, words_only
from retrograd.reports.plots.panels import Axis, doublings, marks, one_each, unusual
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import decades, labelled, limits
from retrograd.reports.report import Report
from retrograd.reports.sentences import MOST, caption
from retrograd.reports.words import LN10, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "The singular values of many steps: not measured."
DEEPEST, HIGHEST = -12.0, 12.0  # decades, beyond which lines leave the picture


def jacobians(report: Report, colours: Colours) -> "Figure":
    found = measured(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    names = list(dict.fromkeys(layer.layer for it in found.values() for layer in it.layers))[:MOST]
    figure, frames = one_each(colours, names, _entries(report, found), x=_lags(found), y=_sizes(found))
    for name, frame in zip(names, frames, strict=True):
        each = {m: layer for m, it in found.items() for layer in it.layers if layer.layer == name}
        frame.across(0.0, "muted", width=0.8)
        _bounds(frame, list(each.values())[-1])
        for m, layer in each.items():
            _products(frame, layer, paint(report, m))
    return figure


def jacobians_alt(report: Report) -> str:
    return caption(report, measured(report), "jacobians") or NOT_MEASURED


def jacobians_rows(report: Report) -> Iterator[Row]:
    """Natural logarithms, as measured; lag 1 has the step's own singular values beside it."""
    yield ("measurement", "layer", "cell", "quantity", "lag", "10 %", "50 %", "90 %", "products or steps")
    for name, found in measured(report).items():
        for it in found.layers:
            here = (name, it.layer, it.cell)
            for what, spread in (("largest", it.largest), ("median", it.median), ("smallest", it.smallest)):
                yield (*here, f"{what} singular value of a step", None, *spread, it.steps)
            for i, lag in enumerate(it.lags):
                yield (*here, "ln largest", lag, *it.log_largest[i], it.products[i])
                yield (*here, "ln geometric mean", lag, *it.log_volume[i], it.products[i])
                yield (*here, "ln bound from the steps", lag, *it.log_chain[i], it.products[i])
                if it.log_bound is not None:
                    yield (*here, "ln bound from W_hh", lag, None, it.log_bound[i], None, None)


def measured(report: Report) -> dict[str, Jacobians]:
    """The layers that have a product of some lag."""
    found = {name: m.jacobians for name, m in report.measurements.items() if m.jacobians}
    with_lags = {name: tuple(layer for layer in it.layers if layer.lags) for name, it in found.items()}
    return {name: Jacobians(layers) for name, layers in with_lags.items() if layers}


def _products(frame: Frame, it: LayerJacobians, colour: str) -> None:
    places = [math.log2(lag) for lag in it.lags]
    low, middle, high = ([x / LN10 for x in values] for values in zip(*it.log_largest, strict=True))
    frame.band(places, low, high, colour)
    frame.line(places, _decimal(it.log_volume), colour, width=0.7)
    frame.line(places, middle, colour)
    low_edge, high_edge = frame.y
    frame.dots([(x, y) for x, y in zip(places, middle, strict=True) if low_edge <= y <= high_edge], colour, size=3.5)
    marks(frame, places, middle, colour)


def _bounds(frame: Frame, it: LayerJacobians) -> None:
    """Of the last measurement: that from each step's largest singular value, and Elman's."""
    places = [math.log2(lag) for lag in it.lags]
    frame.line(places, _decimal(it.log_chain), "other", width=1.1, dashes=(4.0, 2.0))
    if it.log_bound is not None:
        frame.line(places, [x / LN10 for x in it.log_bound], "ink", width=1.1, dashes=(1.0, 2.0))


def _entries(report: Report, found: dict[str, Jacobians]) -> list[Entry]:
    layers = [layer for it in found.values() for layer in it.layers[:MOST]]
    entries = [Entry(one_line(name), paint(report, name)) for name in found if len(found) > 1]
    entries += [Entry("largest", "end"), Entry("80 % of the products", "end", "band")]
    entries += [Entry("geometric mean", "end", "thin"), Entry("bound from the steps", "other", "dashed")]
    entries += [Entry("bound from W_hh", "ink", "dotted")] if any(it.log_bound for it in layers) else []
    middle = [three[1] for it in layers for three in it.log_largest]
    return entries + unusual(middle, lowest="zero")


def _lags(found: dict[str, Jacobians]) -> Axis:
    longest = max(lag for it in found.values() for layer in it.layers for lag in layer.lags)
    return Axis(*doublings(longest), "lag, steps")


def _sizes(found: dict[str, Jacobians]) -> Axis:
    """Of the largest singular values and the bounds on them; the means as far as they are in the picture."""
    layers = [layer for it in found.values() for layer in it.layers]
    known = [x / LN10 for it in layers for three in it.log_largest for x in three]
    beside = [x for it in layers for x in (*_decimal(it.log_chain), *(y / LN10 for y in it.log_bound or ()))]
    low, high = limits([*known, *beside, 0.0, -1.0, 0.3], margin=0.04)
    low, high = max(low, DEEPEST), min(high, HIGHEST)
    return Axis((low, high), labelled(decades(low, high, most=5), known), "singular value, log scale")


def _decimal(spreads: Sequence[tuple[float, float, float]]) -> list[float]:
    """The medians, in decades."""
    return [middle / LN10 for _, middle, _ in spreads]
