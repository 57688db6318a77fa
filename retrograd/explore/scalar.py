"""One unit that feeds itself, and what is left of its input: forgetting in the forward pass.

    h[t] = f(w h[t-1] + c x[t])          dh[t]/dh[0] = product over j <= t of w f'(z[j])

Beside each course the same unit without its inputs: the distance of the two is what it still knows of them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from retrograd.cells.activations import ACTIVATIONS, Activation
from retrograd.errors import ConfigError
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.reports.plots.panels import Plan, integers, panel, spread_out, unusual
from retrograd.reports.words import LN10, number, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEIGHTS = (0.5, 0.9, 1.0, 1.1, 2.0)
NEAR = 0.01  # of the largest state: so near to where it ends, a course has come to rest
ROUNDING = 4 * torch.finfo(torch.float64).eps
HIGHEST = 4.0  # states, in the picture; what blows up leaves it


@dataclass(frozen=True)
class Course:
    """Of one activation and one w. Tuples run over t = 0 .. T."""

    activation: str
    weight: float
    states: tuple[float, ...]  # h[t]
    without: tuple[float, ...]  # the same without inputs
    log_gradients: tuple[float, ...]  # ln |dh[t]/dh[0]|; -inf: exactly zero
    gradient: float  # dh[T]/dh[0]
    settled: int | None  # the step from which on h stays within 1 % of its end; None: it moves in the last quarter too
    left: float  # |h[T] - without[T]| by the same after the last input; NaN: nothing of it came through


@dataclass(frozen=True)
class Scalar:
    inputs: tuple[float, ...]  # x[1], x[2] ...; 0 from then on
    input_weight: float  # c
    start: float  # h[0]
    steps: int  # T
    courses: tuple[Course, ...]


def scalar(
    weights: Sequence[float] = WEIGHTS,
    *,
    activations: Sequence[str] = ("sigmoid", "tanh", "relu", "identity"),
    inputs: Sequence[float] = (1.0,),
    input_weight: float = 1.0,
    start: float = 0.0,
    steps: int = 30,
) -> Scalar:
    """The course of the unit for each activation and each w.

    >>> scalar([0.9], activations=["identity"]).courses[0].gradient  # 0.9 ** 30
    0.0423911582752162
    """
    names = checks.known("activation", activations, ACTIVATIONS)
    weights = tuple(dict.fromkeys(checks.numbers("weights", weights)))
    drawing.few("weights", len(weights))
    checks.whole("steps", steps, most=2000)
    xs = checks.numbers("inputs", inputs)
    if len(xs) >= steps:
        raise ConfigError(f"The inputs must end before the last of the {steps} steps, got {len(xs)} of them.")
    c, h0 = checks.finite("input weight", input_weight), checks.finite("start", start)
    driven = [c * x for x in (*xs, *[0.0] * (steps - len(xs)))]
    courses = tuple(_course(name, w, h0, driven, last=len(xs)) for name in names for w in weights)
    return Scalar(xs, c, h0, steps, courses)


def _course(name: str, w: float, h0: float, driven: Sequence[float], *, last: int) -> Course:
    run = partial(_run, ACTIVATIONS[name], w, h0)
    states, factors = run(driven)
    without, _ = run([0.0] * len(driven))
    logs, gradient = [0.0], 1.0
    for factor in factors:
        logs.append(logs[-1] + (math.log(abs(factor)) if factor else -math.inf))
        gradient *= factor
    first, left = (abs(states[t] - without[t]) for t in (last, -1))
    kept = left / first if first else math.nan
    return Course(name, w, states, without, tuple(logs), gradient, _settled(states), kept)


def _run(f: Activation, w: float, h0: float, driven: Sequence[float]) -> tuple[tuple[float, ...], list[float]]:
    """The states, and each step's factor w f'(z)."""
    h, states, factors = torch.tensor(h0, dtype=torch.float64), [h0], []
    for p in driven:
        h = f.function(w * h + p)
        states.append(float(h))
        factors.append(w * float(f.derivative(h)))
    return tuple(states), factors


def _settled(states: Sequence[float]) -> int | None:
    if not all(map(math.isfinite, states)):
        return None
    near = NEAR * max(map(abs, states))
    far = [t for t, h in enumerate(states) if abs(h - states[-1]) > near]
    first = far[-1] + 1 if far else 0
    return first if first <= 3 * (len(states) - 1) / 4 else None


def say(it: Scalar) -> str:
    by_name: dict[str, list[Course]] = {}
    for course in it.courses:
        by_name.setdefault(course.activation, []).append(course)
    clauses = "; ".join(f"{name} {_told(found)}" for name, found in by_name.items())
    return f"After {it.steps} steps, of the difference that the input made: {clauses}."


def _told(courses: Sequence[Course]) -> str:
    """Of one activation."""
    known = [course for course in courses if not math.isnan(course.left)]
    if not known:
        return "lets nothing of it through"
    least, most = (pick(known, key=lambda course: course.left) for pick in (min, max))
    slowest = [course.settled for course in courses]
    rest = "" if None in slowest else f" and rests from step {max(t for t in slowest if t is not None)} on, whatever w"
    if _left(least) == _left(most):
        return f"keeps {'no more than ' if _left(most) == 'rounding' else ''}{_left(most)}{rest}"
    return f"keeps {_left(least)} (w = {number(least.weight)}) to {_left(most)} (w = {number(most.weight)}){rest}"


def _left(course: Course) -> str:
    """As a share of 1, from a number that may be very small or very large."""
    if not math.isfinite(course.left):
        return "no number" if math.isnan(course.left) else "infinitely much"
    end, other = course.states[-1], course.without[-1]
    if abs(end - other) <= ROUNDING * max(abs(end), abs(other)):
        return "rounding" if course.left or end else "nothing"
    return power(math.log10(course.left)) if course.left else "nothing"


def table(it: Scalar) -> Table:
    heads = ("f", "w", f"h({it.steps})", "at rest from step", "of the input left", f"dh({it.steps})/dh(0)")
    rows = [
        (
            course.activation,
            number(course.weight),
            number(course.states[-1]) if abs(course.states[-1]) < 1e6 else f"{course.states[-1]:.3g}",
            "moving still" if course.settled is None else str(course.settled),
            _left(course),
            _signed(course),
        )
        for course in it.courses
    ]
    return Table(heads, rows)


def _signed(course: Course) -> str:
    flips = course.weight < 0 and (len(course.states) - 1) % 2 == 1
    return ("-" if flips and course.log_gradients[-1] > -math.inf else "") + power(course.log_gradients[-1] / LN10)


def rows(it: Scalar) -> Iterator[Row]:
    yield ("activation", "w", "t", "h", "h without input", "ln |dh(t)/dh(0)|")
    for course in it.courses:
        for t, row in enumerate(zip(course.states, course.without, course.log_gradients, strict=True)):
            yield (course.activation, course.weight, t, *row)


def draw(it: Scalar, colours: Colours) -> "Figure":
    """For each activation the course of h, and beside it the size of the derivative."""
    weights = list(dict.fromkeys(course.weight for course in it.courses))
    names = list(dict.fromkeys(course.activation for course in it.courses))
    logs = [x for course in it.courses for x in course.log_gradients]
    odd = unusual([*logs, *(abs(h) for course in it.courses for h in course.states)], lowest="exactly zero")
    entries = [drawing.entry(f"w = {number(w)}", i) for i, w in enumerate(weights)] + odd
    figure, boxes = spread_out(colours, Plan(2 * len(names), across=2, tall=1.05), entries)
    steps, largest = integers(it.steps, "step t"), HIGHEST * max(1.0, abs(it.start), *map(abs, it.inputs))
    gradients = drawing.logarithmic(logs, "|dh(t)/dh(0)|, log scale", deepest=12.0)
    for i, name in enumerate(names):
        courses = [course for course in it.courses if course.activation == name]
        states = drawing.linear((h for course in courses for h in course.states), "h(t)", most=largest)
        left = panel(figure, colours, boxes[2 * i], x=steps, y=states, title=name)
        right = panel(figure, colours, boxes[2 * i + 1], x=steps, y=gradients)
        for course in courses:
            at, line = range(it.steps + 1), weights.index(course.weight)
            drawing.curve(left, at, course.states, line)
            drawing.curve(right, at, drawing.decimal(course.log_gradients), line)
    return figure


EXPLORATION = Exploration(
    title="A single unit that feeds itself",
    about="h(t) = f(w h(t-1) + c x(t)): an input at the first step, and how long it is remembered. After the notes on "
    "the scalar recurrence: sigmoid and tanh settle whatever w, ReLU and the identity keep at w = 1 and blow up above.",
    explore=scalar,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
