"""The eigenvalues of the recurrent weights around the unit circle: for each layer's gate block a panel for each
measurement, side by side.

Inside the circle decays, outside grows, off the real axis turns. One scale for all, on which the circle stays large:
the few that lie beyond the edge are drawn on it, in their direction; where they are many, the edge is beyond them all.
"""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from retrograd.measures import BlockSpectrum
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, Point, sheet, words_only
from retrograd.reports.plots.gates import between
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import Ticks, ticks
from retrograd.reports.report import Report
from retrograd.reports.words import one_line, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "The eigenvalues of the recurrent weights were not measured."
WIDEST = 1.7  # the edge of a panel, where few lie beyond; a single far eigenvalue would make a dot of the circle
FEW = 0.05  # their share
CIRCLE = [(math.cos(a), math.sin(a)) for a in (2 * math.pi * i / 96 for i in range(97))]
LEFT, GAP, ABOVE = 0.32, 0.1, 0.5  # inches: of the ticks' labels, between panels, over a row of them
APART = 0.2  # between two blocks
CLOSE = 4.0  # the edge from which -1, 0 and 1 are too close to each other
WIDE, CROWD = 2.0, 150  # the side of a panel, at most; points from which all is drawn smaller


class Panel(NamedTuple):
    layer: str
    gate: str
    blocks: dict[str, BlockSpectrum]  # by measurement


def eigenvalues(report: Report, colours: Colours) -> "Figure":
    found = panels(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    names, edge = named(report), _edge(found)
    across = max(1, min(len(found), 4 // len(names)))  # blocks side by side
    rows = math.ceil(len(found) / across)
    side = min(WIDE, (WIDTH - LEFT - across * APART) / (across * len(names)) - GAP)
    figure = sheet(colours, height=0.55 + rows * (side + ABOVE))
    for i, panel in enumerate(found):
        row, place = divmod(i, across)
        bottom = 0.25 + (rows - 1 - row) * (side + ABOVE)
        for j, name in enumerate(names):
            left = LEFT + place * APART + (place * len(names) + j) * (side + GAP)
            box = (left, bottom, side, side)
            frame = Frame(figure, colours, box=box, x=(-edge, edge), y=(-edge, edge))
            _axes(frame, title(panel) if j == 0 else "", left=place + j == 0)
            if name in panel.blocks:
                _points(frame, panel.blocks[name], paint(report, name))
    entries = [Entry(one_line(name), paint(report, name), "dots") for name in names]
    top = figure.get_figheight() - 0.15
    frame.key([*entries, Entry("unit circle", "muted"), *_beyond(found, edge), *_broken(found)], top=top)
    return figure


def eigenvalues_alt(report: Report) -> str:
    told = []
    for panel in panels(report):
        radius = between([block.radius for block in panel.blocks.values()], rounded)
        sigma = between([block.sigma_max for block in panel.blocks.values()], rounded)
        told.append(f"{title(panel)}: {radius}, and {sigma}")
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


def _axes(frame: Frame, heading: str, *, left: bool) -> None:
    edge = frame.x[1]
    frame.strokes([[frame.at(-edge, 0), frame.at(edge, 0)], [frame.at(0, -edge), frame.at(0, edge)]], "rule", width=0.8)
    frame.strokes([[frame.at(x, y) for x, y in CIRCLE]], "muted", width=0.9)
    corner = (frame.left, frame.bottom + frame.height + 0.06)
    frame.text(corner, heading, va="bottom", weight="bold")
    for x, label in zip(*_ticks(edge), strict=True):
        at, words = frame.at(x, x), label.replace("-", "−")  # clear of the crosses on the edge
        frame.text((at[0], frame.bottom - 0.07), words, "muted", ha="center", va="top")
        if left:
            frame.text((frame.left - 0.08, at[1]), words, "muted", ha="right", va="center_baseline")


def _points(frame: Frame, block: BlockSpectrum, colour: str) -> None:
    edge = frame.x[1]
    within, beyond, lost = _sorted(block.eigenvalues, edge)
    frame.dots(within, colour, size=2.2 if len(within) > CROWD else 3.2, alpha=0.75)
    shrunk = [(edge / max(abs(x), abs(y)), x, y) for x, y in beyond]
    frame.crosses([frame.at(x * by, y * by) for by, x, y in shrunk], colour)
    if lost:
        frame.crosses([frame.at(edge, edge)], "alarm")


def _sorted(points: Iterable[Point], edge: float) -> tuple[list[Point], list[Point], list[Point]]:
    """Those within the panel, those beyond its edge, those that are not finite."""
    kinds: tuple[list[Point], list[Point], list[Point]] = ([], [], [])
    for x, y in points:
        finite = math.isfinite(x) and math.isfinite(y)
        kinds[(max(abs(x), abs(y)) > edge) if finite else 2].append((x, y))
    return kinds


def _edge(found: list[Panel]) -> float:
    """Half the side of every panel, in the eigenvalues' unit."""
    known = [max(map(abs, p)) for p in _all(found) if all(map(math.isfinite, p))]
    furthest, far = 1.1 * max([1.0, *known]), sum(x > WIDEST for x in known)
    return furthest if far > FEW * len(known) else min(WIDEST, furthest)


def _ticks(edge: float) -> Ticks:
    """-1, 0 and 1, the circle's; on a scale where these would touch, what is round."""
    return ([-1.0, 0.0, 1.0], ["-1", "0", "1"]) if edge < CLOSE else ticks(-edge, edge, most=5)


def _beyond(found: list[Panel], edge: float) -> list[Entry]:
    far = _sorted(_all(found), edge)[1]
    return [Entry(f"{len(far):,} beyond {rounded(edge)}", "end", "cross")] if far else []


def _broken(found: list[Panel]) -> list[Entry]:
    lost = _sorted(_all(found), math.inf)[2]
    return [Entry(f"{len(lost):,} not finite", "alarm", "cross")] if lost else []


def _all(found: list[Panel]) -> list[Point]:
    return [p for panel in found for block in panel.blocks.values() for p in block.eigenvalues]
