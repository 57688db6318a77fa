"""What the explorations' pictures have in common: lines told apart by colour and dashes, panels, logarithmic axes."""

import math
from collections.abc import Iterable, Sequence

from retrograd.errors import ConfigError
from retrograd.reports.plots.frame import Entry, Frame
from retrograd.reports.plots.panels import Axis, marks
from retrograd.reports.plots.scales import decades, limits, ticks
from retrograd.reports.words import LN10

PAINTS = ("end", "other", "start", "alarm", "ink")
DASHES: dict[str, tuple[float, ...] | None] = {"line": None, "dashed": (4.0, 2.0), "dotted": (1.0, 2.0)}
KINDS = tuple(DASHES)
MOST = len(PAINTS) * len(KINDS)  # lines that can be told apart
FAR = 50.0  # times the frame's side, beyond its edge
DEEPEST = 30.0  # decades on a logarithmic axis


def few(what: str, count: int, *, most: int = MOST) -> None:
    """Raises ConfigError where a picture would have more lines than can be told apart."""
    if count > most:
        raise ConfigError(f"At most {most} {what} can be told apart in one picture, got {count}.")


def entry(label: str, i: int) -> Entry:
    """The key's entry of line i."""
    return Entry(label, PAINTS[i % len(PAINTS)], KINDS[i // len(PAINTS) % len(KINDS)])


def curve(frame: Frame, xs: Sequence[float], ys: Sequence[float], i: int) -> None:
    """Line i, in its colour and dashes."""
    line(frame, xs, ys, entry("", i))


def line(frame: Frame, xs: Sequence[float], ys: Sequence[float], style: Entry) -> None:
    """With a mark where it ceases to be finite."""
    frame.line(xs, kept(frame, ys), style.colour, dashes=DASHES[style.kind], width=1.5)
    new = [j for j, y in enumerate(ys) if not math.isfinite(y) and (j == 0 or str(y) != str(ys[j - 1]))]
    marks(frame, [xs[j] for j in new], [ys[j] for j in new], style.colour)


def path(frame: Frame, points: Sequence[Sequence[float]], colour: str, *, width: float = 1.5) -> None:
    """From point to point on the plane; what is very far away is drawn nearer, in its direction."""
    far = FAR * max(frame.x[1] - frame.x[0], frame.y[1] - frame.y[0])
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    near = [(x * by, y * by) for x, y in finite for by in [min(1.0, far / (max(abs(x), abs(y)) or 1.0))]]
    frame.line([x for x, _ in near], [y for _, y in near], colour, width=width)


def kept(frame: Frame, values: Sequence[float]) -> list[float]:
    """Values not so far beyond the frame's edge that a renderer would lose them."""
    low, high = frame.y
    room = FAR * (high - low)
    return [min(max(value, low - room), high + room) if math.isfinite(value) else math.nan for value in values]


def decimal(logs: Iterable[float]) -> list[float]:
    """Natural logarithms as decimal ones."""
    return [x / LN10 for x in logs]


def logarithmic(logs: Iterable[float], name: str, *, deepest: float = DEEPEST) -> Axis:
    """An axis of decimal logarithms for these natural ones; at most `deepest` decades on either side of 1."""
    found = [min(max(x, -deepest), deepest) for x in decimal(logs) if math.isfinite(x)]
    low, high = limits([*found, 0.0], margin=0.06)
    room = max(0.0, (1 - (high - low)) / 2)  # a decade at the least: what is rounding looks level
    low, high = low - room, high + room
    return Axis((low, high), decades(low, high, most=5), name)


def linear(values: Iterable[float], name: str, *, most: float = math.inf, margin: float = 0.06) -> Axis:
    """An axis for these, and for zero; what is beyond `most` in size leaves it."""
    found = [min(max(x, -most), most) for x in values if math.isfinite(x)]
    low, high = limits([*found, 0.0], margin=margin)
    return Axis((low, high), ticks(low, high, most=6), name)


def floored(frame: Frame, values: Sequence[float]) -> list[float]:
    """Minus infinity at the frame's lower edge, for the low side of a band."""
    return [frame.y[0] if value == -math.inf else value for value in values]
