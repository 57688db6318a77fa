"""A whole sequence as one operation of torch, in forward and back.

    p = W_ih x + b          one product over all time steps, straight into what the cell will keep
    states                  by the kernels; what the way back needs is left where p stood
    d = [dL/dp, dL/da]      of every step by the kernels, and dL/ds[0]
    dL/dW = d^T [x, h]      one product each over all time steps

Where x are vectors of tokens, p is taken of each type alone, and a step reads the row of its token; back, the d of each
type's steps are summed before they meet x and W_ih.

Axes: N rows of all steps together, V types, X input, H hidden, S state. Rows are packed as in a PackedSequence.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from retrograd.bptt.native.library import Task, address, loaded
from retrograd.errors import UsageError

ELMAN, GRU, LSTM, ADDITIVE = range(4)  # as in source/task.h
GATES = (1, 3, 4, 1)  # blocks of H in the weights
KEPT = (1, 4, 4, 1)  # ... that a step keeps, and gives back


class Rows(NamedTuple):
    """Which rows are which: step t has counts[t] of them, from begin[t] on; counts never grow."""

    counts: Tensor  # (T)
    begin: Tensor  # (T)
    batch: int  # B: sequences, those without a step too
    total: int  # N
    past: Tensor | None  # (N - counts[0]): the row from which each row of step 1 on goes on; None where all have T
    tokens: Tensor | None = None  # (N): the row of x that each row reads; None where it is its own


class Weights(NamedTuple):
    ih: Tensor
    hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None


class Kind(NamedTuple):
    cell: int
    activation: int


class Inputs(NamedTuple):
    kind: Kind
    rows: Rows
    x: Tensor  # (N, X), or (V, X) of tokens
    first: Tensor  # (B, S)
    weights: Weights


class Run(NamedTuple):
    """What comes of a sequence; the last three are for the way back."""

    h: Tensor  # (N, H)
    last: Tensor  # (B, S)
    kept: Tensor  # (N, kept * H); of an Elman cell nothing, for h is all
    c: Tensor  # (N, H) of an LSTM, else nothing


@lru_cache(maxsize=64)
def full(steps: int, batch: int) -> Rows:
    """All sequences have all steps."""
    counts = torch.full((steps,), batch)
    return Rows(counts, torch.arange(steps) * batch, batch, steps * batch, None)


def shrinking(counts: Tensor, batch: int) -> Rows:
    """As in a PackedSequence, whose batch_sizes they are."""
    begin = counts.cumsum(0) - counts
    total, first = int(counts.sum()), int(counts[:1].sum())
    if total == len(counts) * batch:
        return full(len(counts), batch)
    step = torch.repeat_interleave(torch.arange(len(counts)), counts)[first:]
    return Rows(counts, begin, batch, total, torch.arange(first, total) - begin[step] + begin[step - 1])


def forward(inputs: Inputs) -> Run:
    """All states. Raises UsageError where x, the first state and the weights are not of one type, on one device."""
    kind, _, x, first, weights = inputs
    _check(x, first, weights)
    x, first = x.contiguous(), first.contiguous()
    with _exactly():
        p = _projected(kind, x, weights, len(weights.ih) // GATES[kind.cell])
    return states(inputs._replace(x=x, first=first), p)


def _check(x: Tensor, first: Tensor, weights: Weights) -> None:
    kinds = {(t.dtype, t.device) for t in (x, first, *weights) if t is not None}
    if len(kinds) > 1:
        said = " and ".join(sorted(f"{dtype} on {device}".removeprefix("torch.") for dtype, device in kinds))
        raise UsageError(f"The inputs, the first state and the weights must be of one type, on one device; got {said}.")


def _exactly() -> AbstractContextManager[object]:
    """Inside, a product has the type of its operands: under autocast the kernels would take its bytes for others."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def states(inputs: Inputs, p: Tensor) -> Run:
    """All states from the inputs' share p, in whose place stands what the cell keeps unless it is a table."""
    kind, rows, _, first, _ = inputs
    H = p.shape[1] // KEPT[kind.cell]
    kept = p if rows.tokens is None else p.new_empty(rows.total, p.shape[1])
    h = kept if kind.cell == ELMAN else p.new_empty(rows.total, H)
    c = p.new_empty(rows.total if kind.cell == LSTM else 0, H)
    run = Run(h, torch.empty_like(first), p.new_empty(0) if kind.cell == ELMAN else kept, c)
    task = _task(inputs, first, run)
    if rows.tokens is not None:
        task.table, task.tokens = address(p), address(rows.tokens)
    loaded().run(task, back=False)
    return run


def _projected(kind: Kind, x: Tensor, weights: Weights, H: int) -> Tensor:
    W, b, a = weights.ih, weights.bias_ih, weights.bias_hh
    if kind.cell != GRU:
        bias = b if a is None or b is None else b + a
        return x @ W.T if bias is None else torch.addmm(bias, x, W.T)
    kept = x.new_empty(len(x), 4 * H)  # n, r, z, and room for a_n, whose bias stands behind r
    if b is None or a is None:
        torch.mm(x, W[: 2 * H].T, out=kept[:, H : 3 * H])
        torch.mm(x, W[2 * H :].T, out=kept[:, :H])
    else:
        torch.addmm(b[: 2 * H] + a[: 2 * H], x, W[: 2 * H].T, out=kept[:, H : 3 * H])
        torch.addmm(b[2 * H :], x, W[2 * H :].T, out=kept[:, :H])
    return kept


