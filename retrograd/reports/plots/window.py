"""How much of the gradient of the recurrent weights comes from each lag, and how much of it a window keeps.

left     |piece[l]| against the lag l: the pieces sum to dL/dW_hh
right    the cosine of the truncated and the full gradient against the window p: 1 is all of it
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retrograd.measures import LayerWindow, WindowAdequacy
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours, Entry, Frame, words_only
from retrograd.reports.plots.panels import Axis, Plan, doublings, integers, marks, panel, shortened, spread_out, unusual
from retrograd.reports.plots.reach import lines, paint
from retrograd.reports.plots.scales import decades, labelled, limits, ticks
from retrograd.reports.report import Report
from retrograd.reports.sentences import MOST, caption
from retrograd.reports.words import LN10, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "The gradient by lag and by window: not measured."
DEEPEST = 12.0  # decades under the largest, at which the picture ends


def window(report: Report, colours: Colours) -> "Figure":
    found = measured(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    names = list(dict.fromkeys(layer.layer for it in found.values() for layer in it.layers))[:MOST]
    figure, boxes = spread_out(colours, Plan(2 * len(names), across=2), _entries(report, found))
    for i, (name, title) in enumerate(zip(names, shortened(names), strict=True)):
        each = {m: layer for m, it in found.items() for layer in it.layers if layer.layer == name}
        by_lag = panel(figure, colours, boxes[2 * i], x=_lags(found), y=_sizes(found), title=title)
        by_window = panel(figure, colours, boxes[2 * i + 1], x=_windows(found), y=_cosines(found))
        _wanted(by_window, report, list(found.values())[-1])
        for m, layer in each.items():
            _by_lag(by_lag, layer, paint(report, m))
            _by_window(by_window, layer, found[m].windows, paint(report, m))
    return figure


def window_alt(report: Report) -> str:
    return caption(report, measured(report), "window") or NOT_MEASURED


def window_rows(report: Report) -> Iterator[Row]:
    """Of each lag ln |piece|, as measured; of each window its error and cosine, sliding and in chunks."""
    yield ("measurement", "layer", "cell", "what", "lag or window", "ln norm", "error", "cosine")
    for name, it in measured(report).items():
        for layer in it.layers:
            here = (name, layer.layer, layer.cell)
            for lag, x in enumerate(layer.log_norms):
                yield (*here, "lag", lag, x, None, None)
            for what, cut in (("sliding", layer.sliding), ("chunks", layer.chunks)):
                for p, error, cosine in zip(it.windows, cut.error, cut.cosine, strict=True):
                    yield (*here, what, p, None, error, cosine)


def measured(report: Report) -> dict[str, WindowAdequacy]:
    return {name: m.window for name, m in report.measurements.items() if m.window and m.window.layers}


def _by_lag(frame: Frame, layer: LayerWindow, colour: str) -> None:
    lags, sizes = range(len(layer.log_norms)), [x / LN10 for x in layer.log_norms]
    frame.line(lags, sizes, colour)
    marks(frame, lags, sizes, colour)


def _by_window(frame: Frame, layer: LayerWindow, windows: Sequence[int], colour: str) -> None:
    places = [math.log2(p) for p in windows]
    frame.line(places, layer.sliding.cosine, colour, width=0.7)
    frame.line(places, layer.chunks.cosine, colour)
    frame.dots(zip(places, layer.chunks.cosine, strict=True), colour, size=3.5)
    marks(frame, places, layer.chunks.cosine, colour)


def _wanted(frame: Frame, report: Report, it: WindowAdequacy) -> None:
    """The cosine that is asked for, across, and the window of training and the need, down."""
    frame.across(it.wanted, "ink", width=0.8, dashes=(1.0, 2.0))
    for line in lines(report):
        if line.at >= 1 and math.log2(line.at) <= frame.x[1]:
            frame.down(math.log2(line.at), line.colour, width=1.0, dashes=line.dashes)


def _entries(report: Report, found: dict[str, WindowAdequacy]) -> list[Entry]:
    last = list(found.values())[-1]
    entries = [Entry(one_line(name), paint(report, name)) for name in found if len(found) > 1]
    entries += [Entry("in chunks", "end"), Entry("sliding", "end", "thin")]
    entries += [Entry(f"cosine {last.wanted:g}", "ink", "dotted")]
    entries += [Entry(line.label, line.colour, line.kind) for line in lines(report) if line.at <= max(last.windows)]
    logs = [x for it in found.values() for layer in it.layers[:MOST] for x in layer.log_norms]
    cosines = [x for it in found.values() for layer in it.layers[:MOST] for x in layer.chunks.cosine]
    return entries + unusual([*logs, *cosines], lowest="zero")


def _lags(found: dict[str, WindowAdequacy]) -> Axis:
    longest = max(len(layer.log_norms) for it in found.values() for layer in it.layers) - 1
    return integers(longest, "lag, steps back")


def _sizes(found: dict[str, WindowAdequacy]) -> Axis:
    known = [x / LN10 for it in found.values() for layer in it.layers for x in layer.log_norms]
    low, high = limits(known, margin=0.04)
    low = max(low, high - DEEPEST)
    return Axis((low, high), labelled(decades(low, high, most=5), known), "gradient of W_hh, log scale")


def _windows(found: dict[str, WindowAdequacy]) -> Axis:
    return Axis(*doublings(max(p for it in found.values() for p in it.windows)), "window, steps")


def _cosines(found: dict[str, WindowAdequacy]) -> Axis:
    cut = [cut for it in found.values() for layer in it.layers for cut in (layer.sliding, layer.chunks)]
    known = [x for one in cut for x in one.cosine]
    low, high = limits([*known, 1.0, 0.95], margin=0.04)
    return Axis((low, high), labelled(ticks(low, high, most=5), known), "cosine with the full one")
