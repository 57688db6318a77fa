"""The gradient by layer in a deep feedforward net: what happens over time steps happens over layers.

    h_k = f(W_k h_{k-1} + b_k)          dh_L/dh_{L-l} = J_L ... J_{L-l+1}          J_k = diag(f'(z_k)) W_k

Gradients and products are kept near 1, with what was taken out as a logarithm. The smallest singular value is that of
the product of the inverses, turned round: in the product itself it is lost under the rounding of the largest.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from retrograd.cells.activations import ACTIVATIONS
from retrograd.explore import checks, drawing, starts
from retrograd.explore.deep import DeepNet
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.explore.products import log_norms
from retrograd.measures import horizon, reach
from retrograd.numerics import unit
from retrograd.reports.plots.frame import Entry
from retrograd.reports.plots.panels import Axis, Plan, integers, panel, spread_out, unusual
from retrograd.reports.words import LN10, number, power
from retrograd.trace import record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 16  # inputs whose median the gradient is
LARGEST = 128  # units of a layer


@dataclass(frozen=True)
class Course:
    """Of one activation. Logarithms are natural; -inf is an exact zero."""

    activation: str
    log_gradients: tuple[float, ...]  # k = 0 .. L: the median over the inputs of ln |dL/dh_k|
    log_largest: tuple[float, ...]  # l = 1 .. L: ln sigma_max(dh_L/dh_{L-l}), of the first input
    log_smallest: tuple[float, ...]  # ln sigma_min of the same
    factor: float  # what a layer multiplies the gradient by, the geometric mean
    horizon: float  # layers back with a thousandth of the gradient at the last; inf: it outlives them all; NaN: lost


@dataclass(frozen=True)
class Depth:
    layers: int  # L
    width: int  # H
    start: str
    courses: tuple[Course, ...]


def depth(
    layers: int = 30,
    *,
    width: int = 64,
    activations: Sequence[str] = ("sigmoid", "tanh", "relu"),
    start: str = "default",
    seed: int = 0,
) -> Depth:
    """The gradient of |h_L - y|^2 / 2 at every layer, and how much the layers' Jacobians stretch together.

    The weights are the same for each activation; inputs and targets are normal.

    >>> depth(10).courses[0].factor  # of a sigmoid
    0.14
    """
    checks.whole("layers", layers, most=200)
    checks.whole("width", width, most=LARGEST)
    names = checks.known("activation", activations, ACTIVATIONS)
    weights = starts.weights(start, width, seed=seed, count=layers)
    with starts.seeded(seed):
        x, y = torch.randn(2, SAMPLES, width, dtype=torch.float64)
    return Depth(layers, width, start, tuple(_course(name, weights, x, y) for name in names))


def _course(name: str, weights: Sequence[tuple[Tensor, Tensor]], x: Tensor, y: Tensor) -> Course:
    f, h, slopes = ACTIVATIONS[name], x, []
    for W, b in weights:
        h = f.function(h @ W.mT + b)
        slopes.append(f.derivative(h))
    logs = _back(weights, slopes, h - y)
    jacobians = [slope[0, :, None] * W for slope, (W, _) in zip(slopes, weights, strict=True)]
    return Course(
        activation=name,
        log_gradients=tuple(logs),
        log_largest=tuple(log_norms(jacobians[::-1])),
        log_smallest=tuple(_smallest(jacobians[::-1])),
        factor=math.exp((logs[0] - logs[-1]) / len(weights)) if logs[-1] > -math.inf else math.nan,
        horizon=_horizon(DeepNet(weights, activation=name), x, y),
    )


def _horizon(net: DeepNet, x: Tensor, y: Tensor) -> float:
    """As of any recurrent model, with layers for steps."""
    found = horizon(reach(record(net, lambda net: (net(x) - y).square().sum() / 2)))
    return math.nan if found.lost else math.inf if found.censored else float(found.steps)


def _back(weights: Sequence[tuple[Tensor, Tensor]], slopes: Sequence[Tensor], delta: Tensor) -> list[float]:
    """The median of ln |dL/dh_k|, k = 0 .. L, from dL/dh_L (B, H)."""
    delta, log = unit(delta)
    logs = [log]
    for (W, _), slope in zip(reversed(weights), reversed(slopes), strict=True):
        delta, stretch = unit((slope * delta) @ W)
        logs.append(logs[-1] + stretch)
    return [float(log.median()) for log in reversed(logs)]


def _smallest(jacobians: Sequence[Tensor]) -> Iterator[float]:
    """ln sigma_min of the product of the first, the first two ...; -inf once one of them is singular."""
    inverses = []
    for J in jacobians:
        inverse, failed = torch.linalg.inv_ex(J)
        if failed or not inverse.isfinite().all():
            break
        inverses.append(inverse.mT)  # (A B)^-T = A^-T B^-T, in the order of the product itself
    yield from (-log for log in log_norms(inverses))
    yield from [-math.inf] * (len(jacobians) - len(inverses))


def say(it: Depth) -> str:
    told = ", ".join(f"{_told(course)} with {course.activation}" for course in it.courses)
    return f"Back through {it.layers} layers of {it.width} units ({it.start}) the gradient is multiplied by {told}."


def _told(course: Course) -> str:
    if math.isnan(course.factor):
        return "no number"
    whole = (course.log_gradients[0] - course.log_gradients[-1]) / LN10
    if whole == -math.inf:
        return "exactly 0"
    return f"{course.factor:.3g} a layer ({power(whole)} in all, horizon {_layers(course.horizon)})"


def _layers(horizon: float) -> str:
    return "over all" if math.isinf(horizon) else number(horizon)


def table(it: Depth) -> Table:
    shown = sorted({l for l in (1, 2, 5, 10, 20, 50, 100, 200) if l < it.layers} | {it.layers})
    rows = [
        (
            course.activation,
            str(l),
            power((course.log_gradients[it.layers - l] - course.log_gradients[-1]) / LN10),
            power(course.log_largest[l - 1] / LN10),
            power(course.log_smallest[l - 1] / LN10),
        )
        for course in it.courses
        for l in shown
    ]
    return Table(("f", "layers crossed", "gradient left", "sigma_max", "sigma_min"), rows)


def rows(it: Depth) -> Iterator[Row]:
    yield ("activation", "layers crossed l", "ln |dL/dh|", "ln sigma_max", "ln sigma_min")
    for course in it.courses:
        for l in range(it.layers + 1):
            both = (course.log_largest[l - 1], course.log_smallest[l - 1]) if l else (0.0, 0.0)
            yield (course.activation, l, course.log_gradients[it.layers - l], *both)


def draw(it: Depth, colours: Colours) -> "Figure":
    """The gradient at each layer, and beside it the singular values of the product by layers crossed."""
    logs = [x for course in it.courses for x in (*course.log_gradients, *course.log_largest)]
    odd = unusual((x for x in logs), lowest="exactly zero")
    entries = [drawing.entry(course.activation, i) for i, course in enumerate(it.courses)]
    spread = [Entry("from smallest to largest singular value", "muted", "band")]
    figure, boxes = spread_out(colours, Plan(2, across=2, tall=1.9), [*entries, *spread, *odd])
    gradients = [x for course in it.courses for x in course.log_gradients]
    crossed = integers(it.layers, "layers crossed")
    left = panel(
        figure, colours, boxes[0], x=integers(it.layers, "layer k"), y=_axis(gradients, "|dL/dh_k|, log scale")
    )
    right = panel(figure, colours, boxes[1], x=crossed, y=_axis(logs, "singular values, log scale"))
    for i, course in enumerate(it.courses):
        drawing.curve(left, range(it.layers + 1), drawing.decimal(course.log_gradients), i)
        low, high = ([0.0, *drawing.decimal(each)] for each in (course.log_smallest, course.log_largest))
        right.band(range(it.layers + 1), drawing.floored(right, low), high, drawing.entry("", i).colour)
        drawing.curve(right, range(it.layers + 1), high, i)
    return figure


def _axis(logs: Sequence[float], name: str) -> Axis:
    return drawing.logarithmic(logs, name, deepest=150.0)


EXPLORATION = Exploration(
    title="The gradient by layer in a deep net",
    about="The product of W_k diag(f'(z_k)) over the layers of a feedforward net with sigmoid, tanh and ReLU: the "
    "decay that a recurrent net has over time, by layer. The horizon: layers back with a thousandth of the gradient.",
    explore=depth,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
