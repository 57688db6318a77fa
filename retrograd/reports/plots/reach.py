"""How far back the gradient reaches: by lag, and through training.

reach      g[l] against l, with its 95 % interval, the 90 % quantile, the threshold and the horizon
horizon    the horizon at each step that measured it, beside the window and what the task needs
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from retrograd.measures import Horizon
from retrograd.reports.plots import curves
from retrograd.reports.plots.curves import Row, measured
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.scales import decades, limits, ticks
from retrograd.reports.report import Curve, Report
from retrograd.reports.words import LN10, at, decay, interval, number, one_line, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = -8.0  # decades under which a profile leaves the picture
NOT_MEASURED = "Gradient reach: not measured."


class Line(NamedTuple):
    """A number of the task's, drawn across a picture."""

    name: str
    at: int
    colour: str
    kind: str
    dashes: tuple[float, float]

    @property
    def label(self) -> str:
        return f"{self.name} {self.at:,}"


def reach(report: Report, colours: Colours) -> "Figure":
    if not report.measurements:
        return words_only(colours, NOT_MEASURED)
    named = {name: m.horizon for name, m in report.measurements.items()}
    longest = max(h.longest for h in named.values())
    entries = [Entry(f"{one_line(name)}: horizon {h}{interval(h)}", paint(report, name)) for name, h in named.items()]
    entries += [Entry("95 % interval", "end", "band"), Entry("90 % quantile", "end", "thin")]
    entries += _drawn_lines(report, float(longest), "right of")
    entries += curves.unusual(x for h in named.values() for x in h.profile if x != -math.inf)
    entries += [_vanished(h) for h in [list(named.values())[-1]] if -math.inf in h.profile]
    y = _decades_of(list(named.values()))
    figure = sheet(colours, height=2.95)
    frame = Frame(figure, colours, box=(0.5, 0.42, WIDTH - 0.65, 1.75), x=(0.0, float(max(longest, 1))), y=y)
    frame.yaxis(decades(*y), "gradient, relative to the reference lag; log scale")
    frame.xaxis(ticks(*frame.x, whole=True), "lag, steps back")
    for name, h in named.items():
        _profile(frame, h, paint(report, name))
    _lines(frame, report)
    _horizons(frame, report)
    frame.key(entries, top=2.82)
    return figure


def reach_alt(report: Report) -> str:
    said = [_told(at(report, name, m.step), m.horizon) for name, m in report.measurements.items()]
    return " ".join(said) or NOT_MEASURED


def reach_rows(report: Report) -> Iterator[Row]:
    """Natural logarithms, as measured."""
    yield ("measurement", "step", "lag", "ln median", "ln 90 % quantile", "ln low", "ln high")
    for name, m in report.measurements.items():
        h = m.horizon
        nothing = (None,) * len(h.profile)
        columns = zip(h.profile, h.upper, h.profile_low or nothing, h.profile_high or nothing, strict=True)
        for lag, row in enumerate(columns):
            yield (name, m.step, lag, *row)


def horizon(report: Report, colours: Colours) -> "Figure":
    curve = course(report)
    if curve is None:
        return words_only(colours, "The horizon was not measured.")
    points = list(zip(curve.steps, curve.values, strict=True))
    outlived = [step for step, x in points if _outlives(x, report)]
    inside = [(step, x) for step, x in points if step not in outlived]
    top = _top(report, curve, longest=bool(outlived))
    figure = sheet(colours, height=2.95)
    frame = Frame(figure, colours, box=(0.5, 0.42, WIDTH - 0.65, 1.82), x=curves.span(report), y=(0.0, top))
    frame.yaxis(ticks(0.0, top, whole=True), "steps back")
    curves.step_axis(frame)
    for line in lines(report):
        if line.at <= top:
            frame.across(line.at, line.colour, width=1.1, dashes=line.dashes)
    if curve.low and curve.high:
        frame.band(curve.steps, curve.low, curve.high, "end")
    frame.line(curve.steps, [math.nan if step in outlived else x for step, x in points], "end")
    frame.dots(inside, "end")
    frame.marks([step for step, _ in inside], [x for _, x in inside])
    frame.triangles([frame.at(step, top) for step in outlived], "end")
    entries = [Entry("horizon", "end"), *([Entry("95 % interval", "end", "band")] if curve.low else [])]
    entries += _drawn_lines(report, top, "above")
    entries += [Entry(f"{_beyond(report)}: outlives what was measured", "end", "triangle")] if outlived else []
    frame.key([*entries, *curves.unusual(x for _, x in inside)], top=2.82)
    return figure


