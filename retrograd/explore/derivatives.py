"""How much of a gradient an activation lets through: its derivative, and where there is hardly any of it left.

sigmoid'(z) = y (1 - y) <= 1/4          tanh'(z) = 1 - y^2 <= 1          relu'(z) = [z > 0]
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from retrograd.cells.activations import ACTIVATIONS, Activation
from retrograd.errors import ConfigError
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.reports.plots.panels import Axis, Plan, panel, spread_out
from retrograd.reports.plots.scales import ticks
from retrograd.reports.words import number, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FARTHEST = 40.0  # |z| up to which it is looked for where a derivative falls: e^-40 is under rounding
HALF, GONE = 0.5, 0.01  # of the maximum
LAYERS = 10  # steps or layers whose best case the table shows


@dataclass(frozen=True)
class Curve:
    """Of one activation. Ranges are of z, infinite where the derivative does not fall on that side."""

    activation: str
    values: tuple[float, ...]  # f(z)
    slopes: tuple[float, ...]  # f'(z)
    largest: float  # the maximum of f'
    half: tuple[float, float]  # where f' is at least half its maximum
    alive: tuple[float, float]  # where it is at least 1 % of it


@dataclass(frozen=True)
class Derivatives:
    z: tuple[float, ...]
    curves: tuple[Curve, ...]


def derivatives(
    activations: Sequence[str] = ("sigmoid", "tanh", "relu"), *, reach: float = 8.0, points: int = 401
) -> Derivatives:
    """Each activation and its derivative over z from -reach to reach.

    >>> derivatives(["sigmoid"]).curves[0].half  # ln(3 + 2 sqrt 2)
    (-1.762747174039086, 1.762747174039086)
    """
    names = checks.known("activation", activations, ACTIVATIONS)
    checks.whole("points", points, least=3, most=100_001)
    if not 0 < checks.finite("reach", reach) <= 1000:
        raise ConfigError(f"The reach must be over 0 and at most 1000, got {reach:g}.")
    z = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return Derivatives(tuple(z.tolist()), tuple(_curve(name, z) for name in names))


def _curve(name: str, z: torch.Tensor) -> Curve:
    f = ACTIVATIONS[name]
    y = f.function(z)
    half, alive = (_range(f, share * f.steepest) for share in (HALF, GONE))
    return Curve(name, tuple(y.tolist()), tuple(f.derivative(y).tolist()), f.steepest, half, alive)


def _range(f: Activation, least: float) -> tuple[float, float]:
    return -_edge(f, least, -1), _edge(f, least, 1)


def _edge(f: Activation, least: float, side: int) -> float:
    """How far from 0 the derivative stays at `least` on that side, where it falls with the distance: by bisection."""

    def passes(distance: float) -> bool:
        z = torch.tensor(side * distance, dtype=torch.float64)
        return bool(f.derivative(f.function(z)) >= least)

    if passes(FARTHEST):
        return math.inf
    near, far = 0.0, FARTHEST
    while (middle := (near + far) / 2) not in (near, far):
        near, far = (middle, far) if passes(middle) else (near, middle)
    return near


def say(it: Derivatives) -> str:
    best = ", ".join(f"{curve.activation} at most {number(curve.largest)}" for curve in it.curves)
    fades = [
        f"{curve.activation} beyond |z| = {number(curve.alive[1])}"
        for curve in it.curves
        if math.isfinite(curve.alive[1])
    ]
    gone = f" Less than 1 % of that is left of {' and '.join(fades)}." if fades else ""
    cut = [curve.activation for curve in it.curves if not curve.alive[0] and math.isinf(curve.alive[1])]
    all_or_none = f" Of {' and '.join(cut)} it is all for z > 0, nothing below." if cut else ""
    return f"Of a gradient that comes back through it, a unit passes on a share: {best}.{gone}{all_or_none}"


def table(it: Derivatives) -> Table:
    rows = [
        (
            curve.activation,
            number(curve.largest),
            _span(curve.half),
            _span(curve.alive),
            power(LAYERS * math.log10(curve.largest)),
        )
        for curve in it.curves
    ]
    return Table(("f", "f' at most", "half of it for z", "1 % of it for z", f"{LAYERS} steps at most"), rows)


def _span(span: tuple[float, float]) -> str:
    low, high = span
    if math.isinf(low) and math.isinf(high):
        return "everywhere"
    return f"over {number(abs(low))}" if math.isinf(high) else f"{number(low)} to {number(high)}"


def rows(it: Derivatives) -> Iterator[Row]:
    yield ("activation", "z", "f(z)", "f'(z)")
    for curve in it.curves:
        for row in zip(it.z, curve.values, curve.slopes, strict=True):
            yield (curve.activation, *row)


def draw(it: Derivatives, colours: Colours) -> "Figure":
    """The activations, and beside them their derivatives with dots where half and 1 % of the maximum are left."""
    entries = [drawing.entry(curve.activation, i) for i, curve in enumerate(it.curves)]
    figure, boxes = spread_out(colours, Plan(2, across=2, tall=1.6), entries)
    span = (it.z[0], it.z[-1])
    across = Axis(span, ticks(*span, most=5), "z")
    values = drawing.linear([-1.0, 1.0, *(y for curve in it.curves for y in curve.values)], "f(z)", most=1.6)
    left = panel(figure, colours, boxes[0], x=across, y=values)
    right = panel(figure, colours, boxes[1], x=across, y=Axis((0.0, 1.08), ticks(0, 1, most=5), "f'(z)"))
    for i, curve in enumerate(it.curves):
        drawing.curve(left, it.z, curve.values, i)
        drawing.curve(right, it.z, curve.slopes, i)
        for share, edges in ((HALF, curve.half), (GONE, curve.alive)):
            falls = math.isfinite(curve.alive[1])
            at = [(z, share * curve.largest) for z in edges if falls and span[0] <= z <= span[1]]
            right.dots(at, drawing.entry("", i).colour, size=4.5)
    return figure


EXPLORATION = Exploration(
    title="What an activation lets through",
    about="f(z) and f'(z): sigmoid' is at most 1/4, tanh' at most 1, ReLU' 0 or 1; a product of many of these is what "
    "a gradient is multiplied by on its way back. Dots: half, and 1 %, of the maximum.",
    explore=derivatives,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
