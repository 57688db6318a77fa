"""What one layer's own recurrence carries back, by the time at which it entered.

    delta[e -> k] = J[k+1]^T ... J[e]^T entering[e]          entering[e]: the gradient from above at step e

Summed over e, as vectors, it is autograd's total dL/ds[k]. In a net of two layers reach is more than carry: some of it
travels through the layer above. Each gradient travels at a length near one, beside the logarithm of what it really is,
so that none underflows. Axes: E entry times, T time, B batch, S state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.bptt.native import Maps, no_native, swept
from retrograd.cells import GRU, LSTM, Cell, Elman, Local
from retrograd.errors import UsageError
from retrograd.measures.step_jacobians import unitwise
from retrograd.numerics import all_finite, unit
from retrograd.trace import LayerTrace, Trace

NEAR, FAR = 1e-12, 1e12  # the lengths between which a gradient travels: their squares are no more than float32 holds

SWEPT = (Elman, GRU, LSTM)


@dataclass(frozen=True, eq=False)
class Carry:
    """ln |delta[e -> k]|; -inf where k is after e, and wherever nothing arrives."""

    log_norms: Tensor  # (E, T+1, B)
    entries: tuple[int, ...]  # the steps e, from 1
    total: Tensor  # (T+1, B, S): sum over these entries of delta[e -> k]; float32 may end on its way, as in autograd
    layer: str


def carry(
    trace: Trace, layer: int = 0, *, entries: Sequence[int] | None = None, precision: torch.dtype | None = None
) -> Carry:
    """The gradient of the summed loss that enters a layer at each of `entries` (all steps if left out), taken back.

    All T steps take about T^2 / 2 pullbacks; a few entries of a long sequence take a few T. They are taken in the
    precision of the record, or in `precision`: float32 is right to about 1e-4 of each norm however small or large, and
    twice as fast. (A cell without an equation, and steps that do not all lead on, keep the precision of the record.)

    >>> carry(trace, 0).total.allclose(trace.layers[0].total)
    True
    """
    it = trace.layers[layer]
    steps = range(1, len(it) + 1) if entries is None else sorted(set(entries))
    if not steps or steps[0] < 1 or steps[-1] > len(it):
        raise UsageError(f"Entries are steps from 1 to {len(it)}, got {list(steps)}.")
    own = it.states.dtype
    entering = it.entering[[step - 1 for step in steps]]
    cell = _plain(it)
    if cell is not None:
        local = it.linear if precision in (None, own) else it.linear.to(precision)
        log_norms, total = _swept(cell, local, entering, steps)
    else:
        log_norms, total = taken_back(it.back, entering, steps, length=len(it), dtype=own)
    return Carry(log_norms=log_norms, entries=tuple(steps), total=total.to(it.states), layer=it.name)


def _plain(layer: LayerTrace) -> Cell | None:
    """The layer's cell, where every step leads on from the one before by its equation and finite numbers."""
    if layer.cell is None or layer.starts is not None or layer.live is not None or len(layer.runs) != 1:
        return None
    return layer.cell if all_finite([layer.states, *layer.cell.parameters()]) else None


def _swept(cell: Cell, local: Local, entering: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """As `taken_back`, by the kernels where these know the cell's steps."""
    if type(cell) not in SWEPT or no_native(cell) or local.state.dtype not in (torch.float32, torch.float64):
        length, dtype = len(local.state), local.state.dtype
        return taken_back(lambda t, d: local[t - 1].pullback(d)[0], entering, steps, length=length, dtype=dtype)
    it = unitwise(cell, local)
    maps = Maps(it.to_a.movedim(0, 2), it.direct.movedim(0, 2), it.weight_hh)
    units, logs = unit(entering)
    return swept(maps, torch.tensor(steps), units.to(it.to_a), logs.nan_to_num(0, 0, 0), entering.to(it.to_a))


def taken_back(
    back: Callable[[int, Tensor], Tensor], entering: Tensor, steps: Sequence[int], *, length: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What enters at each of `steps` (E, B, S), taken back by `back(t, .)`, the J[t]^T of a stack.

    ln |.| (E, T+1, B), and the sum of all entries (T+1, B, S).

    The latest entry comes last, and others join to its left; behind them travels their sum.
    """
    _, batch, size = entering.shape
    units, logs = unit(entering)
    total = entering.new_zeros(length + 1, batch, size, dtype=dtype)
    delta, scale = total.new_zeros(len(steps) + 1, batch, size), logs.new_zeros(len(steps), batch)
    norms = total.new_zeros(len(steps), length + 1, batch)
    scales = logs.new_zeros(norms.shape)  # ln of what each row of delta was divided by
    first = len(steps)
    for k in range(steps[-1], -1, -1):
        if first < len(steps):
            delta[first:] = back(k + 1, delta[first:])
        if first and k == steps[first - 1]:
            first -= 1
            delta[first], scale[first] = units[first], logs[first].nan_to_num(0, 0, 0)
            delta[-1] += entering[first]
        rows = delta[first:-1]
        norms[first:, k] = torch.linalg.vector_norm(rows, dim=-1)
        low, high = norms[first:, k].aminmax()
        if not (low > NEAR and high < FAR):
            rows[:], grown = unit(rows)
            norms[first:, k] = torch.linalg.vector_norm(rows, dim=-1)
            scale[first:] += grown.nan_to_num(0, 0, 0)
        scales[first:, k], total[k] = scale[first:], delta[-1]
    return scales + norms.double().log(), total
