"""Products of many matrices in a row, where neither underflow nor overflow can lose them.

    P_l = J_l ... J_2 J_1 = e^log * matrix          the largest element of `matrix` is near 1 in size

A product of l matrices is made from those of the largest lag that divides l, so that the powers of two together cost
one matrix product a step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

FAR = 1e60  # from 1: products of two matrices so far from it, and the squares of these, are in range


@dataclass(frozen=True, eq=False)
class Product:
    """Of some consecutive matrices (S, S), and what is known of each of them, added up."""

    matrix: Tensor
    log: float  # -inf where it is exactly zero
    chain: float  # sum of ln sigma_max of the factors: no less than ln sigma_max of the product
    volume: float  # ln |det| / S

    @classmethod
    def of(cls, matrix: Tensor, *, log: float = 0.0, chain: float, volume: float) -> Self:
        """Where its largest element is far from 1, the matrix is scaled in place."""
        low, high = map(float, matrix.aminmax())
        largest = max(-low, high)
        if largest == 0:
            return cls(matrix, -math.inf, chain, volume)
        if 1 / FAR < largest < FAR:
            return cls(matrix, log, chain, volume)
        return cls(matrix.div_(largest), log + math.log(largest), chain, volume)

    def after(self, earlier: "Product") -> "Product":
        return Product.of(
            self.matrix @ earlier.matrix,
            log=self.log + earlier.log,
            chain=self.chain + earlier.chain,
            volume=self.volume + earlier.volume,
        )

    @property
    def log_largest(self) -> float:
        """ln sigma_max."""
        if self.log == -math.inf or not self.matrix.isfinite().all():
            return self.log if self.log == -math.inf else math.nan
        return self.log + math.log(float(torch.linalg.eigvalsh(self.matrix @ self.matrix.mT)[-1])) / 2


def singular_values(matrix: Tensor) -> Tensor:
    """The largest first; all NaN where an element is not finite, which LAPACK refuses."""
    if not matrix.isfinite().all():
        return torch.full(matrix.shape[-1:], math.nan, dtype=matrix.dtype)
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


@dataclass(eq=False)
class _Lag:
    """The products of one lag, as their factors come: each is made of `factors` products of its parent."""

    lag: int
    factors: int
    children: list["_Lag"] = field(default_factory=list)
    begun: Product | None = None
    taken: int = 0

    def add(self, factor: Product) -> Iterator[tuple[int, Product]]:
        self.begun = factor if self.begun is None else factor.after(self.begun)
        self.taken += 1
        if self.taken == self.factors:
            done, self.begun, self.taken = self.begun, None, 0
            yield self.lag, done
            for child in self.children:
                yield from child.add(done)


class Products:
    """The products over each of `lags` consecutive steps, one after the other and without overlap."""

    def __init__(self, lags: Sequence[int]) -> None:
        self._first = _Lag(1, 1)
        known = [self._first]
        for l in sorted(set(lags) - {1}):
            parent = next(lag for lag in reversed(known) if l % lag.lag == 0)
            known.append(_Lag(l, l // parent.lag))
            parent.children.append(known[-1])

    def add(self, step: Product) -> Iterator[tuple[int, Product]]:
        """The next step: what is complete with it, and over which lag; a single step is one."""
        return self._first.add(step)
