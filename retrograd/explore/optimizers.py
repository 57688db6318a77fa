"""Gradient descent, momentum and Nesterov's accelerated gradient on a quadratic of two variables.

    f(x, y) = a x^2 + b x y + c y^2
    SGD         x <- x - alpha grad f(x)
    momentum    v <- gamma v - alpha grad f(x)                 x <- x + v          Polyak, 1964
    Nesterov    v <- gamma v - alpha grad f(x + gamma v)       x <- x + v          Nesterov, 1983; Sutskever et al. 2013

In the end a step multiplies the distance from 0 by the largest root r in modulus, over the Hessian's eigenvalues q:

    SGD         r = 1 - alpha q
    momentum    r^2 - (1 + gamma - alpha q) r + gamma = 0
    Nesterov    r^2 - (1 - alpha q) ((1 + gamma) r - gamma) = 0

torch.optim.SGD(nesterov=True) keeps x + gamma v as its parameter: the same path in other variables.
"""

import cmath
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograd.errors import ConfigError
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.reports.plots.frame import WIDTH, Entry, Frame, sheet
from retrograd.reports.plots.scales import ticks
from retrograd.reports.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, float]
FULL = 3  # steps that the table shows one by one
RINGS = 8  # contours inside the one that the start lies on
PAINT = {"SGD": "end", "momentum": "alarm", "Nesterov": "other"}
BEYOND = 3.0  # times the start's distance: what goes farther leaves the picture


@dataclass(frozen=True)
class Path:
    """Of one optimiser. Tuples run over the steps 0 .. T."""

    optimizer: str
    points: tuple[Point, ...]
    look_ahead: tuple[Point, ...]  # x + gamma v; what torch keeps as the parameter under Nesterov
    values: tuple[float, ...]  # f
    factor: float  # by which a step multiplies the distance from 0 in the end; over 1 it diverges


@dataclass(frozen=True)
class Optimizers:
    quadratic: tuple[float, float, float]
    rate: float
    momentum: float
    curvatures: Point  # the eigenvalues of the Hessian, the smaller first
    paths: tuple[Path, ...]


def optimizers(
    quadratic: Sequence[float] = (1.0, 1.0, 6.0),
    *,
    start: Sequence[float] = (4.0, 1.0),
    rate: float = 0.05,
    momentum: float = 0.9,
    steps: int = 30,
) -> Optimizers:
    """The paths from `start` on a x^2 + b x y + c y^2, `quadratic` the coefficients a, b and c.

    >>> [path.points[1] for path in optimizers().paths if path.optimizer == "SGD"]
    [(3.55, 0.2)]
    """
    a, b, c = checks.numbers("quadratic", quadratic, least=3, most=3)
    x, y = checks.numbers("start", start, least=2, most=2)
    checks.whole("steps", steps, most=10_000)
    if not checks.finite("rate", rate) > 0:
        raise ConfigError(f"The rate must be over 0, got {rate:g}.")
    if not 0 <= checks.finite("momentum", momentum) < 1:
        raise ConfigError(f"The momentum must be at least 0 and under 1, got {momentum:g}.")
    middle, half = a + c, math.hypot(a - c, b)
    curvatures = (middle - half, middle + half)
    paths = []
    for name, (gamma, ahead, roots) in _optimizers(rate, momentum).items():
        points, looked = _walk((a, b, c), (x, y), rate, gamma=gamma, ahead=ahead, steps=steps)
        values = tuple(_value((a, b, c), p) for p in points)
        paths.append(Path(name, points, looked, values, max(roots(q) for q in curvatures)))
    return Optimizers((a, b, c), rate, momentum, curvatures, tuple(paths))


def _optimizers(alpha: float, gamma: float) -> dict[str, tuple[float, float, Callable[[float], float]]]:
    """The momentum, how far ahead of x the gradient is taken (in v), and the largest root for a curvature."""
    return {
        "SGD": (0.0, 0.0, lambda q: abs(1 - alpha * q)),
        "momentum": (gamma, 0.0, lambda q: _largest_root(-(1 + gamma - alpha * q), gamma)),
        "Nesterov": (gamma, gamma, lambda q: _largest_root(-(1 + gamma) * (1 - alpha * q), gamma * (1 - alpha * q))),
    }


def _walk(
    quadratic: Sequence[float], start: Point, alpha: float, *, gamma: float, ahead: float, steps: int
) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    a, b, c = quadratic
    (x, y), (u, v) = start, (0.0, 0.0)
    points, looked = [(x, y)], [(x, y)]
    for _ in range(steps):
        p, q = x + ahead * u, y + ahead * v
        u, v = gamma * u - alpha * (2 * a * p + b * q), gamma * v - alpha * (b * p + 2 * c * q)
        x, y = x + u, y + v
        points.append((x, y))
        looked.append((x + gamma * u, y + gamma * v))
    return tuple(points), tuple(looked)


def _largest_root(p: float, q: float) -> float:
    """Of r^2 + p r + q, in modulus."""
    root = cmath.sqrt(p * p - 4 * q)
    return max(abs(-p + root), abs(-p - root)) / 2


def _value(quadratic: Sequence[float], point: Point) -> float:
    (a, b, c), (x, y) = quadratic, point
    return a * x * x + b * x * y + c * y * y


