"""The eigenvalues of the recurrent weights around the unit circle, a panel for each layer's gate block.

Inside the circle decays, outside grows, off the real axis turns. Start is muted, end is strong; one scale for all.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from retrograd.measures import BlockSpectrum
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, Point, sheet, words_only
from retrograd.reports.plots.gates import change
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import ticks
from retrograd.reports.report import Report
from retrograd.reports.words import one_line, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "The eigenvalues of the recurrent weights were not measured."
CIRCLE = [(math.cos(a), math.sin(a)) for a in (2 * math.pi * i / 96 for i in range(97))]


class Panel(NamedTuple):
    layer: str
    gate: str
    blocks: dict[str, BlockSpectrum]  # by measurement


def eigenvalues(report: Report, colours: Colours) -> "Figure":
    found = panels(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    columns = 1 if len(found) == 1 else 2
    rows, side = math.ceil(len(found) / columns), 2.8 if columns == 1 else 1.95
    figure = sheet(colours, height=0.62 + rows * (side + 0.32))
    edge = _edge(found)
    for i, panel in enumerate(found):
        row, column = divmod(i, columns)
        left = (WIDTH - side) / 2 if columns == 1 else 0.42 + column * (side + 0.35)
        bottom = 0.32 + (rows - 1 - row) * (side + 0.32)
        frame = Frame(figure, colours, box=(left, bottom, side, side), x=(-edge, edge), y=(-edge, edge))
        _panel(frame, report, panel, left=column == 0, low=i + columns >= len(found))
    names = [Entry(one_line(name), paint(report, name), "dots") for name in named(report)]
    frame.key([*names, Entry("unit circle", "muted"), *_broken(found)], top=figure.get_figheight() - 0.15)
    return figure


def eigenvalues_alt(report: Report) -> str:
    told = []
    for panel in panels(report):
        radius = change([block.radius for block in panel.blocks.values()], rounded, " to ")
        sigma = change([block.sigma_max for block in panel.blocks.values()], rounded, " to ")
        told.append(f"{title(panel)}: {radius}, {sigma}")
    if not told:
        return NOT_MEASURED
    names = named(report)
    course = f", from {one_line(names[0])} to {one_line(names[-1])}" if len(names) > 1 else ""
    return f"The spectral radius and the largest singular value{course}. {'; '.join(told)}."


def eigenvalues_rows(report: Report) -> Iterator[Row]:
    yield ("measurement", "layer", "gate", "real", "imaginary", "radius of the block", "largest singular value")
    for panel in panels(report):
        for name, block in panel.blocks.items():
            for real, imaginary in block.eigenvalues:
                yield (name, panel.layer, panel.gate, real, imaginary, block.radius, block.sigma_max)


def named(report: Report) -> list[str]:
    """The measurements that looked at the weights."""
    return [name for name, m in report.measurements.items() if m.spectrum and m.spectrum.layers]


def panels(report: Report) -> list[Panel]:
    found: dict[tuple[str, str], Panel] = {}
    for name, m in report.measurements.items():
        for layer in m.spectrum.layers if m.spectrum else ():
            for block in layer.blocks:
                panel = found.setdefault((layer.layer, block.gate), Panel(layer.layer, block.gate, {}))
                panel.blocks[name] = block
    return list(found.values())


def title(panel: Panel) -> str:
    return f"{one_line(panel.layer, most=16)}, {one_line(panel.gate, most=8)}"


def _panel(frame: Frame, report: Report, panel: Panel, *, left: bool, low: bool) -> None:
    edge = frame.x[1]
    frame.strokes([[frame.at(-edge, 0), frame.at(edge, 0)], [frame.at(0, -edge), frame.at(0, edge)]], "rule", width=0.8)
    frame.strokes([[frame.at(x, y) for x, y in CIRCLE]], "muted", width=0.9)
    for name, block in panel.blocks.items():
        finite = [p for p in block.eigenvalues if math.isfinite(p[0]) and math.isfinite(p[1])]
        many = len(finite) > 150
        frame.dots(finite, paint(report, name), size=2.2 if many else 3.2, alpha=0.75)
        if len(finite) < len(block.eigenvalues):
            frame.crosses([frame.at(edge, edge)], "alarm")
    corner = (frame.left + 0.02, frame.bottom + frame.height + 0.04)
    frame.text(corner, title(panel), va="bottom", weight="bold")
    places, labels = ticks(-edge, edge, most=4)
    for x, label in zip(places, labels, strict=True):
        if low:
            frame.text((frame.at(x, 0)[0], frame.bottom - 0.03), _minus(label), "muted", ha="center", va="top")
        if left:
            frame.text((frame.left - 0.04, frame.at(0, x)[1]), _minus(label), "muted", ha="right", va="center_baseline")


def _edge(found: list[Panel]) -> float:
    """Half the side of every panel, in the eigenvalues' unit."""
    every = [p for panel in found for block in panel.blocks.values() for p in block.eigenvalues]
    return 1.1 * max([1.0, *(abs(x) for p in every for x in p if math.isfinite(x))])


def _broken(found: list[Panel]) -> list[Entry]:
    points: list[Point] = [p for panel in found for block in panel.blocks.values() for p in block.eigenvalues]
    lost = sum(not (math.isfinite(x) and math.isfinite(y)) for x, y in points)
    return [Entry(f"{lost:,} not finite", "alarm", "cross")] if lost else []


def _minus(label: str) -> str:
    return label.replace("-", "−")
