"""Pictures of a report, by name, each with its words and its rows.

    >>> FIGURES["reach"].alt(report)
    'At end the horizon is 47 (40 to 55) steps: ...'

`inline` draws them for a page that follows the reader's theme; `export` as files for papers and slides.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from retrograd.reports.plots import (
    attribution,
    curves,
    eigenvalues,
    forgetting,
    gates,
    heat,
    jacobians,
    lyapunov,
    reach,
    training,
    window,
)
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours
from retrograd.reports.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Plot", "measured", "names"]


class Plot(NamedTuple):
    title: str
    draw: "Callable[[Report, Colours], Figure]"
    alt: Callable[[Report], str]  # in words, with its numbers
    rows: Callable[[Report], Iterator[Row]]  # the names of the columns, then the report's own numbers


FIGURES = {
    "reach": Plot("How far back the gradient reaches", reach.reach, reach.reach_alt, reach.reach_rows),
    "horizon": Plot("The horizon through training", reach.horizon, reach.horizon_alt, reach.horizon_rows),
    "loss": Plot(
        "Training and validation loss",
        training.loss,
        training.loss_alt,
        lambda report: curves.curve_rows(report, "loss", "validation"),
    ),
    "gradient-norm": Plot(
        "The norm of the gradient",
        training.gradient_norm,
        training.gradient_norm_alt,
        lambda report: curves.curve_rows(report, "gradient norm", "clipped"),
    ),
    "speed": Plot(
        "Speed and learning rate",
        training.speed,
        training.speed_alt,
        lambda report: curves.curve_rows(report, "tokens per second", "learning rate"),
    ),
    "heat-map": Plot("Each loss's gradient at each state", heat.heat_map, heat.heat_map_alt, heat.heat_map_rows),
    "gates": Plot("Gates, saturation and memory", gates.gates, gates.gates_alt, gates.gates_rows),
    "eigenvalues": Plot(
        "Eigenvalues of the recurrent weights",
        eigenvalues.eigenvalues,
        eigenvalues.eigenvalues_alt,
        eigenvalues.eigenvalues_rows,
    ),
    "attribution": Plot(
        "Why the gradient shrinks or grows",
        attribution.attribution,
        attribution.attribution_alt,
        attribution.attribution_rows,
    ),
    "window": Plot("The gradient by lag and by window", window.window, window.window_alt, window.window_rows),
    "jacobians": Plot(
        "How much many steps stretch a gradient", jacobians.jacobians, jacobians.jacobians_alt, jacobians.jacobians_rows
    ),
    "lyapunov": Plot("The Lyapunov spectrum", lyapunov.lyapunov, lyapunov.lyapunov_alt, lyapunov.lyapunov_rows),
    "forgetting": Plot(
        "How fast the start is forgotten", forgetting.forgetting, forgetting.forgetting_alt, forgetting.forgetting_rows
    ),
}


THROUGH_TRAINING = {"horizon", "loss", "gradient-norm", "speed"}
ASKED_FOR = {"attribution", "window", "jacobians", "lyapunov", "forgetting"}  # not missed where nobody asked


def names(report: Report) -> list[str]:
    """The pictures that such a report may have: a look at a model has none of a training."""
    looked = report.status == "measured"
    known = [name for name in FIGURES if not (looked and name in THROUGH_TRAINING)]
    asked_for = ASKED_FOR | {"heat-map"} if looked else ASKED_FOR
    return [name for name in known if name not in asked_for or _has(name, report)]


def _has(name: str, report: Report) -> bool:
    rows = FIGURES[name].rows(report)
    next(rows)
    return next(rows, None) is not None


def measured(name: str, report: Report) -> bool:
    """Has the picture of that name anything to show?"""
    return name in names(report) and _has(name, report)
