"""One model of the zoo against the truth about it.

    worst = max over layers, losses, steps and sequences of  |g - g_true| / |g_true|          g = dL_t/ds[k]

So the reach N = |g| is off by no more. Both are computed on models of their own, made alike. Where the truth is zero,
or under the floor, so must the recorded one be.
"""

import torch
from torch import Tensor

from benchmarks.zoo import ENTRIES, SMALL, Made, Size
from benchmarks.zoo.oracle import default_dtype, seed, truth
from retrograd.trace import Trace, record

TINY = 1e-290


class OtherLayers(Exception):
    """The trace does not hold the layers that the model has."""


def made(name: str, size: Size = SMALL, dtype: torch.dtype = torch.float32) -> Made:
    """The same model at each call."""
    seed()
    with default_dtype(dtype):
        return ENTRIES[name].make(size)


def recorded(name: str, size: Size = SMALL, dtype: torch.dtype = torch.float32) -> Trace:
    model, loss = made(name, size, dtype)
    seed()
    with default_dtype(dtype):
        return record(model, loss)


def check(name: str, size: Size = SMALL, dtype: torch.dtype = torch.float32) -> float:
    """`worst`: 0 would be the truth itself. Raises OtherLayers where the trace holds others than the model has."""
    trace = recorded(name, size, dtype)
    anchors = _anchors(trace)
    mine = trace.gradients_at([len(trace)] if anchors is None else [trace.first_loss + t for t in anchors])
    found = {_plain(layer.name): gradients for layer, gradients in zip(trace.layers, mine, strict=True)}
    true = truth(made(name, size, dtype), ENTRIES[name].look, anchors).gradients
    if found.keys() != true.keys():
        raise OtherLayers(f"expected {', '.join(true)}; recorded {', '.join(found)}")
    floor = ENTRIES[name].floor if dtype == torch.float32 else TINY
    return max(_apart(found[layer], true[layer], floor) for layer in true)


def _anchors(trace: Trace) -> list[int] | None:
    """The last step, and one at three quarters that is asked."""
    if not trace.per_step:
        return None
    losses = trace.losses.detach()
    steps = (losses.reshape(len(losses), -1).ne(0).any(1).nonzero().flatten() + 1).tolist()
    return [steps[len(steps) * 3 // 4], steps[-1]]


def _plain(name: str) -> str:
    return name.removeprefix("_orig_mod.")


def _apart(mine: Tensor, true: Tensor, floor: float) -> float:
    """Of gradients (A, T+1, B, S)."""
    true = true[:, -mine.shape[1] :]
    if mine.shape != true.shape:
        raise OtherLayers(f"expected gradients {tuple(true.shape)}, recorded {tuple(mine.shape)}")
    off, size, recorded = (g.norm(dim=-1) for g in (mine.double() - true, true, mine.double()))
    known = ~size.isnan()
    off, size, recorded = off[known], size[known], recorded[known]
    small = size <= floor * size.max()
    worst = torch.where(small, torch.where(recorded <= 2 * floor * size.max(), 0.0, torch.inf), off / size)
    return float(worst.nan_to_num(nan=torch.inf).max())
