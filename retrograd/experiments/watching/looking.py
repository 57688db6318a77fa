"""One step of a watched training measured: its reach, its gates, and which lags made a norm that was clipped."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from retrograd.errors import NotMeasured, ShapeError, UsageError
from retrograd.experiments.watching.again import traced
from retrograd.experiments.watching.calls import Call
from retrograd.measures import WindowAdequacy, horizon, reach, saturation, window
from retrograd.reports import Measurement
from retrograd.trace import Trace


@dataclass(frozen=True)
class Look:
    measured: Measurement
    subject: dict[str, str | int | float | None]  # what was measured, in words
    notes: tuple[str, ...]  # what a reader should know of how


def looked(model: nn.Module, calls: Sequence[Call], *, step: int, cut: bool) -> Look:
    """The calls of one step measured; of a step whose norm is `cut` by clipping, also which lags made that norm."""
    _refuse(model)
    trace = traced(model, calls)
    try:
        h = horizon(reach(trace))
    except (NotMeasured, UsageError, ShapeError):
        if not trace.per_step:
            raise
        trace = replace(trace, losses=trace.losses.sum())  # the losses cannot be laid on the steps
        h = horizon(reach(trace))
    known = any(layer.cell for layer in trace.layers)
    measured = Measurement(
        step=step,
        horizon=h,
        saturation=saturation(trace) if known else None,
        window=_window(trace) if cut else None,
    )
    subject: dict[str, str | int | float | None] = {
        "layers": ", ".join(f"{layer.name} {layer.kind.lower()}" for layer in trace.layers),
        "mode": "training" if model.training else "evaluation",
        "steps": len(trace),
        "sequences": h.sequences,
        "losses": "one a step" if trace.per_step else "one number",
    }
    return Look(measured, subject, trace.notes)


def _window(trace: Trace) -> WindowAdequacy | None:
    """The gradient of W_hh by lag; nothing where no layer has one that is known."""
    with suppress(NotMeasured):
        return window(trace)
    return None


def _refuse(model: nn.Module) -> None:
    """Raises NotMeasured where a second forward would wait for other processes for ever."""
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    if not alone and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        raise NotMeasured("A model with SyncBatchNorm runs in all processes or none, so it cannot be run again in one.")
