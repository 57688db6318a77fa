"""A pair of axes in inches on a figure, made of few paths: drawn again at every checkpoint, it has to be cheap.

An Axes of matplotlib's with its ticks takes about 30 ms each time; a frame takes 5. Values that are no number are marks
at the edge: × for NaN and triangles for the infinities, and a line has a gap there.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from retrograd.reports.plots.scales import Ticks
from retrograd.reports.words import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 5.0  # inches: half a page, all of a telephone
SIZE = 9.0  # points, of text
NARROW, BROAD = "iljtfr.,:;'|()[] ·", "mwMW%—"

Colours = Mapping[str, str]
Range = tuple[float, float]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # inches: left, bottom, width, height


class Entry(NamedTuple):
    """One line of a key."""

    label: str
    colour: str
    kind: str = "line"  # or "thin", "dashed", "dotted", "band", "dots", "cross", "triangle", "fallen"


def sheet(colours: Colours, *, width: float = WIDTH, height: float = 2.75) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor=colours["paper"])


class Frame:
    """A box of the figure with a scale on either side.

    >>> frame = Frame(sheet(LIGHT), LIGHT, box=(0.5, 0.5, 4, 2), x=(0, 100), y=(0, 1))
    >>> frame.line([0, 50, 100], [0.1, math.nan, 0.3], "end")
    """

    def __init__(self, figure: "Figure", colours: Colours, *, box: Box, x: Range, y: Range):
        self.figure, self.colours = figure, colours
        self.left, self.bottom, self.width, self.height = box
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> Point:
        """In inches."""
        (x0, x1), (y0, y1) = self.x, self.y
        return self.left + (x - x0) / (x1 - x0) * self.width, self.bottom + (y - y0) / (y1 - y0) * self.height

    # lines and areas

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: str, *, width: float = 1.6, **style: Any) -> None:
        """With a gap where a value is not finite; a point between two gaps is a dot."""
        pieces: list[list[Point]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(y):
                pieces[-1].append(self.at(x, y))
            elif pieces[-1]:
                pieces.append([])
        self.strokes([p if len(p) > 1 else dot(p[0]) for p in pieces if p], colour, width=width, **style)

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> None:
        """Between two lines, to the frame's edge where one of them is infinite; nothing where one is NaN."""
        run: list[tuple[Point, Point]] = []
        for x, a, b in [*zip(xs, low, high, strict=True), (0, math.nan, 0)]:
            if math.isnan(a) or math.isnan(b):
                if len(run) > 1:
                    self.area([a for a, _ in run] + [b for _, b in reversed(run)], colour, alpha=0.2)
                run = []
            else:
                run.append((self.at(x, self._within(a)), self.at(x, self._within(b))))

    def down(self, x: float, colour: str, **style: Any) -> None:
        self.strokes([[self.at(x, self.y[0]), self.at(x, self.y[1])]], colour, **style)

    def across(self, y: float, colour: str, **style: Any) -> None:
        self.strokes([[self.at(self.x[0], y), self.at(self.x[1], y)]], colour, **style)

    def strokes(
        self,
        pieces: Iterable[Sequence[Point]],
        colour: str,
        *,
        width: float = 1.0,
        dashes: tuple[float, ...] | None = None,
        alpha: float | None = None,
        clip: bool = True,
    ) -> None:
        """Open lines in inches, as one path; a very short one is a round dot."""
        self._path(pieces, clip=clip, edge=colour, width=width, dashes=dashes, alpha=alpha)

    def area(self, corners: Sequence[Point], colour: str, *, alpha: float | None = None, clip: bool = True) -> None:
        self._path([[*corners, corners[0]]], clip=clip, face=colour, alpha=alpha)

    # marks

    def dots(self, points: Iterable[Point], colour: str, *, size: float = 4.0, alpha: float | None = None) -> None:
        """In the units of the axes; `size` is the diameter in points."""
        places = [self.at(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        self.strokes(map(dot, places), colour, width=size, alpha=alpha, clip=False)

    def marks(self, xs: Sequence[float], ys: Sequence[float], colour: str = "alarm") -> None:
        """What is not finite: × at the top for NaN, ▲ there for infinity, ▼ at the bottom for minus infinity."""
        self.crosses([self.at(x, self.y[1]) for x, y in zip(xs, ys, strict=True) if math.isnan(y)], colour)
        for sign in (1, -1):
            edge = self.y[1] if sign > 0 else self.y[0]
            self.triangles(
                [self.at(x, edge) for x, y in zip(xs, ys, strict=True) if y == sign * math.inf], colour, sign
            )

    def crosses(self, places: Iterable[Point], colour: str) -> None:
        d = 0.035
        pieces = [[(x - d, y - s), (x + d, y + s)] for x, y in places for s in (d, -d)]
        self.strokes(pieces, colour, width=1.3, clip=False)

    def triangles(self, places: Iterable[Point], colour: str, sign: int = 1) -> None:
        d = 0.045
        shapes = [
            [(x - d, y - sign * d), (x + d, y - sign * d), (x, y + sign * d), (x - d, y - sign * d)] for x, y in places
        ]
        self._path(shapes, clip=False, face=colour)

    # words

    def text(self, place: Point, words: str, colour: str = "ink", *, size: float = SIZE, **style: Any) -> None:
        """At a place in inches; `ha`, `va`, `rotation` and `weight` as matplotlib has them."""
        from matplotlib.text import Text

        text = Text(*place, one_line(words), color=self.colours[colour], fontsize=size, parse_math=False, **style)
        text.set_transform(self.figure.dpi_scale_trans)
        self.figure.add_artist(text)

    def xaxis(self, marked: Ticks, name: str = "", *, labels: bool = True) -> None:
        y = self.bottom
        self.strokes([[(self.left, y), (self.left + self.width, y)]], "muted", width=0.8, clip=False)
        places = [self.at(x, self.y[0])[0] for x in marked[0]]
        self.strokes([[(x, y), (x, y - 0.04)] for x in places], "muted", width=0.8, clip=False)
        if labels:
            for x, label in zip(places, marked[1], strict=True):
                self.text((x, y - 0.08), label, "muted", ha="center", va="top")
        self.text((self.left + self.width / 2, y - 0.26), name, "muted", ha="center", va="top")

    def yaxis(self, marked: Ticks, name: str = "", *, labels: bool = True) -> None:
        """Faint lines across, and the name above."""
        places = [self.at(self.x[0], y)[1] for y in marked[0]]
        right = self.left + self.width
        self.strokes([[(self.left, y), (right, y)] for y in places], "rule", width=0.8, clip=False)
        if labels:
            for y, label in zip(places, marked[1], strict=True):
                self.text((self.left - 0.06, y), label, "muted", ha="right", va="center_baseline")
        self.text((self.left - 0.38, self.bottom + self.height + 0.09), name, "muted", va="bottom")

    def key(self, entries: Sequence[Entry], *, top: float, left: float = 0.12) -> None:
        """What the lines stand for, in rows from `top` inches down."""
        x, y = left, top
        for entry in entries:
            wide = 0.3 + 1.1 * width_of(entry.label)  # a page makes text larger where it is narrow
            if x > left and x + wide > self.figure.get_figwidth() - 0.05:
                x, y = left, y - 0.17
            self._sample(entry, x, y)
            self.text((x + 0.27, y), entry.label, va="center_baseline")
            x += wide + 0.13

    def swatch(self, place: Point, colour: str) -> None:
        """A square of a colour that is the same in every theme."""
        (x, y), d = place, 0.11
        self.area([(x, y - d / 2), (x + d, y - d / 2), (x + d, y + d / 2), (x, y + d / 2)], colour, clip=False)

    # how it is done

    def _sample(self, entry: Entry, x: float, y: float) -> None:
        ends, kind = [(x, y), (x + 0.2, y)], entry.kind
        if kind == "band":
            low, high = y - 0.045, y + 0.045
            self.area([(x, low), (x + 0.2, low), (x + 0.2, high), (x, high)], entry.colour, alpha=0.25, clip=False)
        elif kind == "dots":
            self.strokes([dot((x + 0.12, y))], entry.colour, width=6, clip=False)
        elif kind == "cross":
            self.crosses([(x + 0.12, y)], entry.colour)
        elif kind in ("triangle", "fallen"):
            self.triangles([(x + 0.12, y)], entry.colour, 1 if kind == "triangle" else -1)
        else:
            dashes = {"dashed": (4.0, 2.0), "dotted": (1.0, 2.0)}.get(kind)
            self.strokes([ends], entry.colour, width=0.8 if kind == "thin" else 1.8, dashes=dashes, clip=False)

    def _within(self, y: float) -> float:
        return min(max(y, self.y[0] - 1), self.y[1] + 1) if math.isinf(y) else y

    def _path(
        self,
        pieces: Iterable[Sequence[Point]],
        *,
        clip: bool,
        edge: str | None = None,
        face: str | None = None,
        width: float = 0.0,
        dashes: tuple[float, ...] | None = None,
        alpha: float | None = None,
    ) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path
        from matplotlib.transforms import Bbox, TransformedBbox

        pieces = list(pieces)
        points = [point for piece in pieces for point in piece]
        if not points:
            return
        codes = [code for piece in pieces for code in [Path.MOVETO, *[Path.LINETO] * (len(piece) - 1)]]
        path = Path(points, codes)
        path.should_simplify = False
        patch = PathPatch(
            path,
            transform=self.figure.dpi_scale_trans,
            facecolor=self.colours.get(face, face) if face else "none",
            edgecolor=self.colours[edge] if edge else "none",
            linewidth=width,
            linestyle=(0, dashes) if dashes else "-",
            capstyle="butt" if dashes else "round",
            joinstyle="round",
            alpha=alpha,
            snap=False,  # to whole pixels, where a dot could lose all its length
        )
        if clip:
            box = Bbox.from_bounds(self.left, self.bottom, self.width, self.height)
            patch.set_clip_box(TransformedBbox(box, self.figure.dpi_scale_trans))
        self.figure.add_artist(patch)


def dot(place: Point) -> list[Point]:
    """A line so short that its round ends are all of it; one of no length at all is not drawn everywhere."""
    return [place, (place[0] + 0.002, place[1])]


def width_of(label: str, size: float = SIZE) -> float:
    """About how many inches a label takes."""
    ems = sum(0.36 if c in NARROW else 0.92 if c in BROAD else 0.62 for c in one_line(label))
    return ems * size / 72


def words_only(colours: Colours, words: str) -> "Figure":
    """In place of a picture whose numbers were not measured."""
    figure = sheet(colours, height=1.0)
    frame = Frame(figure, colours, box=(0, 0, WIDTH, 1), x=(0, 1), y=(0, 1))
    frame.text((WIDTH / 2, 0.5), words, "muted", ha="center", va="center")
    return figure
