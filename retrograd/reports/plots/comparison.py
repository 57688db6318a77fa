"""Pictures of a comparison: the test figure by model, how each came on, and how far back each reaches.

figures     a line for each model, the best first: its seeds, their mean and 95 % interval
courses     the validation figure by steps or minutes, the mean over the seeds, with their range as a band
horizons    the gradient's horizon at the start and at the end, and the context that the model uses
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from retrograd.reports.comparison import Comparison, Course, Middle, Standing
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.panels import doublings, key_rows
from retrograd.reports.plots.scales import Ticks, decades, limits, ticks
from retrograd.reports.words import number, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 0.28  # inches, a model
LEFT, RIGHT = 1.15, 0.25  # inches
BELOW, ABOVE = 0.46, 0.12
LETTERS = 16  # of a model's name
FAR = 10.0
SPAN = 5.0  # figures that span more than this factor are drawn on a logarithmic axis
PAINTS = ("end", "other", "start", "alarm", "ink")
DASHES: dict[str, tuple[float, ...] | None] = {"line": None, "dashed": (4.0, 2.0), "dotted": (1.0, 2.0)}
PLACES = {"horizon at the start": "start", "horizon at the end": "end", "context used": "other"}


def figures(it: Comparison, colours: Colours) -> "Figure":
    known = [s for s in it.ranked if s.test]
    if not known:
        return words_only(colours, "No run has finished yet.")
    scale, x, marked = _axis(_shown(it, known))
    entries = [Entry("one seed", "start", "dots"), Entry("mean, 95 % interval", "end", "dots")]
    beyond = any(s.test and not math.isfinite(s.test.value) for s in known)
    entries += [Entry("infinite", "alarm", "triangle")] if beyond else []
    frame = _lines(colours, known, *entries, x=x)
    frame.xaxis(marked, f"test {it.figure.name}{', log scale' if scale is math.log10 else ''}")
    for i, s in enumerate(known):
        frame.dots([(scale(one), i) for one in _seeds(it, s) if math.isfinite(one)], "start", size=3.4)
        if s.test is None or not math.isfinite(s.test.value):
            frame.triangles([frame.at(x[1], i)], "alarm")
            continue
        ends = [min(max(_placed(scale, end), x[0]), x[1]) for end in _ends(s)]
        frame.strokes([[frame.at(ends[0], i), frame.at(ends[-1], i)]], "end", width=1.6)
        frame.dots([(scale(s.test.value), i)], "end", size=6.0)
    return frame.figure


def _shown(it: Comparison, known: Sequence[Standing]) -> list[float]:
    """What the axis has room for: every seed, and intervals, of perplexities up to a factor of ten beyond the seeds."""
    seeds = [x for s in known for x in _seeds(it, s) if math.isfinite(x)]
    ends = [x for s in known if s.test and math.isfinite(s.test.value) for x in _ends(s)]
    if it.figure.exponential and seeds:
        ends = [min(max(x, min(seeds) / FAR), max(seeds) * FAR) for x in ends]
    return seeds + ends


def _placed(scale: Callable[[float], float], x: float) -> float:
    """On the axis; beyond its end what a logarithm cannot place."""
    if scale is float or 0 < x < math.inf:
        return scale(x)
    return math.inf if x > 0 else -math.inf


def figures_alt(it: Comparison) -> str:
    known = [f"{s.model} {number(float(f'{s.test.value:.4g}'))}" for s in it.ranked if s.test]
    return f"Test {it.figure.name}, the best first: {', '.join(known)}." if known else "No run has finished yet."


def figures_rows(it: Comparison) -> Iterator[Row]:
    yield ("model", "seed", f"test {it.figure.name}")
    for s in it.standings:
        for outcome, x in zip((o for o in s.outcomes if o.figure is not None), _seeds(it, s), strict=True):
            yield (s.model, outcome.seed, x)


def courses(it: Comparison, colours: Colours) -> "Figure":
    found = list(it.courses.items())
    if not found:
        return words_only(colours, "Nothing has been validated yet.")
    entries = [_entry(name, i) for i, (name, _) in enumerate(found)]
    values = [x for _, c in found for x in (*c.low, *c.high)]
    scale, y, marked = _axis(values)
    key = 0.17 * key_rows(entries) + 0.06
    figure = sheet(colours, height=2.6 + key)
    last = max(c.at[-1] for _, c in found)
    frame = Frame(figure, colours, box=(0.6, BELOW, WIDTH - 0.75, 2.6 - BELOW - 0.3), x=(0.0, last), y=y)
    frame.yaxis(marked, it.course + (", log scale" if scale is math.log10 else ""))
    frame.xaxis(ticks(0.0, last, whole=it.over == "steps"), it.over)
    for (_, course), entry in zip(found, entries, strict=True):
        _draw(frame, course, entry, scale)
    frame.key(entries, top=2.6 + key - 0.13)
    return figure


def _draw(frame: Frame, course: Course, entry: Entry, scale: Callable[[float], float]) -> None:
    if course.low != course.high:
        frame.band(course.at, [scale(x) for x in course.low], [scale(x) for x in course.high], entry.colour)
    frame.line(course.at, [scale(x) for x in course.values], entry.colour, dashes=DASHES[entry.kind], width=1.5)


def courses_alt(it: Comparison) -> str:
    if not it.courses:
        return "Nothing has been validated yet."
    ends = [f"{name} {c.values[0]:.3g} to {c.values[-1]:.3g}" for name, c in it.courses.items()]
    return f"{it.course.capitalize()} over the {it.over}, from the first to the last: {', '.join(ends)}."


def courses_rows(it: Comparison) -> Iterator[Row]:
    yield ("model", it.over, it.course, "least", "greatest")
    for name, c in it.courses.items():
        for row in zip(c.at, c.values, c.low, c.high, strict=True):
            yield (name, *row)


class _Reaching(NamedTuple):
    standing: Standing
    places: dict[str, Middle | None]


def horizons(it: Comparison, colours: Colours) -> "Figure":
    found = _reaching(it)
    if not found:
        return words_only(colours, "Nothing has been measured yet.")
    longest = max(m.high for one in found for m in one.places.values() if m)
    x, marked = doublings(longest)
    entries = [Entry(name, colour, "dots") for name, colour in PLACES.items()]
    frame = _lines(colours, [one.standing for one in found], *entries, x=x)
    frame.xaxis(marked, "steps back")
    for i, (_, places) in enumerate(found):
        start, end, context = places.values()
        if start and end:
            frame.strokes([[frame.at(_log2(m.value), i - 0.12) for m in (start, end)]], "muted", width=0.9, clip=False)
        for m, colour, off in ((start, "start", -0.12), (end, "end", -0.12), (context, "other", 0.2)):
            if m:
                _reached(frame, m, colour, i + off)
    return frame.figure


def horizons_alt(it: Comparison) -> str:
    found = [
        f"{one.standing.model}: {', '.join(f'{name} {written(m)}' for name, m in one.places.items() if m)}"
        for one in _reaching(it)
    ]
    return f"Steps back, of the middle seed. {'; '.join(found)}." if found else "Nothing has been measured yet."


def horizons_rows(it: Comparison) -> Iterator[Row]:
    yield ("model", "what", "steps", "more than that", "least", "greatest")
    for standing, places in _reaching(it):
        for name, m in places.items():
            if m:
                yield (standing.model, name, m.value, "yes" if m.beyond else "no", m.low, m.high)


def written(m: Middle | None) -> str:
    """Such as "23", "23 (21 to 25)", ">192"."""
    if m is None:
        return "-"
    value = f"{'>' if m.beyond else ''}{m.value:g}"
    if m.low == m.high:
        return value
    return f"{value} ({m.low:g} to {'>' if m.highest_beyond else ''}{m.high:g})"


def _reaching(it: Comparison) -> list[_Reaching]:
    found = [_Reaching(s, dict(zip(PLACES, (s.start, s.end, s.context), strict=True))) for s in it.standings]
    return [one for one in found if any(one.places.values())]


def _reached(frame: Frame, m: Middle, colour: str, i: float) -> None:
    """The middle and the range; what is more than could be measured has a stroke to the frame's edge."""
    low, high = _log2(m.low), _log2(m.high)
    edge = frame.x[1] if m.highest_beyond else high
    frame.strokes([[frame.at(low, i), frame.at(max(edge, low), i)]], colour, width=1.2, clip=False)
    frame.dots([(_log2(m.value), i)], colour, size=6.0)