def horizon_alt(report: Report) -> str:
    curve = course(report)
    if curve is None:
        return "The horizon was not measured."
    ends = (curve.values[0], curve.values[-1])
    first, last = (_beyond(report) if _outlives(x, report) else number(x) for x in ends)
    over = f"goes from {first} at step {curve.steps[0]:,} to {last}" if len(curve.steps) > 1 else f"is {last}"
    if len(curve.steps) > 1 and all(map(math.isnan, curve.values)):
        over = f"is NaN, not a number, from step {curve.steps[0]:,} to the last"
    beside = " and ".join(f"the {name} is {x:,}" for name, x in needs(report).items())
    return f"The horizon {over} at step {curve.steps[-1]:,}{f'; {beside}' if beside else ''}."


def horizon_rows(report: Report) -> Iterator[Row]:
    yield ("step", "horizon", "low", "high", "window", "need", "longest lag measured")
    curve, lines = course(report), needs(report)
    for i, step in enumerate(curve.steps if curve else ()):
        assert curve is not None
        spread = (curve.low[i], curve.high[i]) if curve.low and curve.high else (None, None)
        yield (step, curve.values[i], *spread, lines.get("window"), lines.get("need"), _longest(report))


def course(report: Report) -> Curve | None:
    """The horizon through training: the curve of that name, or else the measurements'; NaN where it is lost."""
    if curve := measured(report, "horizon"):
        lost = {m.step for m in report.measurements.values() if m.horizon.lost}
        parts = (
            [math.nan if s in lost else x for s, x in zip(curve.steps, part, strict=True)] if part else ()
            for part in (curve.values, curve.low, curve.high)
        )
        values, low, high = map(tuple, parts)
        return replace(curve, values=values, low=low, high=high)
    found = sorted(report.measurements.values(), key=lambda m: m.step)
    if not found:
        return None
    looked = [m.horizon for m in found]
    spread = all(h.low is not None and h.high is not None for h in looked)
    return Curve(
        unit="steps",
        steps=tuple(m.step for m in found),
        values=tuple(math.nan if h.lost else math.inf if h.censored else float(h.steps) for h in looked),
        low=tuple(math.nan if h.lost else float(h.low or 0) for h in looked) if spread else (),
        high=tuple(math.nan if h.lost else float(h.high or 0) for h in looked) if spread else (),
    )


def needs(report: Report) -> dict[str, int]:
    """The window of training and the steps back that the task needs, where they are numbers."""
    found = {name: report.subject.get(name) for name in ("window", "need")}
    return {name: int(x) for name, x in found.items() if isinstance(x, int | float) and math.isfinite(x) and x > 0}


def lines(report: Report) -> list[Line]:
    """The window and the need; one line where they are the same."""
    found = needs(report)
    if len(set(found.values())) < len(found):
        return [Line("window and need", found["need"], "other", "dashed", (4, 2))]
    styles = {"window": ("ink", "dotted", (1.0, 2.0)), "need": ("other", "dashed", (4.0, 2.0))}
    return [Line(name, x, *styles[name]) for name, x in found.items()]


def paint(report: Report, name: str) -> str:
    """The last measurement is strong, those before it are muted."""
    return "end" if name == list(report.measurements)[-1] else "start"


def _profile(frame: Frame, h: Horizon, colour: str) -> None:
    lags, middle = range(len(h.profile)), _decimal(h.profile)
    if h.profile_low and h.profile_high:
        frame.band(lags, _decimal(h.profile_low), _decimal(h.profile_high), colour)
    frame.line(lags, _decimal(h.upper), colour, width=0.7)
    frame.line(lags, middle, colour, width=1.8)
    frame.marks(lags, [x if x != -math.inf else 0.0 for x in middle])
    gone = [frame.at(l, frame.y[0]) for l, x in enumerate(middle) if x == -math.inf]
    frame.triangles(gone, colour, -1)


