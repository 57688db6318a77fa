"""Several frames on one figure: for each layer a panel, or a row of them, under one key.

Every panel has its layer's name over it and labels under it; panels side by side stand so far apart that the labels of
each have room. Of very many layers the first are drawn.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from retrograd.reports.plots import curves
from retrograd.reports.plots.frame import WIDTH, Box, Colours, Entry, Frame, Range, sheet, width_of
from retrograd.reports.plots.scales import Ticks, ticks
from retrograd.reports.words import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, RIGHT, BELOW, ABOVE = 0.5, 0.15, 0.46, 0.42  # inches, of labels on each side; above: the axis' name, the title
APART = 0.5  # inches between two panels side by side
LETTERS = 24  # of a layer's name, over a panel


class Axis(NamedTuple):
    range: Range
    ticks: Ticks
    name: str


class Plan(NamedTuple):
    """Panels in rows from the top, of so many inches."""

    panels: int
    across: int
    tall: float = 1.2

    @property
    def rows(self) -> int:
        return math.ceil(self.panels / self.across)


def one_each(
    colours: Colours, layers: Sequence[str], entries: Sequence[Entry], *, x: Axis, y: Axis
) -> "tuple[Figure, list[Frame]]":
    """A panel for each layer, all on the same axes: two side by side, and a higher one for a layer alone."""
    plan = Plan(len(layers), across=2) if len(layers) > 1 else Plan(1, across=1, tall=1.5)
    figure, boxes = spread_out(colours, plan, entries)
    titled = zip(boxes, shortened(layers), strict=True)
    return figure, [panel(figure, colours, box, x=x, y=y, title=title) for box, title in titled]


def spread_out(colours: Colours, plan: Plan, entries: Sequence[Entry]) -> "tuple[Figure, list[Box]]":
    """A figure with its key, and the boxes of its panels."""
    key = 0.17 * key_rows(entries) + 0.06
    step = plan.tall + BELOW + ABOVE
    figure = sheet(colours, height=plan.rows * step + key)
    wide = (WIDTH - LEFT - RIGHT - (plan.across - 1) * APART) / plan.across
    boxes = []
    for i in range(plan.panels):
        row, column = divmod(i, plan.across)
        boxes.append((LEFT + column * (wide + APART), (plan.rows - 1 - row) * step + BELOW, wide, plan.tall))
    frame = Frame(figure, colours, box=(0, 0, 1, 1), x=(0, 1), y=(0, 1))
    frame.key(entries, top=figure.get_figheight() - 0.13)
    return figure, boxes


def panel(figure: "Figure", colours: Colours, box: Box, *, x: Axis, y: Axis, title: str = "") -> Frame:
    """A frame with its axes: the title over the name of the values, that of the other axis under it."""
    frame = Frame(figure, colours, box=box, x=x.range, y=y.range)
    frame.yaxis(y.ticks, y.name)
    frame.xaxis(x.ticks, x.name)
    frame.text((frame.left - 0.38, frame.bottom + frame.height + 0.24), title, va="bottom", weight="bold")
    return frame


def marks(frame: Frame, xs: Sequence[float], ys: Sequence[float], colour: str) -> None:
    """What is not finite: minus infinity, which a zero's logarithm is, in the colour of its line."""
    frame.marks(xs, [y if y != -math.inf else 0.0 for y in ys])
    frame.triangles([frame.at(x, frame.y[0]) for x, y in zip(xs, ys, strict=True) if y == -math.inf], colour, -1)


def unusual(values: Iterable[float], *, lowest: str = "") -> list[Entry]:
    """For the key: these marks, where there are any; `lowest` is what minus infinity means."""
    values = list(values)
    fallen = [Entry(lowest, "end", "fallen")] if -math.inf in values else []
    return fallen + curves.unusual(x for x in values if x != -math.inf)


def key_rows(entries: Sequence[Entry]) -> int:
    """How many rows a key takes."""
    x, rows = 0.12, 1
    for entry in entries:
        wide = 0.3 + 1.1 * width_of(entry.label)
        if x > 0.12 and x + wide > WIDTH - 0.05:
            x, rows = 0.12, rows + 1
        x += wide + 0.13
    return rows if entries else 0


def integers(longest: int, name: str) -> Axis:
    """An axis of whole numbers from 0."""
    span = (0.0, float(max(longest, 1)))
    return Axis(span, ticks(*span, most=6, whole=True), name)


def doublings(longest: float) -> tuple[Range, Ticks]:
    """For an axis of logarithms to base two, from 1: 1, 2, 4, 8 ..., or every other."""
    last = max(math.log2(max(longest, 1)), 1.0)
    step = math.ceil((math.floor(last) + 1) / 6)
    places = range(0, math.floor(last + 1e-9) + 1, step)
    return (0.0, last), ([float(i) for i in places], [f"{2**i:,}" for i in places])


def shortened(layers: Sequence[str], most: int = LETTERS) -> list[str]:
    """Names of so many letters: their ends, as "…coder.rnn.l0"; where these are the same, what differs and the ends."""
    plain = [one_line(layer, most=200) for layer in layers]
    ends = [name if len(name) <= most else "…" + name[-most + 1 :] for name in plain]
    if len(set(ends)) == len(set(plain)):
        return ends
    common, head = next(i for i in count() if len({name[: i + 1] for name in plain}) > 1), most // 2
    rest = [name[common:] for name in plain]
    return [name if len(name) <= most else f"{name[:head]}…{name[len(name) - most + head + 1 :]}" for name in rest]
