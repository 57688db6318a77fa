"""Sequences of several lengths in one batch, without a step behind any one's end.

Sorted by length, the batch shrinks as the steps go on. The native kernels take it whole; the other backends take the
stretches between two ends, each of a full batch. Axes: T time, B batch, X input, H hidden, S state.
"""

from itertools import pairwise

import torch
from torch import Tensor

from retrograd.bptt.embedded import Backend
from retrograd.bptt.native import native_rows, shrinking
from retrograd.cells import Cell
from retrograd.errors import ShapeError, UsageError


def check_lengths(lengths: Tensor | None, starts: Tensor | None, shape: torch.Size) -> Tensor | None:
    """As integers on the CPU; None where all sequences have all steps.

    Raises ShapeError for lengths that x, of shape (T, B, X), does not have, and UsageError beside starts.
    """
    if lengths is None:
        return None
    if starts is not None:
        raise UsageError("lengths and starts do not go together; leave one of them out.")
    steps, batch = shape[:2]
    if lengths.shape != (batch,) or lengths.is_floating_point() or bool(((lengths < 0) | (lengths > steps)).any()):
        raise ShapeError(f"lengths must be (batch,), {(batch,)}, from 0 to {steps}; got {lengths.tolist()}.")
    return None if bool((lengths == steps).all()) else lengths.cpu().long()


def live_steps(lengths: Tensor, steps: int, device: torch.device | None = None) -> Tensor:
    """(T, B): has sequence b a step t?"""
    return torch.arange(steps, device=device)[:, None] < lengths.to(device)


def masks(
    starts: Tensor | None, lengths: Tensor | None, x: Tensor, *, reverse: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """For who takes a Stack's steps one by one: its "starts" and "live" (T, B) in their order, those that there are.

    And `live` as x lies. Raises ShapeError and UsageError as the Stack does.
    """
    lengths = check_lengths(lengths, starts, x.shape)
    live = None if lengths is None else live_steps(lengths, len(x), x.device)
    found = {name: mask for name, mask in (("starts", starts), ("live", live)) if mask is not None}
    return {name: mask.flip(0) if reverse else mask for name, mask in found.items()}, live


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (T, B, X), each sequence from its own last step to its first; what lies behind its end stays there."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x))[:, None]
    places = torch.where(steps < lengths, lengths - 1 - steps, steps).to(x.device)
    return x.gather(0, places[..., None].expand_as(x))


def of_lengths(
    run: Backend, cell: Cell, x: Tensor, s0: Tensor, lengths: Tensor, *, whole: bool
) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), zero behind a sequence's end; the state after each one's last step (B, S)).

    `whole`: by the native kernels in one go, instead of by `run`.
    """
    order = lengths.argsort(descending=True, stable=True)
    back = order.argsort()
    if whole:
        outputs, last = _whole(cell, x, s0[order], order, lengths[order])
        return outputs, last[back]
    outputs, last = _by_stretches(run, cell, x[:, order], s0[order], lengths[order])
    return outputs[:, back], last[back]


def _whole(cell: Cell, x: Tensor, s0: Tensor, order: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Of x as it came; s0, lengths and the last states are in `order`, the longest sequence first."""
    steps, batch, _ = x.shape
    live = live_steps(lengths, steps)
    step, row = live.nonzero(as_tuple=True)
    place = step * batch + order[row]  # of each packed row among the T B rows of x
    counts = live.sum(1)
    h, last = native_rows(cell, x.flatten(0, 1).index_select(0, place), s0, shrinking(counts[counts > 0], batch))
    return h.new_zeros(steps * batch, h.shape[1]).index_copy(0, place, h).view(steps, batch, -1), last


def _by_stretches(run: Backend, cell: Cell, x: Tensor, s0: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    pieces, s = [], s0
    for begin, end in pairwise(sorted({0, len(x), *lengths.tolist()})):
        n = int((lengths > begin).sum())
        if not n:
            pieces.append(x.new_zeros(end - begin, len(s), cell.output_size))
            continue
        piece, new = run(cell, x[begin:end, :n], s[:n])
        pieces.append(torch.cat([piece, piece.new_zeros(end - begin, len(s) - n, piece.shape[-1])], 1))
        s = torch.cat([new, s[n:]])
    return torch.cat(pieces), s
