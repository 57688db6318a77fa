"""A lower triangle of numbers as a heat map, rows from the top; what is not there is blank."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrograd.explore.exploration import Colours
from retrograd.reports.plots.colours import HEAT, ZERO
from retrograd.reports.plots.frame import WIDTH, Frame, sheet
from retrograd.reports.plots.heat import images
from retrograd.reports.plots.scales import Ticks, decades, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX = (0.62, 0.46, WIDTH - 0.77, 2.5)
SCALE = (0.62, 3.4, 1.6, 0.1)
ROOM = 0.36  # inches, of a label
DEEPEST = 12.0  # decades under the largest


def draw_triangle(colours: Colours, logs: Sequence[Sequence[float]], *, across: str, up: str, scale: str) -> "Figure":
    """Decimal logarithms (T, T), counted from 1; NaN is blank, minus infinity an exact zero."""
    figure, n = sheet(colours, height=3.62), len(logs)
    finite = [x for row in logs for x in row if math.isfinite(x)] or [0.0]
    high = max(finite)
    low = max(min(*finite, high - 1), high - DEEPEST)
    frame = Frame(figure, colours, box=BOX, x=(0.5, n + 0.5), y=(n + 0.5, 0.5))
    images(figure, _pixels(logs, low, high), BOX, SCALE)
    frame.xaxis(ticks(1, max(n, 2), most=8, whole=True) if n > 1 else ([1.0], ["1"]), across)
    for t, label in zip(*(ticks(1, n, most=8, whole=True) if n > 1 else ([1.0], ["1"])), strict=True):
        frame.text((BOX[0] - 0.06, frame.at(0, t)[1]), label, "muted", ha="right", va="center_baseline")
    frame.text((0.1, BOX[1] + BOX[3] + 0.06), up, "muted", va="bottom")
    legend = Frame(figure, colours, box=SCALE, x=(low, high), y=(0, 1))
    legend.xaxis(_sparse(decades(low, high, most=4), legend))
    legend.text((SCALE[0] + SCALE[2] + 0.12, SCALE[1] + 0.05), scale, va="center_baseline")
    if any(x == -math.inf for row in logs for x in row):
        legend.swatch((3.9, SCALE[1] + 0.05), ZERO)
        legend.text((4.06, SCALE[1] + 0.05), "zero", va="center_baseline")
    return figure


def _sparse(marked: Ticks, frame: Frame) -> Ticks:
    """Those whose labels have room beside the one before."""
    kept: list[tuple[float, str]] = []
    for x, label in zip(*marked, strict=True):
        if not kept or frame.at(x, 0)[0] - frame.at(kept[-1][0], 0)[0] > ROOM:
            kept.append((x, label))
    return [x for x, _ in kept], [label for _, label in kept]


def _pixels(logs: Sequence[Sequence[float]], low: float, high: float) -> Any:
    """One pixel a number, (rows, columns, red green blue alpha)."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    raw = np.array(logs)
    pixels = colormaps[HEAT](np.clip((np.where(np.isfinite(raw), raw, low) - low) / (high - low), 0, 1))
    pixels[np.isnan(raw)] = (0, 0, 0, 0)
    pixels[np.isneginf(raw)] = to_rgba(ZERO)
    return (pixels * 255).astype(np.uint8)
