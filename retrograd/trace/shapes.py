"""Several state tensors as one (B, S), and back. The batch comes first, or second as in (layers, B, H)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from retrograd.errors import NotMeasured


class Shapes:
    """How these tensors are laid side by side, and apart again; `beside` is what the cell was given along with them."""

    def __init__(self, tensors: Sequence[Tensor], beside: Sequence[Tensor]) -> None:
        self.shapes = [x.shape for x in tensors]
        sure = {len(x) for x in tensors if x.dim() == 2 or x.dim() > 3}  # of these it comes first
        self.axes = [int(len(x) not in sure) if sure and x.dim() == 3 else _batch(x, beside) for x in tensors]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """(B, S)"""
        pairs = zip(tensors, self.axes, strict=True)
        rows = [x[None] if axis is None else x.movedim(axis, 0) for x, axis in pairs]
        if len({len(x) for x in rows}) != 1:
            shapes = ", ".join(str(tuple(x.shape)) for x in tensors)
            raise NotMeasured(f"The tensors of a cell's state must have one batch in common, got {shapes}.")
        return torch.cat([x.reshape(len(x), -1) for x in rows], -1)

    def split(self, state: Tensor) -> list[Tensor]:
        sizes = [shape.numel() // len(state) for shape in self.shapes]
        found = []
        for piece, shape, axis in zip(
            state.split(sizes, -1),  # type: ignore[no-untyped-call]
            self.shapes,
            self.axes,
            strict=True,
        ):
            first = shape if not axis else (shape[axis], *shape[:axis], *shape[axis + 1 :])
            found.append(piece.reshape(first).movedim(0, axis or 0))
        return found


def _batch(x: Tensor, beside: Sequence[Tensor]) -> int | None:
    """The axis of the sequences; None where there is one, without an axis."""
    first = {len(other) for other in beside if other.dim()}
    second = {other.shape[1] for other in beside if other.dim() > 1}
    if x.dim() < 2:
        several = {len(other) for other in beside if other.dim() > 1}
        return 0 if x.dim() and len(x) in several and len(x) > 1 else None
    if x.dim() != 3:
        return 0
    if len(x) == 1:
        return 1 if x.shape[1] in first | second else 0
    return 1 if x.shape[1] in first and len(x) not in first else 0


def as_rows(x: Tensor | None, like: Tensor) -> Tensor:
    """An input as (B, X), or (B, 0) where there is none of that batch."""
    if x is None or (x.dim() > 1 and len(x) != len(like)):
        return like.new_zeros(len(like), 0)
    return x.detach().reshape(len(like), -1).to(like.dtype)
