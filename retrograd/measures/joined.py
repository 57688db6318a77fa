"""The states of several recurrent layers taken as one vector.

    |dL/dS|^2 = sum over layers of |dL/ds|^2          S the layers' states side by side

A lag must mean the same in each of them, so they have to have run for the same number of steps.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, ShapeError, UsageError
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace


def joined_layers(trace: Trace, names: Sequence[str] | None = None) -> list[int]:
    """Where the layers of these names are in the trace; by default all that run forwards.

    Raises NotMeasured where they ran for different numbers of steps, and ShapeError where the losses do not fit.
    """
    known = [layer.name for layer in trace.layers]
    for name in names or ():
        if name not in known:
            raise UsageError(f"No layer of the trace is called {name!r}. There are: {', '.join(known)}.")
    chosen = [i for i, layer in enumerate(trace.layers) if _wanted(layer, names)]
    if not chosen:
        raise NotMeasured(f"No layer runs forwards, so none can be joined. There are: {', '.join(known)}.")
    length = _common_length({known[i]: len(trace.layers[i]) for i in chosen})
    if trace.per_step and len(trace.losses) != length:
        raise ShapeError(
            f"The losses must be (time, batch) or (time,) with {length} steps, got {tuple(trace.losses.shape)}. "
            "If batch comes first, return losses.transpose(0, 1)."
        )
    return chosen


def asked_steps(trace: Trace, length: int) -> Sequence[int]:
    """The steps with a loss that is not exactly 0, as a masked one is; all of them where none is asked that way."""
    if not trace.per_step:
        return [length]
    asked = trace.losses.detach().reshape(length, -1).ne(0).any(1).nonzero().flatten() + 1
    return asked.tolist() or range(1, length + 1)


def joined_log_norms(pieces: Iterable[Tensor]) -> Tensor:
    """ln of the norm over the last axis of all pieces side by side, in float64 on the CPU; -inf is an exact zero."""
    squares = torch.stack([2 * log_norm(piece) for piece in pieces])
    norms: Tensor = squares.logsumexp(0) / 2
    return norms.cpu()


def _wanted(layer: LayerTrace, names: Sequence[str] | None) -> bool:
    return not layer.reverse if names is None else layer.name in names


def _common_length(lengths: dict[str, int]) -> int:
    if len(set(lengths.values())) > 1:
        steps = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise NotMeasured(
            f"The layers ran for different numbers of steps ({steps}), so a lag means something else in each. "
            "Name those to measure together: reach(trace, layers=[...])."
        )
    return next(iter(lengths.values()))
