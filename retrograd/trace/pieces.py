"""A run by the native kernels, cut where new documents begin.

Axes: A losses, T time, B batch, S state, P projection.
"""

from itertools import pairwise

import torch
from torch import Tensor

from retrograd.bptt.native import Whole, whole
from retrograd.cells import Cell, Local

SHORTEST = 4  # steps of a piece on average: with shorter ones nothing is gained


class Pieces:
    """`begins[i]` is the state (0 .. T) from which piece i sets out, where sequences of `starts` are at zero."""

    def __init__(self, begins: list[int], wholes: list[Whole], first: Tensor, starts: Tensor | None) -> None:
        self._begins, self._wholes, self._starts = begins, wholes, starts
        alone = len(wholes) == 1 and starts is None
        # (T+1, B, S)
        self.states = wholes[0].states if alone else torch.cat([first[None], *(it.states[1:] for it in wholes)])
        self.before = self.states[:-1] if starts is None else torch.where(starts[..., None], 0.0, self.states[:-1])

    def linearized(self, cell: Cell) -> Local:
        """All steps at once, (T, B, ...)."""
        each = zip(*(piece.kept for piece in self._wholes), strict=True)
        kept = [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in each]
        return cell.linearized(kept, self.before, self.states[1:])

    def back(self, total: Tensor, ends: Tensor, sequences: int, *, wanted: bool) -> Tensor | None:
        """What enters at each state, total (A, T+1, B, S), becomes the total there, in place.

        One loss after the other, each from the last state that it enters at, `ends` (A), on. Nothing enters the
        sequences after the first so many, and they cost nothing. Where `wanted`, returns the gradient at every p,
        (A, T, B, P), unless nothing enters.
        """
        at_p = None
        total = total[:, :, :sequences]
        for a, end in enumerate(ends.tolist()):
            for begin, piece in zip(reversed(self._begins), reversed(self._wholes), strict=True):
                stop = min(end, begin + piece.steps)
                if stop <= begin:
                    continue
                first, p = piece.back(total[a, begin : stop + 1])
                if self._starts is not None:
                    first.masked_fill_(self._starts[begin, :sequences, None], 0.0)
                total[a, begin] += first
                if wanted:
                    if at_p is None:
                        at_p = p.new_zeros(len(total), *self.before.shape[:2], p.shape[-1])
                    at_p[a, begin:stop, :sequences] = p
        return at_p


def taken(cell: Cell, p: Tensor, s: Tensor, starts: Tensor | None) -> Pieces | None:
    """All states from s (B, S) and the projections p (T, B, P), which it uses up; None where no kernel takes this cell.

    `starts` (T, B): before which steps a sequence's state is set to zero.
    """
    resets = [] if starts is None else starts.any(1).nonzero().flatten().tolist()
    begins = sorted({0, *resets})
    if not len(p) or (len(begins) > 1 and len(p) < SHORTEST * len(begins)):
        return None
    wholes: list[Whole] = []
    for begin, end in pairwise([*begins, len(p)]):
        last = wholes[-1].states[-1] if wholes else s
        piece = whole(cell, p[begin:end], last if starts is None else torch.where(starts[begin, :, None], 0.0, last))
        if piece is None:
            return None
        wholes.append(piece)
    return Pieces(begins, wholes, s, starts)
