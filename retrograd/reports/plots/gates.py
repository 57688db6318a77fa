"""Gates and saturation of every layer, at the start against the end.

left     mean of each gate, 0 closed and 1 open, and of   right    share of units that are saturated
         what is no gate, which can be anything
below    how long a memory lasts: its units' 10 %, 50 % and 90 % quantiles, in steps
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from retrograd.measures import LayerSaturation
from retrograd.reports.plots import bars
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.panels import shortened
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import decades, limits, ticks
from retrograd.reports.report import Report
from retrograd.reports.words import one_line, percent, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "Gates and saturation: not measured."
LINE = 0.19  # inches, a row
LEFT = 1.3  # inches, of the names
SHARES = [0.0, 0.5, 1.0], ["0 %", "50 %", "100 %"]
CANDIDATES = {("LSTM", "g"), ("GRU", "n")}  # what may be written into the memory: a tanh, between -1 and 1


class Line(NamedTuple):
    """One non-linearity of one layer: its values by measurement; None where it was not measured."""

    layer: str
    gate: str  # by its letter
    name: str  # as a reader sees it: "f", "candidate g"
    mean: dict[str, float | None]
    saturated: dict[str, float | None]
    dead: dict[str, float | None]


def gates(report: Report, colours: Colours) -> "Figure":
    rows, memories = lines(report), memory(report)
    if not rows:
        return words_only(colours, NOT_MEASURED)
    tall, low = LINE * len(rows), 0.42 + (0.62 + LINE * len(memories) if memories else 0)
    figure = sheet(colours, height=low + tall + 0.62)
    means, mean = [row.mean for row in rows], _range(rows)
    shares = [row.saturated for row in rows]
    quantities = ("mean", means, mean, ticks(*mean, most=5)), ("share of units saturated", shares, (0.0, 1.0), SHARES)
    for (quantity, values, span, marked), left in zip(quantities, (LEFT, LEFT + 1.95), strict=True):
        frame = Frame(figure, colours, box=(left, low, 1.5, tall), x=span, y=(len(rows) - 0.5, -0.5))
        _rules(frame, len(rows))
        frame.xaxis(marked)
        frame.text((left, low + tall + 0.06), quantity, "muted", va="bottom")
        _pairs(frame, report, values)
        if left == LEFT:
            bars.names(frame, [(row.layer, row.name) for row in rows])
    if memories:
        _memory(figure, colours, report, memories)
    frame.key([Entry(one_line(name), paint(report, name), "dots") for name in named(report)], top=low + tall + 0.45)
    return figure


def gates_alt(report: Report) -> str:
    told: dict[str, list[str]] = {}
    for line in lines(report):
        means, shares = between(line.mean.values(), rounded), between(line.saturated.values(), percent)
        told.setdefault(line.layer, []).append(
            one_line(line.name)
            + (f" on average {means}" if means else "")
            + ("," if means and shares else "")
            + (f" saturated {shares} of the units" if shares else "")
        )
    for layer, times in memory(report):
        told[layer].append(f"memory, median unit, {between([three[1] for three in times.values()], rounded)} steps")
    if not told:
        return NOT_MEASURED
    names = named(report)
    course = f"From {one_line(names[0])} to {one_line(names[-1])}. " if len(names) > 1 else ""
    return course + " ".join(f"{one_line(layer)}: {'; '.join(gates)}." for layer, gates in told.items())


def change(values: Iterable[float | None], how: Callable[[float], str]) -> str:
    """From the first measurement to the last: "0.5 → 0.71"; once where it stays."""
    told = [how(x) for x in values if x is not None]
    return " → ".join(dict.fromkeys([told[0], told[-1]])) if told else ""


def between(values: Iterable[float | None], how: Callable[[float], str]) -> str:
    """The same in words: "from 0.5 to 0.71"; no range, as "0.5 to 0.71" would be."""
    first, arrow, last = change(values, how).partition(" → ")
    return f"from {first} to {last}" if arrow else first


def gates_rows(report: Report) -> Iterator[Row]:
    yield (
        "measurement",
        "layer",
        "cell",
        "gate",
        "mean",
        "share saturated",
        "share dead",
        "memory 10 %",
        "50 %",
        "90 %",
    )
    for name in named(report):
        for layer in _layers(report, name).values():
            for gate in dict.fromkeys([*layer.gates, *layer.saturated]):
                lasts = layer.timescales if layer.timescales and gate == layer.keeping else (None,) * 3
                shares = layer.saturated.get(gate), layer.dead.get(gate)
                yield (name, layer.layer, layer.cell, gate, layer.gates.get(gate), *shares, *lasts)


def named(report: Report) -> list[str]:
    """The measurements that looked at the gates."""
    return [name for name, m in report.measurements.items() if m.saturation and m.saturation.layers]


def lines(report: Report) -> list[Line]:
    """Every non-linearity of every layer, in the order in which they were measured."""
    keys = {
        (layer.layer, gate): f"candidate {gate}" if (layer.cell, gate) in CANDIDATES else gate
        for name in named(report)
        for layer in _layers(report, name).values()
        for gate in [*layer.gates, *layer.saturated]
    }
    return [
        Line(layer, gate, name, *({n: _value(report, n, layer, gate, of) for n in named(report)} for of in QUANTITIES))
        for (layer, gate), name in keys.items()
    ]


def memory(report: Report) -> list[tuple[str, dict[str, tuple[float, float, float]]]]:
    """The timescales of each layer that has any, by measurement."""
    layers = {layer: None for name in named(report) for layer in _layers(report, name)}
    found = [
        (layer, {n: it.timescales for n in named(report) if (it := _layers(report, n).get(layer)) and it.timescales})
        for layer in layers
    ]
    return [(layer, times) for layer, times in found if times]


QUANTITIES = ("gates", "saturated", "dead")


def _value(report: Report, name: str, layer: str, gate: str, quantity: str) -> float | None:
    it = _layers(report, name).get(layer)
    values: dict[str, float] = getattr(it, quantity) if it else {}
    return values.get(gate)


def _layers(report: Report, name: str) -> dict[str, LayerSaturation]:
    it = report.measurements[name].saturation
    return {layer.layer: layer for layer in it.layers} if it else {}


def _range(rows: list[Line]) -> tuple[float, float]:
    """Of the means: that of a gate at least."""
    return limits([0.0, 1.0, *(x for row in rows for x in row.mean.values() if x is not None)])


def _rules(frame: Frame, rows: int) -> None:
    frame.strokes([[frame.at(x, i) for x in frame.x] for i in range(rows)], "rule", width=0.8)


def _pairs(frame: Frame, report: Report, rows: list[dict[str, float | None]]) -> None:
    """A dot for each measurement, joined; × at the right edge where it is not finite."""
    ends = [[x for x in row.values() if x is not None and math.isfinite(x)] for row in rows]
    joined = [[frame.at(min(row), i), frame.at(max(row), i)] for i, row in enumerate(ends) if len(row) > 1]
    frame.strokes(joined, "start", width=1.4, clip=False)
    for name in named(report):
        values = [(row[name], i) for i, row in enumerate(rows)]
        strong = paint(report, name) == "end"
        frame.dots([(x, i) for x, i in values if x is not None], paint(report, name), size=6 if strong else 5)
        frame.crosses([frame.at(frame.x[1], i) for x, i in values if x is not None and not math.isfinite(x)], "alarm")


def _memory(
    figure: "Figure",
    colours: Colours,
    report: Report,
    memories: list[tuple[str, dict[str, tuple[float, float, float]]]],
) -> None:
    """A bar from the 10 % to the 90 % quantile with the median on it; ▲ at the edge where it is infinite."""
    every = [math.log10(x) for _, times in memories for three in times.values() for x in three if 0 < x < math.inf]
    low, high = limits([*every, 0.0], margin=0.04)
    box = (LEFT, 0.42, WIDTH - 0.25 - LEFT, LINE * len(memories))
    frame = Frame(figure, colours, box=box, x=(low, max(high, low + 1)), y=(len(memories) - 0.5, -0.5))
    frame.xaxis(decades(*frame.x))
    frame.text((LEFT, box[1] + box[3] + 0.06), "memory lasts, in steps; bar: 80 % of the units", "muted", va="bottom")
    labels = shortened([layer for layer, _ in memories], bars.LONGEST)
    for i, (label, (_, times)) in enumerate(zip(labels, memories, strict=True)):
        frame.text((0.1, frame.at(0, i)[1]), label, "muted", va="center_baseline")
        for name, three in times.items():
            y = i + (0.2 if paint(report, name) == "end" and len(times) > 1 else -0.2 if len(times) > 1 else 0.0)
            places = [p for p in (_edge(x, frame) for x in three) if p is not None]
            if len(places) == 3:
                frame.strokes([[frame.at(places[0], y), frame.at(places[2], y)]], paint(report, name), width=1.6)
                frame.dots([(places[1], y)], paint(report, name), size=5)
            if not all(map(math.isfinite, three)):
                frame.crosses([frame.at(frame.x[1], y)], "alarm")


def _edge(steps: float, frame: Frame) -> float | None:
    if math.isnan(steps) or steps < 0:
        return None
    return frame.x[1] if steps == math.inf else max(math.log10(steps), frame.x[0]) if steps > 0 else frame.x[0]
