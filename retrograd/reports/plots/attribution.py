"""Why each layer's gradient shrinks or grows from one step back to the next.

above    the change in all, and of a plain layer what of it is the activation's and what the weights', in nats per step
below    of gated layers, the share of each path in what goes on back: they sum to 100 %, and one may be negative
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrograd.measures import Attribution, Estimate, LayerAttribution
from retrograd.reports.plots.bars import LINE, Line, bars, names, span
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.panels import key_rows, unusual
from retrograd.reports.plots.reach import paint
from retrograd.reports.plots.scales import Ticks, labelled, ticks
from retrograd.reports.report import Report
from retrograd.reports.sentences import MOST, caption
from retrograd.reports.words import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_MEASURED = "Why the gradient shrinks or grows: not measured."
LEFT = 1.65  # inches, of the names
BELOW, ABOVE = 0.3, 0.24  # inches, under and over a block of lines


def attribution(report: Report, colours: Colours) -> "Figure":
    found = measured(report)
    if not found:
        return words_only(colours, NOT_MEASURED)
    changes, shares = _changes(found), _shares(found)
    entries = [Entry(one_line(name), paint(report, name), "dots") for name in found]
    values = [it.value for line in (*changes, *shares) for it in line.values.values() if it]
    entries += [Entry("95 % interval", "ink", "thin"), *unusual(values, lowest="minus infinity")]
    blocks = [(changes, "change of the gradient per step back, nats", span(changes))]
    blocks += [(shares, "share of the gradient that takes each path", span(shares, 1.0))] if shares else []
    tall = sum(BELOW + LINE * len(lines) + ABOVE for lines, _, _ in blocks) + 0.17 * key_rows(entries) + 0.1
    figure, top = sheet(colours, height=tall), tall - 0.17 * key_rows(entries) - 0.1
    for lines, name, x in blocks:
        bottom = top - ABOVE - LINE * len(lines)
        box = (LEFT, bottom, WIDTH - 0.25 - LEFT, LINE * len(lines))
        frame = Frame(figure, colours, box=box, x=x, y=(len(lines) - 0.5, -0.5))
        frame.xaxis(labelled(ticks(*x, most=5) if lines is changes else _percents(*x), values))
        frame.text((LEFT, bottom + box[3] + 0.06), name, "muted", va="bottom")
        names(frame, [(line.layer, line.name) for line in lines])
        bars(frame, report, lines)
        top = bottom - BELOW
    frame.key(entries, top=tall - 0.14)
    return figure


def attribution_alt(report: Report) -> str:
    return caption(report, measured(report), "attribution") or NOT_MEASURED


def attribution_rows(report: Report) -> Iterator[Row]:
    yield ("measurement", "layer", "cell", "what", "part", "value", "low", "high", "steps", "sequences")
    for name, it in measured(report).items():
        for layer in it.layers:
            whole = {"total": layer.total} if layer.total else {}
            for what, values in (("nats per step", whole | layer.parts), ("share of a path", layer.shares)):
                for part, x in values.items():
                    beside = (layer.steps, layer.sequences)
                    yield (name, layer.layer, layer.cell, what, part, x.value, x.low, x.high, *beside)


def measured(report: Report) -> dict[str, Attribution]:
    return {name: m.attribution for name, m in report.measurements.items() if m.attribution and m.attribution.layers}


def _changes(found: dict[str, Attribution]) -> list[Line]:
    return [
        Line(layer, label, {name: _change(it, layer, label) for name, it in found.items()})
        for layer, parts in _layers(found, "parts").items()
        for label in ("in all", *parts)
    ]


def _shares(found: dict[str, Attribution]) -> list[Line]:
    return [
        Line(layer, path, {name: of.shares.get(path) if (of := _of(it, layer)) else None for name, it in found.items()})
        for layer, paths in _layers(found, "shares").items()
        for path in paths
    ]


def _layers(found: dict[str, Attribution], field: str) -> dict[str, list[str]]:
    """Of each layer the parts that any measurement has, in the order in which they were measured."""
    layers: dict[str, dict[str, None]] = {}
    for it in found.values():
        for layer in it.layers:
            layers.setdefault(layer.layer, {}).update(dict.fromkeys(getattr(layer, field)))
    return {layer: list(parts) for layer, parts in list(layers.items())[:MOST]}


def _change(it: Attribution, layer: str, label: str) -> Estimate | None:
    of = _of(it, layer)
    if of is None:
        return None
    return of.total if label == "in all" else of.parts.get(label)


def _of(it: Attribution, layer: str) -> LayerAttribution | None:
    return next((of for of in it.layers if of.layer == layer), None)


def _percents(low: float, high: float) -> Ticks:
    places, labels = ticks(100 * low, 100 * high, most=5)
    return [x / 100 for x in places], [f"{label} %" for label in labels]
