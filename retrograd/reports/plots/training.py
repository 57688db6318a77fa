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
from retrograd.reports.plots.curves import Panel, course, draw_curve, measured
from retrograd.reports.plots.frame import WIDTH, Colours, Entry, Frame, sheet, words_only
from retrograd.reports.plots.scales import decades, limits, ticks
from retrograd.reports.report import Curve, Happening, Report
from retrograd.reports.words import number, one_line, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    frame.yaxis(decades(*y) if log else ticks(*y), f"{unit}, log scale" if log else unit)
    curves.step_axis(frame)
    _befell(frame, report)
    for name, curve in found.items():
        draw_curve(frame, curve, LOSSES[name][1], width=1.2 if name == "loss" else 1.8)
    frame.key([*(Entry(*LOSSES[name]) for name in found), *curves.unusual(values)], top=curves.KEY)
    return figure


def loss_alt(report: Report) -> str:
    said = [course(f"The {LOSSES[name][0]} loss", curve) for name in LOSSES if (curve := measured(report, name))]
    befell = [f"{one_line(h.name)} at step {h.details['step']:,}" for h in explained(report)]
    told = f" The run: {', '.join(befell[:4])}{' and more' if len(befell) > 4 else ''}." if befell else ""
    return " ".join(said) + told if said else "The loss was not measured."


def gradient_norm(report: Report, colours: Colours) -> "Figure":
    panels = []
    if norm := measured(report, "gradient norm"):
        decimal = scaled(norm, lambda x: x / math.log(10))
        y = limits((*decimal.values, *decimal.low, *decimal.high), margin=0.06)
        panels.append(Panel("gradient norm, log", decimal, y, decades(*y, most=4), "end"))
    if clipped := measured(report, "clipped"):
        panels.append(Panel("share clipped", clipped, (0, 1), ([0, 0.5, 1], ["0 %", "50 %", "100 %"]), "other"))
    if not panels:
        return words_only(colours, "The norm of the gradient was not measured.")
    return curves.stacked(report, colours, panels)


def gradient_norm_alt(report: Report) -> str:
    said = []
    if norm := measured(report, "gradient norm"):
        said.append(course("The norm of the gradient", dataclasses.replace(scaled(norm, _exp), unit="")))
    if clipped := measured(report, "clipped"):
        said.append(f"At step {clipped.steps[-1]:,} it is clipped in {percent(clipped.values[-1])} of the steps.")
    return " ".join(said) or "The norm of the gradient was not measured."


def speed(report: Report, colours: Colours) -> "Figure":
    panels = []
    for name, colour in (("tokens per second", "end"), ("learning rate", "other")):
        if curve := measured(report, name):
            y = (0.0, limits((0.0, *curve.values), margin=0.08)[1])
            panels.append(Panel(name, curve, y, ticks(*y, most=4), colour))
    if not panels:
        return words_only(colours, "Speed and learning rate were not measured.")
    return curves.stacked(report, colours, panels)


def speed_alt(report: Report) -> str:
    said = []
    if curve := measured(report, "tokens per second"):
        finite = [x for x in curve.values if math.isfinite(x)] or [math.nan]
        said.append(f"Tokens per second lie between {number(min(finite))} and {number(max(finite))}.")
    if curve := measured(report, "learning rate"):
        said.append(course("The learning rate", dataclasses.replace(curve, unit="")))
    return " ".join(said) or "Speed and learning rate were not measured."


def explained(report: Report) -> list[Happening]:
    """What befell the run at a known step of its training, after the first."""
    steps = [(h, h.details.get("step")) for h in report.happenings if h.name not in ORDINARY]
    return [h for h, step in steps if isinstance(step, int) and 0 < step <= curves.span(report)[1]]


def scaled(curve: Curve, scale: Any) -> Curve:
    """The curve with all its numbers put through a function."""
    parts: Sequence[tuple[float, ...]] = (curve.values, curve.low, curve.high)
    values, low, high = (tuple(map(scale, part)) for part in parts)
    return dataclasses.replace(curve, values=values, low=low, high=high)


def _befell(frame: Frame, report: Report) -> None:
    """A thin line at each, with its name; those that happened close together share a label."""
    labels: list[tuple[float, list[str]]] = []
    for h in sorted(explained(report), key=lambda h: int(h.details["step"])):
        x, _ = frame.at(h.details["step"], 0)
        frame.down(h.details["step"], "muted", width=0.7, dashes=(3.0, 2.0))
        if labels and x < labels[-1][0] + 0.16:
            labels[-1][1].append(h.name)
        else:
            labels.append((x, [h.name]))
    for x, names in labels:
        words = one_line(", ".join(dict.fromkeys(names)), most=32)
        side, gap = ("left", 0.03) if x < frame.left + 0.2 else ("right", -0.03)  # clear of the axis
        frame.text((x + gap, frame.bottom + frame.height), words, "muted", size=8, rotation=90, ha=side, va="top")


def _spans(values: Sequence[float]) -> bool:
    finite = [x for x in values if math.isfinite(x)]
    return bool(finite) and len(finite) == len(values) and min(finite) > 0 and max(finite) / min(finite) > SPAN


def _exp(x: float) -> float:
    return math.inf if x >= 709 else math.exp(x)
