"""How far a number over the sequences of a batch could be off: its bootstrap interval (Efron, 1979).

Sequences are drawn with replacement, as many as there are; the interval is the middle 95 % of what the number is in
each draw. The generator is a private one. Axes: R resamples, N sequences.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; no interval for a single sequence, which has no spread."""

    value: float
    low: float | None
    high: float | None


def estimate(statistic: Callable[[Tensor], Tensor], sequences: int, *, resamples: int = 200, seed: int = 0) -> Estimate:
    """The statistic of all sequences, and its interval.

    It is told which of them to take, (..., N) numbers from 0, some of them twice and some not at all; it gives (...).
    """
    value = float(statistic(torch.arange(sequences)))
    if sequences < 2:
        return Estimate(value, None, None)
    drawn = torch.randint(sequences, (resamples, sequences), generator=torch.Generator().manual_seed(seed))
    low, high = bounds(statistic(drawn))
    return Estimate(value, float(low), float(high))


def bounds(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The middle 95 % along the first axis, by the nearest rank; NaN where a sample is."""
    n = len(samples) - 1
    ordered, lost = samples.sort(0).values, samples.isnan().any(0)
    low, high = ordered[math.floor(0.025 * n)], ordered[math.ceil(0.975 * n)]
    return torch.where(lost, math.nan, low), torch.where(lost, math.nan, high)


def quantile(x: Tensor, q: float, dim: int = -1) -> Tensor:
    """By the nearest rank (the lower of two), which infinities do not upset; NaN where one is."""
    rank = math.ceil(q * x.shape[dim]) - 1
    return torch.where(x.isnan().any(dim), math.nan, x.sort(dim).values.select(dim, rank))
