"""N[t, k]: how much the loss of step t weighs at the state of step k, the whole triangle as a heat map.

Rows are losses, columns states, colours decimal logarithms. Blank: k after t. Exact zero, underflow and what is not
finite have colours of their own.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from retrograd.measures import Contributions
from retrograd.reports.plots.colours import BROKEN, HEAT, UNDERFLOW, ZERO
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Box, Colours, Frame, sheet, words_only
from retrograd.reports.plots.scales import Ticks, decades, ticks
from retrograd.reports.report import Measurement, Report
from retrograd.reports.words import LN10, at, one_line, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEEPEST = 12.0  # decades under the largest value, from which on all is the darkest colour
NOT_MEASURED = "Each loss's gradient at each state was not measured."
BOX = (0.62, 0.42, WIDTH - 0.77, 2.3)


def heat_map(report: Report, colours: Colours) -> "Figure":
    found = latest(report)
    if found is None:
        return words_only(colours, NOT_MEASURED)
    name, measurement, it = found
    low, high = _range(it)
    figure = sheet(colours, height=3.5)
    box = (0.5, float(len(it.states)) - 0.5), (float(len(it.times)) - 0.5, -0.5)
    frame = Frame(figure, colours, box=BOX, x=(-0.5, box[0][1]), y=box[1])
    legend = (0.62, 3.3, 1.5, 0.1)
    images(figure, _pixels(measurement, it, low, high), BOX, legend)
    frame.xaxis(_round(it.states), "state after step k")
    for y, label in zip(*_round(it.times), strict=True):
        frame.text((BOX[0] - 0.06, frame.at(0, y)[1]), label, "muted", ha="right", va="center_baseline")
    frame.text(
        (0.1, BOX[1] + BOX[3] + 0.06),
        "loss of step t" + ("" if report.foreign else f", at {one_line(name)}"),
        "muted",
        va="bottom",
    )
    _scale(figure, colours, legend, it)
    _exceptions(frame, measurement, it)
    return figure


def heat_map_alt(report: Report) -> str:
    found = latest(report)
    if found is None:
        return NOT_MEASURED
    name, measurement, it = found
    finite = _finite(it)
    kinds = [_kind(measurement, it, i, j) for i in range(len(it.times)) for j in range(len(it.states))]
    between = f"lie between {power(min(finite))} and {power(max(finite))}" if finite else "are never finite"
    odd = [f"{kinds.count(kind):,} are {word}" for kind, word in WORDS.items() if kinds.count(kind)]
    steps = it.states[-1] - it.states[0] + 1
    thinned = f" of the {steps:,}" if steps > len(it.states) else ""
    return (
        f"{at(report, name, measurement.step)} the gradients of {len(it.times)} losses at {len(it.states)}"
        f"{thinned} states {between}{'; ' + ', '.join(odd) if odd else ''}."
    )


def heat_map_rows(report: Report) -> Iterator[Row]:
    """Natural logarithms, as measured; empty where the state comes after the loss."""
    yield ("measurement", "step", "loss time", "state time", "ln norm")
    for name, m in report.measurements.items():
        if m.contributions:
            for t, row in zip(m.contributions.times, m.contributions.log_norms, strict=True):
                for k, x in zip(m.contributions.states, row, strict=True):
                    yield (name, m.step, t, k, x)


def latest(report: Report) -> tuple[str, Measurement, Contributions] | None:
    """The last measurement that has the triangle."""
    found = [(name, m, m.contributions) for name, m in report.measurements.items()]
    drawn = [(name, m, it) for name, m, it in found if it is not None and it.times and it.states]
    return drawn[-1] if drawn else None


WORDS = {"zero": "exactly zero", "underflow": "too small to be held", "broken": "not finite"}
PAINT = {"zero": ZERO, "underflow": UNDERFLOW, "broken": BROKEN}


def _kind(measurement: Measurement, it: Contributions, row: int, column: int) -> str:
    """Of one number: "finite", "blank", "zero", "underflow" or "broken"."""
    x = it.log_norms[row][column]
    if x is None:
        return "blank"
    if x == -math.inf:
        first, lag = measurement.horizon.underflow, it.times[row] - it.states[column]
        return "underflow" if first is not None and lag >= first else "zero"
    return "finite" if math.isfinite(x) else "broken"


def _finite(it: Contributions) -> list[float]:
    return [x / LN10 for row in it.log_norms for x in row if x is not None and math.isfinite(x)]


def _range(it: Contributions) -> tuple[float, float]:
    """Of the colours; where that cuts off what is smaller, from a whole decade on."""
    finite = _finite(it) or [0.0]
    high = max(finite)
    floor = math.ceil(high - DEEPEST)
    return (float(floor) if min(finite) < floor else min(*finite, high - 1)), high


def _pixels(measurement: Measurement, it: Contributions, low: float, high: float) -> Any:
    """One pixel a number, (rows, columns, red green blue alpha)."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    raw = np.array([[math.nan if x is None else x / LN10 for x in row] for row in it.log_norms])
    share = np.clip((np.where(np.isfinite(raw), raw, low) - low) / (high - low), 0, 1)
    pixels = colormaps[HEAT](share)
    for row, column in zip(*np.nonzero(~np.isfinite(raw)), strict=True):
        kind = _kind(measurement, it, int(row), int(column))
        pixels[row, column] = to_rgba(PAINT[kind]) if kind in PAINT else (0, 0, 0, 0)
    return (pixels * 255).astype(np.uint8)


def images(figure: "Figure", pixels: Any, box: Box, legend: Box) -> None:
    """A map and its scale, in these boxes, on one Axes whose units are inches."""
    import numpy as np
    from matplotlib import colormaps

    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_axis_off()
    scale = (colormaps[HEAT](np.linspace(0, 1, 64))[None] * 255).astype(np.uint8)
    for picture, (x, y, width, height) in ((pixels, box), (scale, legend)):
        axes.imshow(picture, extent=(x, x + width, y, y + height), aspect="auto", interpolation="none")
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))


def _scale(figure: "Figure", colours: Colours, box: Box, it: Contributions) -> None:
    low, high = _range(it)
    frame = Frame(figure, colours, box=box, x=(low, high), y=(0, 1))
    places, labels = decades(low, high, most=4)
    if min(_finite(it), default=low) < low:
        others = [(x, label) for x, label in zip(places, labels, strict=True) if x > low + (high - low) / 3]
        places, labels = map(list, zip((low, f"≤ {power(low)}"), *others, strict=True))
    frame.xaxis((places, labels))


def _exceptions(frame: Frame, measurement: Measurement, it: Contributions) -> None:
    """A swatch for each kind of number that is not on the scale."""
    kinds = {_kind(measurement, it, i, j) for i in range(len(it.times)) for j in range(len(it.states))}
    x, y = 2.45, 3.35
    for kind, word in (("zero", "zero"), ("underflow", "underflow"), ("broken", "not finite")):
        if kind in kinds:
            frame.swatch((x, y), PAINT[kind])
            frame.text((x + 0.16, y), word, va="center_baseline")
            x += 0.86


def _round(values: tuple[int, ...]) -> Ticks:
    """Round times, at the row or column that each has or would have between two others."""
    import numpy as np

    times, labels = ticks(float(values[0]), float(values[-1]), most=8, whole=True)
    return np.interp(times, values, range(len(values))).tolist(), labels
