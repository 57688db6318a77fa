"""A comparison as tables of text, and as one page of HTML with its pictures; it links to the pages of its runs.

The table of the terminal is that of the page.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from retrograd.config import flat
from retrograd.measures import Estimate
from retrograd.reports.comparison import Comparison, Outcome, Standing
from retrograd.reports.html import GENERATOR, shown
from retrograd.reports.plots import comparison as pictures
from retrograd.reports.plots.colours import DARK, LIGHT, MARKERS
from retrograd.reports.plots.comparison import written
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.files import for_page, styled, svg
from retrograd.reports.plots.frame import Colours
from retrograd.reports.tables import Table
from retrograd.reports.templates import template
from retrograd.reports.words import count, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READING = (
    "Intervals are 95 % t intervals over the seeds: they say nothing of another text. The horizon, at the start and at "
    "the end, is how many steps back a gradient still counts; the context is how many steps of the past the loss "
    "needs, the present one among them; both are of the middle seed, with the range. The speed counts what is asked "
    "for, with {workers} at work at a time."
)
PAIRING = (
    "The difference of the first from the second, over the seeds that both finished: seed by seed, since both met the "
    "same data in the same order. A pair is told apart where the 95 % t interval leaves 0 out."
)
RESUME = "To go on: retrograd compare --resume {folder}"


class Plot(NamedTuple):
    title: str
    draw: "Callable[[Comparison, Colours], Figure]"
    alt: Callable[[Comparison], str]
    rows: Callable[[Comparison], Iterator[Row]]


PLOTS = {
    "figures": Plot("Test figure", pictures.figures, pictures.figures_alt, pictures.figures_rows),
    "courses": Plot("How they came on", pictures.courses, pictures.courses_alt, pictures.courses_rows),
    "horizons": Plot("How far back", pictures.horizons, pictures.horizons_alt, pictures.horizons_rows),
}


def page(it: Comparison) -> str:
    with styled():
        drawn = {
            name: for_page(svg(plot.draw(it, MARKERS)), name)
            for name, plot in PLOTS.items()
            if len(list(plot.rows(it))) > 1
        }
    outcomes = [o for s in it.standings for o in s.outcomes]
    return template("reports/comparison.html.j2").render(
        it=it,
        generator=GENERATOR,
        palette={"light": LIGHT, "dark": DARK},
        status=status(it),
        standings=standings(it),
        reading=READING.format(workers=it.workers),
        pairs=pairs(it),
        pairing=PAIRING,
        outcomes=_outcomes(it),
        pages={o.name for o in outcomes if o.status not in ("not begun", "unreadable") and o.steps is not None},
        reasons=[(o.name, o.reason) for o in outcomes if o.reason],
        pictures=drawn,
        plots=PLOTS,
        config=[(key, shown(x)) for key, x in flat(it.config).items()],
    )


def status(it: Comparison) -> str:
    """What was asked for, and how far it has come."""
    seeds = ", ".join(map(str, it.seeds))
    said = f"{it.budget} each; {count(len(it.seeds), 'seed').removeprefix(f'{len(it.seeds)} ')} {seeds}."
    return said if it.finished == it.planned else f"{said} {RESUME.format(folder=it.folder)}"


def standings(it: Comparison) -> Table:
    """The one table: a line for each model, the best first."""
    heads = ("model", "size", f"test {it.figure.name}", "horizon", "at the end", "context", "tokens/s", "not finite")
    rows = [_standing(it, s) for s in it.ranked]
    if it.finished == it.planned:
        return Table(heads, rows)
    return Table((*heads, "finished"), [(*row, _seeds(s)) for row, s in zip(rows, it.ranked, strict=True)])


def _standing(it: Comparison, s: Standing) -> tuple[str, ...]:
    first = s.not_finite
    return (
        s.model,
        "-" if s.size is None else f"{s.size:,}{'' if s.unit == 'parameters' else f' {s.unit}'}",
        figure(it, s.test),
        written(s.start),
        written(s.end),
        written(s.context),
        "-" if s.speed is None else f"{round(s.speed):,}",
        "-" if first is None else f"step {first:,}",
    )


def _seeds(s: Standing) -> str:
    """How many of its runs have finished."""
    return f"{s.finished} of {len(s.outcomes)}"


def figure(it: Comparison, found: Estimate | None) -> str:
    """Such as "5.31 (5.28 to 5.34)", or "98.2 % (97.1 to 99.3 %)"."""
    if found is None or not math.isfinite(found.value):
        return "-" if found is None else number(found.value)
    if it.figure.name == "accuracy":
        value, low, high = (x if x is None else f"{100 * min(max(x, 0.0), 1.0):.1f}" for x in _three(found))
        return f"{value} %" if low is None else f"{value} % ({low} to {high} %)"
    value, low, high = (x if x is None else _rounded(x) for x in _three(found))
    return str(value) if low is None else f"{value} ({low} to {high})"


def figure_of(it: Comparison, o: Outcome) -> str:
    """Of one run."""
    if o.figure is None:
        return "-"
    return figure(it, Estimate(it.figure.of(o.figure), None, None))


def _three(found: Estimate) -> tuple[float, float | None, float | None]:
    return found.value, found.low, found.high


def _rounded(x: float) -> str:
    """Four digits, and no more thousands than that."""
    return number(float(f"{x:.4g}")) if math.isfinite(x) else number(x)


def pairs(it: Comparison) -> Table:
    unit = " in nats" if it.figure.exponential else ""
    rows = [
        (
            p.first,
            p.second,
            f"{p.difference.value:+.4g}",
            _between(p.difference),
            str(p.seeds),
            "yes" if p.apart else "no",
        )
        for p in it.pairs
    ]
    return Table(("first", "second", f"difference{unit}", "95 % interval", "seeds", "told apart"), rows)


def _between(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return "-"
    return "exact" if found.low == found.high else f"{found.low:+.4g} to {found.high:+.4g}"


def _outcomes(it: Comparison) -> Table:
    heads = (
        "run",
        "status",
        "steps",
        "seconds",
        f"test {it.figure.name}",
        "horizon",
        "context",
        "tokens/s",
        "not finite",
    )
    return Table(heads, [_outcome(it, o) for s in it.standings for o in s.outcomes])


def _outcome(it: Comparison, o: Outcome) -> tuple[str, ...]:
    known = o.context or {}
    reached = f"{'>' if known.get('more') else ''}{known['steps']}" if known.get("steps") is not None else "-"
    return (
        o.name,
        o.status,
        "-" if o.steps is None else f"{o.steps:,}",
        "-" if o.seconds is None else f"{o.seconds:,.1f}",
        figure_of(it, o),
        f"{o.start} → {o.end}" if o.start and o.end else o.start or "-",
        reached,
        "-" if o.speed is None else f"{round(o.speed):,}",
        "-" if o.not_finite is None else f"step {o.not_finite:,}",
    )
