"""Lines of bars from zero, one bar for each measurement, with their intervals.

A line has the layer's name where the layer begins, and its own. What is not finite is a mark at the edge, what was not
measured a word.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from retrograd.measures import Estimate
from retrograd.reports.plots.frame import Frame
from retrograd.reports.plots.panels import shortened
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import limits
from retrograd.reports.report import Report
from retrograd.reports.words import one_line

LINE = 0.19  # inches, a line
LONGEST = 11  # letters of a layer's name
APART = 0.34  # share of a line between its bars


class Line(NamedTuple):
    """One quantity of one layer, by measurement; None where there was nothing to measure."""

    layer: str
    name: str
    values: dict[str, Estimate | None]


def span(lines: Iterable[Line], *always: float) -> tuple[float, float]:
    """The range of all bars and intervals, with zero and the other values that are always there."""
    known = [x for line in lines for it in line.values.values() if it for x in (it.value, it.low, it.high)]
    return limits([0.0, *always, *(x for x in known if x is not None)], margin=0.03)


def bars(frame: Frame, report: Report, lines: Sequence[Line]) -> None:
    """One line under the other, in a frame whose units are lines from the top."""
    frame.strokes([[frame.at(0, -0.5), frame.at(0, len(lines) - 0.5)]], "muted", width=0.8, clip=False)
    for i, line in enumerate(lines):
        places = [i + (j - (len(line.values) - 1) / 2) * APART for j in range(len(line.values))]
        for y, (name, it) in zip(places, line.values.items(), strict=True):
            if it is None:
                frame.text(frame.at(0, y), " none", "muted", size=7, va="center_baseline")
            else:
                _bar(frame, it, y, paint(report, name), width=9.0 / max(1.5, len(line.values)))


def names(frame: Frame, rows: Sequence[tuple[str, str]]) -> None:
    """The layer where it begins, the quantity on each line."""
    before, each = "", list(dict.fromkeys(layer for layer, _ in rows))
    label = dict(zip(each, shortened(each, LONGEST), strict=True))
    for i, (layer, name) in enumerate(rows):
        x, y = frame.at(frame.x[0], i)
        frame.text((x - 0.08, y), one_line(name, most=14), ha="right", va="center_baseline")
        if layer != before:
            frame.text((0.1, y), label[layer], "muted", va="center_baseline")
        before = layer


def _bar(frame: Frame, it: Estimate, y: float, colour: str, *, width: float) -> None:
    if math.isnan(it.value):
        frame.crosses([frame.at(frame.x[1], y)], "alarm")
    elif it.value == math.inf:
        frame.triangles([frame.at(frame.x[1], y)], "alarm")
    elif it.value == -math.inf:
        frame.triangles([frame.at(frame.x[0], y)], colour, -1)
    if not math.isfinite(it.value):
        return
    (x0, y0), (x1, _) = frame.at(0, y), frame.at(it.value, y)
    high = width / 144  # half the width, in inches
    frame.area([(x0, y0 - high), (x1, y0 - high), (x1, y0 + high), (x0, y0 + high)], colour, clip=False)
    if it.low is not None and it.high is not None and math.isfinite(it.low) and math.isfinite(it.high):
        frame.strokes([[frame.at(it.low, y), frame.at(it.high, y)]], "ink", width=0.9, clip=False)
