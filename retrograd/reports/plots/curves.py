"""What pictures of a quantity through training have in common: one curve, panels above each other, words and rows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, Range, sheet
from retrograd.reports.plots.scales import Ticks, ticks
from retrograd.reports.report import Curve, Report
from retrograd.reports.words import last_step, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = tuple[str | int | float | None, ...]
FEW = 40  # points, up to which each is a dot as well
BOTTOM, TOP = 0.42, 2.36  # inches, of what lies between the steps and the key
KEY = 2.6


class Panel(NamedTuple):
    """One of several curves above each other."""

    name: str
    curve: Curve
    y: Range
    ticks: Ticks
    colour: str


def measured(report: Report, name: str) -> Curve | None:
    """The curve, if it has a point."""
    curve = report.curves.get(name)
    return curve if curve and curve.steps else None


def span(report: Report) -> Range:
    """The steps of the whole training so far, which all these pictures share."""
    return 0.0, float(max(last_step(report), 1))


def draw_curve(frame: Frame, curve: Curve, colour: str, *, width: float = 1.4) -> None:
    """Its range, its line and its marks."""
    if curve.low and curve.high:
        frame.band(curve.steps, curve.low, curve.high, colour)
    frame.line(curve.steps, curve.values, colour, width=width)
    if len(curve.steps) <= FEW:
        frame.dots(zip(curve.steps, curve.values, strict=True), colour)
    frame.marks(curve.steps, curve.values)


def step_axis(frame: Frame, *, labels: bool = True) -> None:
    frame.xaxis(ticks(*frame.x, whole=True), "step" if labels else "", labels=labels)


def stacked(report: Report, colours: Colours, panels: Sequence[Panel]) -> "Figure":
    """One panel above the other, over the same steps."""
    figure, gap = sheet(colours), 0.34
    height = (TOP - BOTTOM - gap * (len(panels) - 1)) / len(panels)
    for place, panel in enumerate(reversed(panels)):
        box = (0.6, BOTTOM + place * (height + gap), WIDTH - 0.75, height)
        frame = Frame(figure, colours, box=box, x=span(report), y=panel.y)
        frame.yaxis(panel.ticks)
        step_axis(frame, labels=place == 0)
        draw_curve(frame, panel.curve, panel.colour)
    entries = [Entry(panel.name, panel.colour) for panel in panels]
    frame.key([*entries, *unusual(x for panel in panels for x in panel.curve.values)], top=KEY)
    return figure


def unusual(values: Iterable[float]) -> list[Entry]:
    """For the key: the marks of what is not finite, where there is any."""
    values = list(values)
    some = [Entry("NaN", "alarm", "cross")] if any(map(math.isnan, values)) else []
    return some + ([Entry("infinite", "alarm", "triangle")] if any(map(math.isinf, values)) else [])


def extremes(curve: Curve) -> Range:
    """The least and the greatest value that was logged, not only of the points drawn; NaN if none is finite."""
    least = [x for x in (*curve.values, *curve.low) if math.isfinite(x)]
    greatest = [x for x in (*curve.values, *curve.high) if math.isfinite(x)]
    return min(least, default=math.nan), max(greatest, default=math.nan)


def course(name: str, curve: Curve, *, mean: str = "mean") -> str:
    """How it goes, in a sentence with its numbers; `mean` is what a point is that stands for many lines of the log."""
    first, last, step = curve.values[0], curve.values[-1], f"{curve.steps[-1]:,}"
    unit = f" {curve.unit}" if curve.unit else ""
    lost = [step for step, x in zip(curve.steps, curve.values, strict=True) if not math.isfinite(x)]
    if len(curve.values) == 1:
        return f"{name} is {number(last)}{unit} at step {step}."
    kinds = list(dict.fromkeys(map(number, (*curve.values, *curve.low, *curve.high))))
    if len(kinds) == 1 or len(lost) == len(curve.values):
        unit = unit if not lost else ""
        return f"{name} is {' or '.join(kinds)}{unit} throughout, over the steps {curve.steps[0]:,} to {step}."
    verb = "falls" if last < first else "rises" if last > first else "goes"
    said = f"{name} {verb if math.isfinite(last - first) else 'goes'} from {number(first)}"
    if curve.low:
        ending = f"{curve.steps[-2] + 1:,} to {step}"
        said += f", the {mean} up to step {curve.steps[0]:,}, to {number(last)}{unit}, the {mean} of the steps {ending}"
    else:
        said += f" to {number(last)}{unit} over the steps {curve.steps[0]:,} to {step}"
    lowest, highest = extremes(curve)
    said += f"; the least is {number(lowest)}" if lowest < min(first, last) else ""
    said += f"; the greatest is {number(highest)}" if highest > max(first, last) else ""
    return f"{said}." + (f" {len(lost):,} of its values are not finite, the first at step {lost[0]:,}." if lost else "")


def curve_rows(report: Report, *names: str) -> Iterator[Row]:
    """Every point of these curves, as the report has it."""
    yield ("curve", "unit", "step", "value", "low", "high")
    for name in names:
        if curve := measured(report, name):
            nothing = (None,) * len(curve.steps)
            low, high = curve.low or nothing, curve.high or nothing
            for row in zip(curve.steps, curve.values, low, high, strict=True):
                yield (name, curve.unit, *row)
