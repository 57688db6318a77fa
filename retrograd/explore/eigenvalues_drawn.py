"""The eigenvalues on the plane with the unit circle, the orbit's norm, the course of w^t, and the orbit of two numbers.

Colours tell growth, decay and neither; dashes tell rotation and oscillation.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrograd.explore import drawing
from retrograd.explore.exploration import Colours
from retrograd.explore.spectra import Eigenvalue, Eigenvalues
from retrograd.reports.plots.frame import Box, Entry, Frame
from retrograd.reports.plots.panels import Axis, Plan, integers, panel, spread_out
from retrograd.reports.plots.scales import ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CIRCLE = [(math.cos(a), math.sin(a)) for a in (2 * math.pi * i / 96 for i in range(97))]
PAINT = {"growth": "other", "growing": "other", "decay": "end", "decaying": "end", "steady": "start"}
KIND = {"rotation": "dashed", "oscillation": "dotted"}
FARTHEST = 100.0  # times the vector, of its orbit in the picture
HIGHEST = 3.0  # of w^t, in the picture


def draw(it: Eigenvalues, colours: Colours) -> "Figure":
    leading = {w.kind: w for w in reversed(it.eigenvalues)}
    kinds = [Entry(kind, *_style(kind)) for kind in dict.fromkeys(w.kind for w in it.eigenvalues)]
    norms = [Entry("|W^t v|", "ink"), Entry("most of any v", "ink", "dashed"), Entry("radius^t", "ink", "dotted")]
    figure, boxes = spread_out(colours, Plan(4, across=2, tall=1.7), [*kinds, *norms])
    _plane(figure, colours, boxes[0], it)
    _norms(figure, colours, boxes[1], it)
    _courses(figure, colours, boxes[2], list(leading.values()), len(it.log_norms) - 1)
    (_points if it.points else _singular_values)(figure, colours, boxes[3], it)
    return figure


def _style(kind: str) -> tuple[str, str]:
    size, _, turn = kind.partition(" ")
    return PAINT[size], KIND.get(turn, "line")


def _plane(figure: "Figure", colours: Colours, box: Box, it: Eigenvalues) -> None:
    frame = _square(figure, colours, box, 1.12 * max(1.0, it.radius), "eigenvalues and the unit circle")
    frame.strokes([[frame.at(x, y) for x, y in CIRCLE]], "muted", width=0.9)
    for w in it.eigenvalues:
        frame.dots([(w.real, w.imaginary)], _style(w.kind)[0], size=4.0)


def _norms(figure: "Figure", colours: Colours, box: Box, it: Eigenvalues) -> None:
    steps = len(it.log_norms) - 1
    slope = math.log(it.radius) if it.radius else -math.inf
    radius = [t * slope if t else 0.0 for t in range(steps + 1)]
    axis = drawing.logarithmic([*it.log_norms, *it.log_most], "|W^t v| / |v|, log scale")
    frame = panel(figure, colours, box, x=integers(steps, "step t"), y=axis)
    for logs, kind in ((it.log_norms, "line"), (it.log_most, "dashed"), (radius, "dotted")):
        drawing.line(frame, range(steps + 1), drawing.decimal(logs), Entry("", "ink", kind))


def _courses(figure: "Figure", colours: Colours, box: Box, leading: Sequence[Eigenvalue], steps: int) -> None:
    """The real part of w^t, of the largest eigenvalue of each kind."""
    courses = [[_power(w, t) for t in range(steps + 1)] for w in leading]
    axis = drawing.linear((x for course in courses for x in course), "Re w^t, the largest of a kind", most=HIGHEST)
    frame = panel(figure, colours, box, x=integers(steps, "step t"), y=axis)
    for w, course in zip(leading, courses, strict=True):
        drawing.line(frame, range(steps + 1), course, Entry("", *_style(w.kind)))


def _power(w: Eigenvalue, t: int) -> float:
    size = math.exp(min(t * math.log(w.modulus), 700.0)) if w.modulus else float(t == 0)
    return size * math.cos(t * math.atan2(w.imaginary, w.real))


def _singular_values(figure: "Figure", colours: Colours, box: Box, it: Eigenvalues) -> None:
    values = it.singular_values
    axis = drawing.linear([1.0, *values], "singular values, the largest first")
    frame = panel(figure, colours, box, x=integers(len(values) - 1, "number"), y=axis)
    frame.across(1.0, "muted", width=0.9)
    frame.dots(enumerate(values), "ink", size=3.2)


def _points(figure: "Figure", colours: Colours, box: Box, it: Eigenvalues) -> None:
    first = math.hypot(*it.vector)
    sizes = [max(map(abs, p)) for p in it.points if all(map(math.isfinite, p))]
    edge = 1.12 * min(max(sizes), FARTHEST * first)
    frame = _square(figure, colours, box, edge, "W^t v, from the dot on")
    drawing.path(frame, it.points, "ink", width=1.2)
    inside = [p for p in it.points if max(map(abs, p)) <= edge]
    frame.dots([(p[0], p[1]) for p in inside], "ink", size=2.6)
    frame.dots([(it.vector[0], it.vector[1])], "ink", size=6.0)


def _square(figure: "Figure", colours: Colours, box: Box, edge: float, name: str) -> Frame:
    """With 0 in the middle, and as long a unit across as up."""
    across = edge * box[2] / box[3]
    x = Axis((-across, across), ticks(-across, across, most=5), "")
    frame = panel(figure, colours, box, x=x, y=Axis((-edge, edge), ticks(-edge, edge, most=5), name))
    frame.down(0.0, "rule", width=0.8)
    return frame
