"""Two states from different starts under the same inputs, cell by cell: do they draw together or apart?

    s[t] = F(x[t], s[t-1])          d[t] = |s~[t] - s[t]|          lambda: the leading Lyapunov exponent, nats per step

Under 0 the start is forgotten, over 0 a difference of any size grows: the cell is chaotic. Untrained cells on normal
inputs; what is measured is measures.forgetting and measures.lyapunov, as on any model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from retrograd.bptt import Stack
from retrograd.cells import CELLS, Cell, make_cell
from retrograd.errors import ConfigError, UnknownName
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.explore.starts import seeded
from retrograd.init import initialise_
from retrograd.measures import forgetting as forgetting_of
from retrograd.measures import lyapunov
from retrograd.reports.plots.panels import Plan, integers, panel, spread_out
from retrograd.reports.words import LN10, power
from retrograd.trace import record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT = {  # names of cells with a start that belongs to them
    "rnn": ("elman", {}, "default"),
    "irnn": ("elman", {"activation": "relu"}, "identity"),
    "np-rnn": ("elman", {"activation": "relu"}, "np_rnn"),
}
DEFAULT = ("rnn", "rnn:orthogonal", "rnn:normal=0.4", "irnn", "gru", "lstm", "lstm:forget_bias=3")
INPUTS, SEQUENCES = 8, 4
EVEN = 1e-3  # nats per step, within which a distance is said to stay


@dataclass(frozen=True)
class Course:
    """Of one cell. Tuples run over t = 0 .. T; logarithms are natural."""

    name: str
    cell: str  # the class
    distance: tuple[float, ...]  # the median over the sequences of ln d[t] / d[0]; -inf: the very same state
    rounding: int | None  # the first t at which it is no more than rounding; None where it never is
    rate: float  # nats per step, of the distance
    exponent: float  # the leading Lyapunov exponent


@dataclass(frozen=True)
class Forgetting:
    steps: int  # T
    size: int  # H
    courses: tuple[Course, ...]


def forgetting(cells: Sequence[str] = DEFAULT, *, size: int = 32, steps: int = 100, seed: int = 0) -> Forgetting:
    """The distance of two states, step by step, for each cell as CELL or CELL:START.

    >>> forgetting(["lstm:forget_bias=3"]).courses[0].exponent
    -0.014
    """
    checks.whole("steps", steps, least=8, most=1000)
    checks.whole("size", size, most=128)
    names = tuple(dict.fromkeys(cells))
    if not names:
        raise ConfigError(f"At least one cell is needed, such as {' '.join(DEFAULT)}.")
    drawing.few("cells", len(names))
    with seeded(seed):
        x = torch.randn(steps, SEQUENCES, INPUTS, dtype=torch.float64)
    return Forgetting(steps, size, tuple(_course(name, x, size, seed) for name in names))


def _course(name: str, x: torch.Tensor, size: int, seed: int) -> Course:
    with seeded(seed):
        model = Stack([_made(name, size)]).double()
    trace = record(model, lambda m: m(x)[0].square().sum(-1))
    [found], [spectrum] = forgetting_of(trace, seed=seed).layers, lyapunov(trace, first=1, seed=seed).layers
    return Course(name, found.cell, found.distance, found.rounding, found.rate, spectrum.exponents[0])


def _made(name: str, size: int) -> Cell:
    short, _, start = name.partition(":")
    if short not in SHORT and short not in CELLS:
        raise UnknownName("cell", short, dict.fromkeys([*SHORT, *CELLS]))
    cell_name, options, own = SHORT.get(short, (short, {}, "default"))
    cell = make_cell(cell_name, INPUTS, size, **options)
    initialise_(cell, start or own)
    return cell


def say(it: Forgetting) -> str:
    groups: dict[str, list[Course]] = {"draw together": [], "stay apart": [], "draw apart": []}
    for course in it.courses:
        groups[_verdict(course)].append(course)
    told = "; ".join(f"{what} in {_listed(found)}" for what, found in groups.items() if found)
    return f"Over {it.steps} steps under the same inputs, two states from different starts {told}."


def _verdict(course: Course) -> str:
    if abs(course.exponent) <= EVEN:
        return "stay apart"
    return "draw together" if course.exponent < 0 else "draw apart"


def _listed(courses: Sequence[Course]) -> str:
    return ", ".join(f"{course.name} ({_rate(course)})" for course in courses)


def _rate(course: Course) -> str:
    if course.exponent == -math.inf:
        return "a small difference ends exactly"
    return f"{course.exponent:+.3g} nats per step"


def table(it: Forgetting) -> Table:
    rows = [
        (
            course.name,
            power(course.distance[-1] / LN10) if course.rounding is None else "rounding",
            "never" if course.rounding is None else f"step {course.rounding}",
            f"{course.rate:+.3g}",
            f"{course.exponent:+.3g}",
            _verdict(course),
        )
        for course in it.courses
    ]
    return Table(("cell", "distance left", "all gone", "rate", "exponent", "the two states"), rows)


def rows(it: Forgetting) -> Iterator[Row]:
    yield ("cell", "step", "ln distance", "rounding", "Lyapunov exponent")
    for course in it.courses:
        for t, x in enumerate(course.distance):
            gone = course.rounding is not None and t >= course.rounding
            yield (course.name, t, x, "yes" if gone else "no", course.exponent)


def draw(it: Forgetting, colours: Colours) -> "Figure":
    """The distances in decades, each to where it is no more than rounding, and the slope of each exponent."""
    entries = [drawing.entry(course.name, i) for i, course in enumerate(it.courses)]
    figure, boxes = spread_out(colours, Plan(1, across=1, tall=2.6), entries)
    shown = [list(course.distance[: course.rounding]) for course in it.courses]
    axis = drawing.logarithmic((x for each in shown for x in each), "distance, relative; log scale")
    frame = panel(figure, colours, boxes[0], x=integers(it.steps, "step t"), y=axis)
    frame.across(0.0, "muted", width=0.8)
    for i, (course, logs) in enumerate(zip(it.courses, shown, strict=True)):
        ys = drawing.decimal(logs)
        drawing.curve(frame, range(len(ys)), ys, i)
        if course.rounding is not None and ys and math.isfinite(ys[-1]):
            frame.triangles([frame.at(len(ys) - 1, max(ys[-1], frame.y[0]))], drawing.entry("", i).colour, -1)
    return figure


EXPLORATION = Exploration(
    title="Two states from different starts",
    about="Forgetting in the forward pass: the distance of two states under the same inputs, step by step, beside the "
    "leading Lyapunov exponent. A line ends in a triangle where the distance is no more than rounding.",
    explore=forgetting,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