def _log2(x: float) -> float:
    return math.log2(max(x, 1.0))


def _lines(colours: Colours, standings: Sequence[Standing], *entries: Entry, x: tuple[float, float]) -> Frame:
    """A frame whose units are lines from the top, each with its model's name."""
    key = 0.17 * key_rows(entries) + 0.1
    tall = LINE * len(standings)
    figure = sheet(colours, height=BELOW + tall + ABOVE + key)
    frame = Frame(figure, colours, box=(LEFT, BELOW, WIDTH - LEFT - RIGHT, tall), x=x, y=(len(standings) - 0.5, -0.5))
    for i, s in enumerate(standings):
        frame.across(i, "rule", width=0.8)
        frame.text(
            (LEFT - 0.1, frame.at(x[0], i)[1]), one_line(s.model, most=LETTERS), ha="right", va="center_baseline"
        )
    frame.key(entries, top=figure.get_figheight() - 0.13)
    return frame


def _entry(name: str, i: int) -> Entry:
    return Entry(one_line(name, most=LETTERS), PAINTS[i % len(PAINTS)], tuple(DASHES)[i // len(PAINTS) % len(DASHES)])


def _seeds(it: Comparison, s: Standing) -> list[float]:
    return [it.figure.of(o.figure) for o in s.outcomes if o.figure is not None]


def _ends(s: Standing) -> list[float]:
    if s.test is None:
        return []
    return [x for x in (s.test.low, s.test.value, s.test.high) if x is not None]


def _axis(values: Iterable[float]) -> tuple[Callable[[float], float], tuple[float, float], Ticks]:
    """How a value is placed, the range of the axis, and its ticks; logarithmic where the values span a lot."""
    finite = [x for x in values if math.isfinite(x)]
    if finite and min(finite) > 0 and max(finite) > SPAN * min(finite):
        span = limits([math.log10(x) for x in finite], margin=0.04)
        return math.log10, span, decades(*span)
    span = limits(finite, margin=0.04)
    return float, span, ticks(*span)
