"""Tokens that a layer reads, with the table that their vectors stand in: x[t, b] = table[tokens[t, b]].

Where a text has fewer types than steps, W_ih x is cheaper taken of every type than of every step: a backend that can
look up its rows takes `Embedded` as it is, and the others take its numbers. Axes: T time, B batch, V types, X input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional as F

from retrograd.cells import Cell


@dataclass(frozen=True, eq=False)
class Embedded:
    table: Tensor  # (V, X)
    tokens: Tensor  # (T, B)

    @property
    def shape(self) -> torch.Size:
        """(T, B, X), as of the numbers."""
        return torch.Size((*self.tokens.shape, self.table.shape[1]))

    def dim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, steps: slice) -> "Embedded":
        return Embedded(self.table, self.tokens[steps])

    @property
    def repeats(self) -> bool:
        """Are there more steps than types?"""
        return self.tokens.numel() > len(self.table)

    def numbers(self) -> Tensor:
        """(T, B, X). Raises IndexError for a token that the table has not, on a CPU."""
        return F.embedding(self.tokens, self.table)


Read = Tensor | Embedded
Backend = Callable[[Cell, Read, Tensor], tuple[Tensor, Tensor]]  # (x (T, B, X), s0 (B, S)) -> outputs, last state


def numbers(x: Read) -> Tensor:
    return x.numbers() if isinstance(x, Embedded) else x


def of_numbers(run: Callable[[Cell, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Backend:
    """A backend that looks nothing up itself."""

    @wraps(run)
    def taken(cell: Cell, x: Read, s0: Tensor) -> tuple[Tensor, Tensor]:
        return run(cell, numbers(x), s0)

    return taken
