"""How fast two nearby states grow apart or together: the Lyapunov exponents of each layer and each stack of layers.

The largest first, in nats per step, with their 95 % intervals, around the line of zero: above it states part, below it
they are forgotten.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrograd.measures import Exponents, LyapunovSpectrum
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours, Entry, Frame, words_only
from retrograd.reports.plots.panels import Axis, marks, one_each, unusual
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import labelled, limits, ticks
from retrograd.reports.report import Report
from retrograd.reports.sentences import MOST, caption, of
from retrograd.reports.words import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "The Lyapunov spectrum: not measured."
BESIDE = 0.16  # of the distance between two exponents, by which a measurement stands beside the one before


def lyapunov(report: Report, colours: Colours) -> "Figure":
    found = measured(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    names = list(dict.fromkeys(one.name for it in found.values() for one in it))[:MOST]
    titles = [of(_last(found, name)) for name in names]
    figure, frames = one_each(colours, titles, _entries(report, found), x=_places(found), y=_rates(found))
    for name, frame in zip(names, frames, strict=True):
        each = {m: one for m, it in found.items() for one in it if one.name == name}
        frame.across(0.0, "ink", width=0.9)
        for i, (m, one) in enumerate(each.items()):
            _points(frame, one, paint(report, m), (i - (len(each) - 1) / 2) * BESIDE)
    return figure


def lyapunov_alt(report: Report) -> str:
    return caption(report, measured(report), "lyapunov") or NOT_MEASURED


def lyapunov_rows(report: Report) -> Iterator[Row]:
    """Nats per step."""
    yield ("measurement", "of", "states", "exponent", "value", "low", "high", "steps", "sequences", "blocks of time")
    for name, it in measured(report).items():
        for one in it:
            nothing = (None,) * len(one.exponents)
            columns = zip(one.exponents, one.low or nothing, one.high or nothing, strict=True)
            for i, row in enumerate(columns, start=1):
                yield (name, one.name, one.size, i, *row, one.steps, one.sequences, one.blocks)


def measured(report: Report) -> dict[str, list[Exponents]]:
    """The layers' and then the stacks'."""
    found = {name: m.lyapunov for name, m in report.measurements.items() if m.lyapunov}
    return {m: some for m, it in found.items() if (some := [one for one in _all(it) if one.exponents])}


def _last(found: dict[str, list[Exponents]], name: str) -> Exponents:
    return next(one for it in reversed(found.values()) for one in it if one.name == name)


def _all(it: LyapunovSpectrum) -> list[Exponents]:
    return [*it.layers, *it.stacks]


def _points(frame: Frame, one: Exponents, colour: str, beside: float) -> None:
    places = [i + 1 + beside for i in range(len(one.exponents))]
    for x, low, high in zip(places, one.low, one.high, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            frame.strokes([[frame.at(x, low), frame.at(x, high)]], colour, width=1.2)
    frame.dots(zip(places, one.exponents, strict=True), colour, size=4.5)
    marks(frame, places, one.exponents, colour)


def _entries(report: Report, found: dict[str, list[Exponents]]) -> list[Entry]:
    drawn = [one for it in found.values() for one in it[:MOST]]
    values = [x for one in drawn for x in one.exponents]
    entries = [Entry(one_line(name), paint(report, name), "dots") for name in found]
    entries += [Entry("95 % interval", "end")] if any(one.low for one in drawn) else []
    return entries + unusual(values, lowest="minus infinity")


def _places(found: dict[str, list[Exponents]]) -> Axis:
    longest = max(len(one.exponents) for it in found.values() for one in it)
    marked = ticks(1.0, longest, most=9, whole=True) if longest > 1 else ([1.0], ["1"])
    return Axis((0.4, longest + 0.6), marked, "exponent")


def _rates(found: dict[str, list[Exponents]]) -> Axis:
    known = [x for it in found.values() for one in it for x in (*one.exponents, *one.low, *one.high)]
    low, high = limits([*known, 0.0], margin=0.06)
    return Axis((low, high), labelled(ticks(low, high, most=5), known), "nats per step")
