"""What one layer's own recurrence carries back, by the time at which it entered.

    delta[e -> k] = J[k+1]^T ... J[e]^T entering[e]          entering[e]: the gradient from above at step e

Summed over e, as vectors, it is autograd's total dL/ds[k]. In a net of two layers reach is more than carry: some of it
travels through the layer above. Axes: E entry times, T time, B batch, S state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import UsageError
from retrograd.numerics import log_norm
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True, eq=False)
class Carry:
    """ln |delta[e -> k]|; -inf where k is after e, and wherever nothing arrives."""

    log_norms: Tensor  # (E, T+1, B)
    entries: tuple[int, ...]  # the steps e, from 1
    total: Tensor  # (T+1, B, S): sum over these entries of delta[e -> k]
    layer: str


def carry(trace: Trace, layer: int = 0, *, entries: Sequence[int] | None = None) -> Carry:
    """The gradient of the summed loss that enters a layer at each of `entries` (all steps if left out), taken back.

    All T steps take about T^2 / 2 pullbacks; a few entries of a long sequence take a few T.

    >>> carry(trace, 0).total.allclose(trace.layers[0].total)
    True
    """
    it = trace.layers[layer]
    steps = range(1, len(it) + 1) if entries is None else sorted(set(entries))
    if not steps or steps[0] < 1 or steps[-1] > len(it):
        raise UsageError(f"Entries are steps from 1 to {len(it)}, got {list(steps)}.")
    total = torch.zeros_like(it.states)
    log_norms = total.new_full((len(steps), *total.shape[:2]), -torch.inf)
    delta = total.new_zeros(0, *total.shape[1:])
    for k in range(len(it), -1, -1):
        if k < len(it) and len(delta):
            delta = it.back(k + 1, delta)
        if k in steps:
            delta = torch.cat([_entering(it, k), delta])  # the latest entries come last
        log_norms[len(steps) - len(delta) :, k] = log_norm(delta)
        total[k] = delta.sum(0)
    return Carry(log_norms=log_norms, entries=tuple(steps), total=total, layer=it.name)


def _entering(layer: LayerTrace, step: int) -> Tensor:
    return layer.entering[step - 1][None]
