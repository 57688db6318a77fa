"""One step of a watched training measured: its reach, its gates, and which lags made a norm that was clipped."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from retrograd.errors import NotMeasured, ShapeError, UsageError
from retrograd.experiments.measuring import activation_of, described
from retrograd.experiments.watching.again import traced
from retrograd.experiments.watching.calls import Call
from retrograd.measures import WindowAdequacy, horizon, reach, saturation, window
from retrograd.reports import Measurement
from retrograd.trace import Trace

ANCHORS = 2  # losses whose gradient is told apart by lag: the dearest of the measurements


@dataclass(frozen=True)
class Look:
    measured: Measurement
    subject: dict[str, str | int | float | None]  # what was measured, in words
    activation: str | None  # of the plain layers
    notes: tuple[str, ...]  # what a reader should know of how
    seconds_by_lag: float | None  # what the gradient of W_hh by lag took; None where it was not asked for


def looked(model: nn.Module, calls: Sequence[Call], *, step: int, by_lag: bool) -> Look:
    """The calls of one step measured; with `by_lag` also which lags made the gradient of the recurrent weights."""
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
    gates, begin = saturation(trace) if known else None, time.monotonic()
    lags = _window(trace) if by_lag else None
    measured = Measurement(step=step, horizon=h, saturation=gates, window=lags)
    subject = described(model, trace, sequences=h.sequences)
    return Look(measured, subject, activation_of(trace), trace.notes, time.monotonic() - begin if by_lag else None)


def _window(trace: Trace) -> WindowAdequacy | None:
    """The gradient of W_hh by lag; nothing where no layer has one that is known."""
    with suppress(NotMeasured):
        return window(trace, anchors=ANCHORS)
    return None


def _refuse(model: nn.Module) -> None:
    """Raises NotMeasured where a second forward would wait for other processes for ever."""
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    if not alone and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        raise NotMeasured("A model with SyncBatchNorm runs in all processes or none, so it cannot be run again in one.")
