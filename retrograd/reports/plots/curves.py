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


def course(name: str, curve: Curve) -> str:
    """How it goes, in a sentence with its numbers."""
    first, last, steps = curve.values[0], curve.values[-1], f"{curve.steps[-1]:,}"
    unit = f" {curve.unit}" if curve.unit else ""
    if len(curve.values) == 1:
        said = f"{name} is {number(last)}{unit} at step {steps}."
    else:
        verb = "goes" if not last - first else "falls" if last < first else "rises"
        verb = verb if math.isfinite(last - first) else "goes"
        lowest = min((x for x in curve.values if math.isfinite(x)), default=math.nan)
        highest = max((x for x in curve.values if math.isfinite(x)), default=math.nan)
        least = f"; the least is {number(lowest)}" if lowest < min(first, last) else ""
        least += f"; the greatest is {number(highest)}" if highest > max(first, last) else ""
        over = f"over the steps {curve.steps[0]:,} to {steps}"
        said = f"{name} {verb} from {number(first)} to {number(last)}{unit} {over}{least}."
    lost = [step for step, x in zip(curve.steps, curve.values, strict=True) if not math.isfinite(x)]
    return said + (f" {len(lost):,} of its values are not finite, the first at step {lost[0]:,}." if lost else "")


def curve_rows(report: Report, *names: str) -> Iterator[Row]:
    """Every point of these curves, as the report has it."""
    yield ("curve", "unit", "step", "value", "low", "high")
    for name in names:
        if curve := measured(report, name):
            nothing = (None,) * len(curve.steps)
            low, high = curve.low or nothing, curve.high or nothing
            for row in zip(curve.steps, curve.values, low, high, strict=True):
                yield (name, curve.unit, *row)
