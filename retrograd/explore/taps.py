"""How far a recurrence with several taps reaches: h(t) from h(t-d) of each tap d.

    g[l] = median over the sequences of |dL/ds(T-l)| / |dL/ds(T)|          s the last D of h, D the longest tap

A gradient crosses f' and W once for each tap that it takes: at a tap of 4 steps a quarter as often. What several taps
bring back adds up. What is measured is measures.reach, measures.horizon and measures.depth, as on any model, on
untrained cells and normal inputs, with the loss at the last step alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from retrograd.bptt import Stack
from retrograd.cells import MultiTap
from retrograd.errors import ConfigError
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.explore.starts import seeded
from retrograd.init import initialise_
from retrograd.measures import depth, horizon, reach
from retrograd.measures.bootstrap import quantile
from retrograd.numerics import log_norm
from retrograd.reports.plots.panels import Plan, integers, panel, spread_out, unusual
from retrograd.reports.words import LN10, power, rounded
from retrograd.trace import record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT = ((1,), (4,), (1, 4), (1, 16))
INPUTS, SEQUENCES = 8, 8
WIDEST = 4096  # numbers of a state
DEEPEST = 15.0  # decades in the picture


@dataclass(frozen=True)
class Course:
    """Of one set of taps. Tuples run over l = 0 .. T; logarithms are natural, -inf is an exact zero."""

    taps: tuple[int, ...]
    profile: tuple[float, ...]  # ln g[l]
    at_output: tuple[float, ...]  # the same of h alone: of a tap d alone there is nothing between its strides
    horizon: float  # steps back with a thousandth of the gradient at the last; inf: it outlives them all; NaN: lost
    decay: float  # the fitted factor per step
    recurrent_depth: float  # transformations per step, on the longest way through time
    skip: float  # steps per transformation, on the shortest


@dataclass(frozen=True)
class Taps:
    steps: int  # T
    size: int  # H
    activation: str
    start: str
    courses: tuple[Course, ...]


def taps(
    sets: Sequence[Sequence[int]] = DEFAULT,
    *,
    size: int = 32,
    steps: int = 200,
    activation: str = "tanh",
    start: str = "default",
    seed: int = 0,
) -> Taps:
    """The reach by lag of the multi-tap cell, for each set of taps.

    >>> [course.horizon for course in taps([(1,), (4,)]).courses]
    [10.0, 36.0]
    """
    checks.whole("steps", steps, least=8, most=1000)
    checks.whole("size", size, most=128)
    wanted = tuple(dict.fromkeys(tuple(sorted(each)) for each in sets))
    if not wanted:
        raise ConfigError("At least one set of taps is needed, such as (1, 4).")
    drawing.few("sets of taps", len(wanted))
    with seeded(seed):
        x = torch.randn(steps, SEQUENCES, INPUTS, dtype=torch.float64)
    made = [_made(each, size, activation, start, seed) for each in wanted]
    return Taps(steps, size, activation, start, tuple(_course(cell, x) for cell in made))


def _made(each: tuple[int, ...], size: int, activation: str, start: str, seed: int) -> MultiTap:
    with seeded(seed):
        cell = MultiTap(INPUTS, size, taps=each, activation=activation)
        initialise_(cell, start)
    if cell.state_size > WIDEST:
        raise ConfigError(
            f"The longest tap times the size must be at most {WIDEST:,}, got {cell.taps[-1]} times {size}. Try a "
            "smaller size."
        )
    return cell


def _course(cell: MultiTap, x: torch.Tensor) -> Course:
    trace = record(Stack([cell]).double(), lambda m: m(x)[0][-1].square().sum())
    reached, deep = reach(trace), depth(trace)
    far = horizon(reached)
    [gradient] = trace.gradients(len(x))
    at_h = log_norm(gradient[..., : cell.hidden_size]).flip(0)
    return Course(
        taps=cell.taps,
        profile=far.profile,
        at_output=tuple(quantile(at_h - at_h[0], 0.5, dim=1).tolist()),
        horizon=math.nan if far.lost else math.inf if far.censored else float(far.steps),
        decay=far.decay,
        recurrent_depth=deep.recurrent,
        skip=math.nan if deep.skip is None else deep.skip,
    )


def name(each: Sequence[int]) -> str:
    return ", ".join(map(str, each))


def say(it: Taps) -> str:
    told = "; ".join(f"{_steps(course, it.steps)} with taps at {name(course.taps)}" for course in it.courses)
    return f"A thousandth of the gradient at the last step is left {told}."


def _steps(course: Course, steps: int) -> str:
    if math.isnan(course.horizon):
        return "is no number"
    if math.isinf(course.horizon):
        return f"beyond all {steps} steps"
    return f"{course.horizon:.0f} steps back"


def table(it: Taps) -> Table:
    lags = sorted({max(1, it.steps // 4), max(1, it.steps // 2), it.steps})
    rows = [
        (
            name(course.taps),
            f"{course.recurrent_depth:.3g}",
            rounded(course.skip),
            *(power(course.profile[l] / LN10) for l in lags),
            f"{course.decay:.3g}",
            f">{it.steps}" if math.isinf(course.horizon) else rounded(course.horizon),
        )
        for course in it.courses
    ]
    return Table(("taps", "depth", "skip", *(f"g[{l}]" for l in lags), "decay", "horizon"), rows)


def rows(it: Taps) -> Iterator[Row]:
    yield ("taps", "lag l", "ln g[l]", "ln of the same of h alone", "horizon")
    for course in it.courses:
        for l, both in enumerate(zip(course.profile, course.at_output, strict=True)):
            yield (name(course.taps), l, *both, course.horizon)


def draw(it: Taps, colours: Colours) -> "Figure":
    """The reach by lag of each set; the level of the horizon across."""
    entries = [drawing.entry(f"taps {name(course.taps)}", i) for i, course in enumerate(it.courses)]
    logs = [x for course in it.courses for x in course.profile]
    odd = unusual(logs, lowest="exactly zero")
    figure, boxes = spread_out(colours, Plan(1, across=1, tall=2.6), [*entries, *odd])
    axis = drawing.logarithmic([*logs, math.log(1e-3)], "gradient left, log scale", deepest=DEEPEST)
    frame = panel(figure, colours, boxes[0], x=integers(it.steps, "steps back l"), y=axis)
    frame.across(-3.0, "muted", width=0.8)
    for i, course in enumerate(it.courses):
        drawing.curve(frame, range(it.steps + 1), drawing.decimal(course.profile), i)
    return figure


EXPLORATION = Exploration(
    title="Reach by taps",
    about="A recurrence that reads what it put out several steps ago: how much of the last step's gradient is left, by "
    "steps back. The level across is a thousandth, where the horizon ends.",
    explore=taps,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