def say(it: Optimizers) -> str:
    last = len(it.paths[0].points) - 1
    told = "; ".join(f"{path.optimizer} {_told(path)}" for path in it.paths)
    nesterov = next(path for path in it.paths if path.optimizer == "Nesterov")
    shown = min(FULL, last)
    return (
        f"After {last} steps at rate {number(it.rate)}, momentum {number(it.momentum)}: {told}. "
        f"torch.optim.SGD(nesterov=True) walks Nesterov's path in other variables: its parameter is "
        f"x + {number(it.momentum)} v, after {shown} steps {_pair(nesterov.look_ahead[shown])} "
        f"where x is {_pair(nesterov.points[shown])}."
    )


def _told(path: Path) -> str:
    f = path.values[-1]
    value = f"f = {f:.3g}" if math.isfinite(f) else "f is beyond what a number holds"
    if path.factor > 1 + 1e-12:
        return f"diverges, {path.factor:.4g} times as far with each step in the end ({value})"
    if path.factor > 1 - 1e-12:
        return f"does not come nearer in the end ({value})"
    return f"comes nearer by a factor of {path.factor:.3g} a step in the end ({value})"


def _pair(point: Point) -> str:
    return f"({_digits(point[0])}, {_digits(point[1])})"


def _digits(x: float) -> str:
    return f"{x:.10g}"


def table(it: Optimizers) -> Table:
    last = len(it.paths[0].points) - 1
    shown = sorted(
        {t for t in (*range(FULL + 1), *(10**k * m for k in range(1, 5) for m in (1, 2, 5))) if t <= last} | {last}
    )
    rows = [
        (path.optimizer, f"{t:,}", *map(_digits, path.points[t]), f"{path.values[t]:.4g}")
        for path in it.paths
        for t in shown
    ]
    return Table(("optimiser", "step", "x", "y", "f(x, y)"), rows)


def rows(it: Optimizers) -> Iterator[Row]:
    yield ("optimiser", "step", "x", "y", "f", "look-ahead x", "look-ahead y")
    for path in it.paths:
        for t, (point, f, ahead) in enumerate(zip(path.points, path.values, path.look_ahead, strict=True)):
            yield (path.optimizer, t, *point, f, *ahead)


def draw(it: Optimizers, colours: Colours) -> "Figure":
    figure = sheet(colours, height=3.5)
    frame = _frame(figure, it, colours)
    start = it.paths[0].points[0]
    for level in _levels(it.quadratic, start):
        _contour(frame, it.quadratic, level)
    for path in it.paths:
        drawing.path(frame, path.points, PAINT[path.optimizer])
        inside = [p for p in path.points if frame.x[0] <= p[0] <= frame.x[1] and frame.y[0] <= p[1] <= frame.y[1]]
        frame.dots(inside, PAINT[path.optimizer], size=4.0)
    frame.dots([start], "ink", size=6.0)
    entries = [Entry(path.optimizer, PAINT[path.optimizer]) for path in it.paths]
    frame.key([*entries, Entry("contours", "muted", "thin"), Entry("start", "ink", "dots")], top=3.37)
    return figure


def _frame(figure: "Figure", it: Optimizers, colours: Colours) -> Frame:
    """One unit as long across as up, around what of the paths is not too far away."""
    most = BEYOND * (math.hypot(*it.paths[0].points[0]) or 1.0)
    points = [(0.0, 0.0), *(p for path in it.paths for p in path.points if math.hypot(*p) <= most)]
    (x0, x1), (y0, y1) = ((min(each), max(each)) for each in zip(*points, strict=True))
    box = (0.5, 0.46, WIDTH - 0.65, 2.44)
    unit = 1.12 * max((x1 - x0) / box[2], (y1 - y0) / box[3], 1e-300)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    spans = (x - unit * box[2] / 2, x + unit * box[2] / 2), (y - unit * box[3] / 2, y + unit * box[3] / 2)
    frame = Frame(figure, colours, box=box, x=spans[0], y=spans[1])
    frame.xaxis(ticks(*spans[0], most=7), "x")
    frame.yaxis(ticks(*spans[1], most=6), "y")
    return frame


def _levels(quadratic: Sequence[float], start: Point) -> list[float]:
    """Rings as far apart from each other everywhere: f grows with the square of the distance."""
    top = abs(_value(quadratic, start)) or max(map(abs, quadratic))
    rings = [top * (k / RINGS) ** 2 for k in range(1, 2 * RINGS + 1)]
    return rings + [-level for level in rings]


def _contour(frame: Frame, quadratic: Sequence[float], level: float) -> None:
    """f(r cos, r sin) = r^2 f(cos, sin), so that for each direction r is known, or there is none."""
    xs, ys = [], []
    for i in range(361):
        angle = math.pi * i / 180
        along = _value(quadratic, (math.cos(angle), math.sin(angle)))
        r = math.sqrt(level / along) if level * along > 0 else math.nan
        xs.append(r * math.cos(angle))
        ys.append(r * math.sin(angle))
    frame.line(xs, ys, "muted", width=0.5, alpha=0.7)


EXPLORATION = Exploration(
    title="Gradient descent, momentum and Nesterov on a quadratic",
    about="v <- gamma v - alpha grad f(x + gamma v), x <- x + v beside plain descent, by default on f = x^2 + x y + 6 "
    "y^2 from (4, 1) with alpha 0.05 and gamma 0.9, the notes' example.",
    explore=optimizers,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