class Gradients(NamedTuple):
    x: Tensor | None
    first: Tensor
    ih: Tensor | None
    hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None


def backward(
    inputs: Inputs,
    run: Run,
    d_h: Tensor | None,
    d_last: Tensor | None,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Gradients:
    """dL/d of everything that went in, from dL/dh (N, H) and dL/dlast (B, S), either of which may be nothing.

    `needs`: that at x, at W_ih, at W_hh? Each is a product that a frozen layer spares.
    """
    d, d_first = at_gates(inputs, run, d_h, d_last)
    with _exactly():
        return _products(inputs, run, d, d_first, needs)


def _products(inputs: Inputs, run: Run, d: Tensor, d_first: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
    kind, rows, x, first, weights = inputs
    needs_x, needs_ih, needs_hh = needs
    x, H = x.contiguous(), run.h.shape[1]
    d_hh = None
    if needs_hh and weights.hh is not None:
        d_hh = _recurrent(d if kind.cell != GRU else d[:, H:], run.h, first[:, :H], rows)
    if rows.tokens is not None:
        d = d.new_zeros(len(x), d.shape[1]).index_add_(0, rows.tokens, d)
    d_x, d_ih = None, torch.empty_like(weights.ih) if needs_ih else None
    for part, gates in _parts(kind, d, H):
        if d_ih is not None:
            torch.mm(part.T, x, out=d_ih[gates])
        if needs_x:
            d_x = part @ weights.ih[gates] if d_x is None else d_x.addmm_(part, weights.ih[gates])
    if weights.bias_ih is None:
        return Gradients(d_x, d_first, d_ih, d_hh, None, None)
    sums = d.sum(0)
    if kind.cell != GRU:
        return Gradients(d_x, d_first, d_ih, d_hh, sums, None if weights.bias_hh is None else sums.clone())
    return Gradients(d_x, d_first, d_ih, d_hh, torch.cat([sums[H : 3 * H], sums[:H]]), sums[H:])


def at_gates(
    inputs: Inputs, run: Run, d_h: Tensor | None, d_last: Tensor | None, *, states: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """d (N, kept * H) of every step and dL/ds[0] (B, S); into `states` (N, S) goes dL/ds[t] of all other states."""
    first = inputs.first.contiguous()
    d_h, d_last = (None if g is None else g.contiguous() for g in (d_h, d_last))
    d, d_first = run.h.new_empty(len(run.h), KEPT[inputs.kind.cell] * run.h.shape[1]), torch.empty_like(first)
    task = _task(inputs, first, run)
    task.d_h, task.d_last, task.d, task.d_first = map(address, (d_h, d_last, d, d_first))
    task.d_states = address(states)
    loaded().run(task, back=True)
    return d, d_first


def _parts(kind: Kind, d: Tensor, H: int) -> list[tuple[Tensor, slice]]:
    """The gradient at p, and the rows of W_ih that it belongs to."""
    if kind.cell == GRU:
        return [(d[:, H : 3 * H], slice(0, 2 * H)), (d[:, :H], slice(2 * H, 3 * H))]
    return [(d, slice(0, d.shape[1]))]


def _recurrent(at_a: Tensor, h: Tensor, first: Tensor, rows: Rows) -> Tensor:
    """dL/dW_hh."""
    begun = int(rows.counts[:1].sum())  # none where no sequence has a step
    past = h[: rows.total - begun] if rows.past is None else h[rows.past]
    return (at_a[:begun].T @ first[:begun]).addmm_(at_a[begun:].T, past)


def _task(inputs: Inputs, first: Tensor, run: Run) -> Task:
    """`first` lies contiguous."""
    kind, rows, _, _, weights = inputs
    hh = weights.hh if weights.hh is None else weights.hh.contiguous()
    bias = weights.bias_hh if weights.bias_hh is None else weights.bias_hh.contiguous()
    task = Task(
        kind.cell,
        kind.activation,
        first.dtype == torch.float64,
        torch.get_num_threads(),
        len(rows.counts),
        rows.batch,
        run.h.shape[1],
        rows.counts.data_ptr(),
        rows.begin.data_ptr(),
        address(hh),
        address(bias),
        first.data_ptr(),
        run.h.data_ptr() if kind.cell == ELMAN else run.kept.data_ptr(),
        None,
        None,
        run.h.data_ptr(),
        run.c.data_ptr(),
        run.last.data_ptr(),
    )
    task.alive = hh, bias, rows  # what the addresses are of
    return task


class Sequence(torch.autograd.Function):
    """(h (N, H), last (B, S)) of x (N, X), first (B, S) and the weights; differentiable once."""

    @staticmethod
    def forward(ctx: Any, kind: Kind, rows: Rows, x: Tensor, first: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        run = forward(Inputs(kind, rows, x, first, Weights(*weights)))
        ctx.kind, ctx.rows = kind, rows
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, first, *weights, *run)
        return run.h, run.last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, first, *rest = ctx.saved_tensors
        inputs = Inputs(ctx.kind, ctx.rows, x, first, Weights(*rest[:4]))
        _, _, needs_x, _, needs_ih, needs_hh, *_ = ctx.needs_input_grad
        found = backward(inputs, Run(*rest[4:]), d_h, d_last, needs=(needs_x, needs_ih, needs_hh))
        return None, None, *found