def _lines(frame: Frame, report: Report) -> None:
    """The threshold across; the window and the need down."""
    first = next(iter(report.measurements.values())).horizon
    threshold = math.log10(first.threshold)
    frame.across(threshold, "ink", width=0.8, dashes=(1.0, 2.0))
    right, y = frame.at(frame.x[1], threshold)
    frame.text((right, y + 0.03), f"threshold {power(threshold)}", "muted", size=8, ha="right", va="bottom")
    for line in lines(report):
        if line.at <= frame.x[1]:
            frame.down(line.at, line.colour, width=1.0, dashes=line.dashes)


def _drawn_lines(report: Report, edge: float, beyond: str) -> list[Entry]:
    """For the key: the window and the need, and that one of them lies beyond the edge."""
    where = {True: f" ({beyond} the picture)", False: ""}
    return [Entry(line.label + where[line.at > edge], line.colour, line.kind) for line in lines(report)]


def _horizons(frame: Frame, report: Report) -> None:
    """On the threshold: the horizon as a dot, or an arrow where it is censored, and its interval."""
    for name, m in report.measurements.items():
        h, colour, y = m.horizon, paint(report, name), math.log10(m.horizon.threshold)
        if h.lost:
            continue
        if h.low is not None and h.high is not None and not h.censored:
            frame.strokes([[frame.at(h.low, y), frame.at(h.high, y)]], colour, width=3.0, alpha=0.6)
        if h.censored:
            frame.triangles([frame.at(h.longest, frame.y[1])], colour)
        else:
            frame.dots([(h.steps, y)], colour, size=7)


def _decades_of(horizons: list[Horizon]) -> tuple[float, float]:
    drawn = [_decimal(p) for h in horizons for p in (h.profile, h.upper, h.profile_low, h.profile_high)]
    low, high = limits([x for p in drawn for x in p] + [0.0, -4.0])
    return max(low, FLOOR), high + 0.03 * (high - max(low, FLOOR))


def _decimal(logs: tuple[float, ...]) -> list[float]:
    return [x / LN10 for x in logs]


def _outlives(x: float, report: Report) -> bool:
    """Is this horizon censored? Curves say so with an infinity."""
    return x == math.inf or ((longest := _longest(report)) is not None and x >= longest)


def _beyond(report: Report) -> str:
    longest = _longest(report)
    return "beyond" if longest is None else f">{longest}"


def _top(report: Report, curve: Curve, *, longest: bool) -> float:
    """Over every horizon, over the need and the window where they are not far away, and over what is censored."""
    known = [x for x in (*curve.values, *curve.low, *curve.high) if math.isfinite(x)]
    known += [float(_longest(report) or 0)] if longest else []
    near = 4 * max(1.0, *known) if known else math.inf
    return 1.1 * max([1.0, *known, *(float(x) for x in needs(report).values() if x <= near)])


def _longest(report: Report) -> int | None:
    """The longest lag that was measured, which a censored horizon is."""
    return max((m.horizon.longest for m in report.measurements.values()), default=None)


def _vanished(h: Horizon) -> Entry:
    return Entry("zero" if h.underflow is None else f"underflow from lag {h.underflow}", "end", "fallen")


def _told(when: str, h: Horizon) -> str:
    if not h.finite:
        first = next(l for l, x in enumerate(h.profile) if math.isnan(x) or x == math.inf)
        return f"{when} the gradient is not finite from lag {first} on."
    how = "outlives the lags that were measured" if h.censored else f"falls under {h.threshold:g} after it"
    last = power(h.profile[-1] / LN10) if h.profile else "nothing"
    return (
        f"{when} the horizon is {h}{interval(h)} steps: the gradient {how}, {decay(h)}; "
        f"at lag {h.longest} it is {last}."
    )
