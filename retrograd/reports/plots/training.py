"""What training looked like, over its steps.

loss            the training loss and the validation loss; when the run went back or was resumed
gradient_norm   the norm of the gradient, and the share of steps where it was clipped
speed           tokens per second, and the learning rate
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrograd.reports.plots import curves
from retrograd.reports.plots.curves import Panel, course, draw_curve, extremes, measured
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.scales import decades, labelled, limits, ticks
from retrograd.reports.report import Curve, Happening, Report
from retrograd.reports.words import LN10, number, one_line, percent, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

APART = 0.16  # inches between two labels
SPAN = 30.0  # a loss that spans more than this factor is drawn on a logarithmic axis
LOSSES = {"loss": ("training", "end"), "validation": ("validation", "other")}
ORDINARY = {
    "started",
    "finished",
    "failed",
    "interrupted",
    "saved",
    "validated",
    "measured",
}  # nothing that a curve has to explain


def loss(report: Report, colours: Colours) -> "Figure":
    found = {name: curve for name in LOSSES if (curve := measured(report, name))}
    if not found:
        return words_only(colours, "The loss was not measured.")
    values = [x for c in found.values() for x in (*c.values, *c.low, *c.high)]
    log = _spans(values)
    if log:
        found = {name: scaled(curve, math.log10) for name, curve in found.items()}
        values = [math.log10(x) for x in values]
    y = limits(values, margin=0.04)
    figure, unit = sheet(colours), next(iter(found.values())).unit
    frame = Frame(figure, colours, box=(0.5, curves.BOTTOM, WIDTH - 0.65, 1.76), x=curves.span(report), y=y)
    marked = labelled(decades(*y) if log else ticks(*y), values)
    frame.yaxis(marked, f"{unit}, log scale" if log else unit)
    curves.step_axis(frame)
    _befell(frame, report)
    for name, curve in found.items():
        draw_curve(frame, curve, LOSSES[name][1], width=1.2 if name == "loss" else 1.8)
    frame.key([*(Entry(*LOSSES[name]) for name in found), *curves.unusual(values)], top=curves.KEY)
    return figure


def loss_alt(report: Report) -> str:
    said = [course(f"The {LOSSES[name][0]} loss", curve) for name in LOSSES if (curve := measured(report, name))]
    befell = [_told(h, *place) for h, place in explained(report)]
    told = f" The run: {', '.join(befell[:4])}{' and more' if len(befell) > 4 else ''}." if befell else ""
    return " ".join(said) + told if said else "The loss was not measured."


def gradient_norm(report: Report, colours: Colours) -> "Figure":
    panels = []
    if norm := measured(report, "gradient norm"):
        panels.append(_norm(norm))
    if (clipped := measured(report, "clipped")) and (any(clipped.values) or not panels):
        panels.append(Panel("share clipped", clipped, (0, 1), ([0, 0.5, 1], ["0 %", "50 %", "100 %"]), "other"))
    if not panels:
        return words_only(colours, "The norm of the gradient was not measured.")
    return curves.stacked(report, colours, panels)


def gradient_norm_alt(report: Report) -> str:
    said = []
    if norm := measured(report, "gradient norm"):
        plain = dataclasses.replace(scaled(norm, _exp), unit="")
        said.append(course("The norm of the gradient", plain, mean="geometric mean"))
    if clipped := measured(report, "clipped"):
        later = f" at first and in {percent(clipped.values[-1])} at the end" if len(clipped.steps) > 1 else ""
        share = f"It is clipped in {percent(clipped.values[0])} of the steps{later}."
        said.append(share if any(clipped.values) else "It was never clipped.")
    return " ".join(said) or "The norm of the gradient was not measured."


def speed(report: Report, colours: Colours) -> "Figure":
    panels = []
    for name, colour in (("tokens per second", "end"), ("learning rate", "other")):
        if curve := measured(report, name):
            y = (0.0, limits((0.0, *curve.values, *curve.high), margin=0.08)[1])
            panels.append(Panel(name, curve, y, labelled(ticks(*y, most=5), curve.values), colour))
    if not panels:
        return words_only(colours, "Speed and learning rate were not measured.")
    return curves.stacked(report, colours, panels)


def speed_alt(report: Report) -> str:
    said = []
    if curve := measured(report, "tokens per second"):
        least, greatest = map(number, extremes(curve))
        lie = f"lie between {least} and {greatest}" if least != greatest else f"are {least} throughout"
        said.append(f"Tokens per second {lie}.")
    if curve := measured(report, "learning rate"):
        said.append(course("The learning rate", dataclasses.replace(curve, unit="")))
    return " ".join(said) or "Speed and learning rate were not measured."


def explained(report: Report) -> list[tuple[Happening, tuple[int, int]]]:
    """What befell the run at known steps of its training, after the first; with the first and the last of them."""
    told = [(h, place(h)) for h in report.happenings if h.name not in ORDINARY]
    return [(h, steps) for h, steps in told if steps and 0 < steps[0] <= curves.span(report)[1]]


def _told(h: Happening, first: int, last: int) -> str:
    if last > first:
        return f"{one_line(h.name)} {h.details['steps']} steps from {first:,} to {last:,}"
    return f"{one_line(h.name)} at step {first:,}"


def _norm(norm: Curve) -> Panel:
    """Its panel: of decimal logarithms, where they differ by more than one."""
    decimal = scaled(norm, lambda x: x / LN10)
    known = (*decimal.values, *decimal.low, *decimal.high)
    low, high = limits(known, margin=0.06)
    if high - low > 1:
        return Panel("gradient norm, log", decimal, (low, high), decades(low, high, most=4), "end")
    plain = scaled(norm, _exp)
    y = limits((*plain.values, *plain.low, *plain.high), margin=0.06)
    return Panel("gradient norm", plain, y, labelled(ticks(*y, most=5), known), "end")


def scaled(curve: Curve, scale: Any) -> Curve:
    """The curve with all its numbers put through a function."""
    parts: Sequence[tuple[float, ...]] = (curve.values, curve.low, curve.high)
    values, low, high = (tuple(map(scale, part)) for part in parts)
    return dataclasses.replace(curve, values=values, low=low, high=high)


def _befell(frame: Frame, report: Report) -> None:
    """A thin line at each, a shade from its first to its last step, and its name.

    Those that happened close together share a label, and one that the label before it says as well has none.
    """
    labels: list[tuple[float, list[str]]] = []
    low, high = frame.y
    for h, (first, last) in sorted(explained(report), key=lambda it: it[1]):
        x, _ = frame.at(first, 0)
        frame.down(first, "muted", width=0.7, dashes=(3.0, 2.0))
        if last > first:
            frame.area(
                [frame.at(*p) for p in ((first, low), (last, low), (last, high), (first, high))], "rule", alpha=0.5
            )
        if labels and x < labels[-1][0] + APART:
            labels[-1][1].append(h.name)
        else:
            labels.append((x, [h.name]))
    before = ""
    for x, names in labels:
        words = one_line(", ".join(dict.fromkeys(names)), most=32)
        if words == before:
            continue
        before = words
        side, gap = ("left", 0.03) if x < frame.left + 0.2 else ("right", -0.03)  # clear of the axis
        frame.text((x + gap, frame.bottom + frame.height), words, "muted", size=8, rotation=90, ha=side, va="top")


def _spans(values: Sequence[float]) -> bool:
    finite = [x for x in values if math.isfinite(x)]
    return bool(finite) and -math.inf not in values and min(finite) > 0 and max(finite) / min(finite) > SPAN


def _exp(x: float) -> float:
    return math.inf if x >= 709 else math.exp(x)
