"""How fast each layer forgets where it set out from: the distance of two states from different starts, step by step.

In decades of the distance at the start, the median of the sequences and the range of the middle 80 % of them. The line
ends where the distance is no more than rounding.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrograd.measures import Forgetting, LayerForgetting
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours, Entry, Frame, words_only
from retrograd.reports.plots.panels import Axis, integers, marks, one_each, unusual
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import decades, labelled, limits
from retrograd.reports.report import Report
from retrograd.reports.sentences import MOST, caption
from retrograd.reports.words import LN10, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "How fast the start is forgotten: not measured."


def forgetting(report: Report, colours: Colours) -> "Figure":
    found = measured(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    names = list(dict.fromkeys(layer.layer for it in found.values() for layer in it.layers))[:MOST]
    figure, frames = one_each(colours, names, _entries(report, found), x=_steps(found), y=_distances(found))
    for name, frame in zip(names, frames, strict=True):
        for m, it in found.items():
            for layer in it.layers:
                if layer.layer == name:
                    _distance(frame, layer, paint(report, m))
    return figure


def forgetting_alt(report: Report) -> str:
    return caption(report, measured(report), "forgetting") or NOT_MEASURED


def forgetting_rows(report: Report) -> Iterator[Row]:
    """Natural logarithms, as measured."""
    yield ("measurement", "layer", "cell", "step", "ln distance", "10 %", "90 %", "rounding", "sequences")
    for name, it in measured(report).items():
        for layer in it.layers:
            columns = zip(layer.distance, layer.distance_low, layer.distance_high, strict=True)
            for step, row in enumerate(columns):
                gone = layer.rounding is not None and step >= layer.rounding
                yield (name, layer.layer, layer.cell, step, *row, "yes" if gone else "no", layer.sequences)


def measured(report: Report) -> dict[str, Forgetting]:
    return {name: m.forgetting for name, m in report.measurements.items() if m.forgetting and m.forgetting.layers}


def _distance(frame: Frame, it: LayerForgetting, colour: str) -> None:
    end = _shown(it)
    steps, middle = range(end), [x / LN10 for x in it.distance[:end]]
    low, high = ([x / LN10 for x in values[:end]] for values in (it.distance_low, it.distance_high))
    frame.band(steps, low, high, colour)
    frame.line(steps, middle, colour)
    marks(frame, steps, middle, colour)
    if it.rounding is not None:
        last = max(it.rounding - 1, 0)
        y = middle[last] if math.isfinite(middle[last]) else frame.y[0]
        frame.triangles([frame.at(last, max(y, frame.y[0]))], colour, -1)


def _shown(it: LayerForgetting) -> int:
    """How many distances are more than rounding; the first always is one."""
    return len(it.distance) if it.rounding is None else max(it.rounding, 1)


def _entries(report: Report, found: dict[str, Forgetting]) -> list[Entry]:
    layers = [layer for it in found.values() for layer in it.layers[:MOST]]
    entries = [Entry(one_line(name), paint(report, name)) for name in found]
    entries += [Entry("80 % of the sequences", "end", "band")]
    gone = any(it.rounding is not None for it in layers)
    entries += [Entry("no more than rounding", "end", "fallen")] if gone else []
    return entries + unusual(x for it in layers for x in it.distance[: _shown(it)] if x != -math.inf)


def _steps(found: dict[str, Forgetting]) -> Axis:
    return integers(max(len(layer.distance) for it in found.values() for layer in it.layers) - 1, "step")


def _distances(found: dict[str, Forgetting]) -> Axis:
    layers = [layer for it in found.values() for layer in it.layers]
    known = [x / LN10 for it in layers for x in it.distance[: _shown(it)]]
    low, high = limits([*known, 0.0, -1.0], margin=0.04)
    return Axis((low, high), labelled(decades(low, high, most=5), known), "distance, relative; log scale")
