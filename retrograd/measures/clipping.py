"""How often, and how hard, clipping by norm cut the gradient.

    factor = min(1, c / |g|)          |g| the norm of all gradients before clipping, c the threshold

From logged norms alone, as natural logarithms, because an exploding gradient's norm leaves float32 behind. Pascanu,
Mikolov and Bengio (2013).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retrograd.errors import UsageError
from retrograd.measures.bootstrap import quantile

QUANTILES = (0.1, 0.5, 0.9, 1.0)
ROUNDING = 1e-3  # of the norm: a smaller change between before and after is float32's, and no clipping


@dataclass(frozen=True)
class Clipping:
    """Of all steps that were logged. Quantiles are by the nearest rank."""

    steps: int
    not_finite: int  # steps whose gradient was no number: in none of the figures below
    threshold: float | None  # c, where it is known
    share: float | None  # of the steps that were clipped; None where it is not known what clipping did
    factor: float | None  # what the gradient was multiplied by: the median over the clipped steps
    hardest: float | None  # ... and the smallest
    log_norms: tuple[float, ...]  # ln |g|, the quantiles QUANTILES; empty where no step was finite


def clipping(
    log_norms: Sequence[float], *, threshold: float | None = None, after: Sequence[float] | None = None
) -> Clipping:
    """From ln |g| of each step before clipping, and either the threshold or ln |g| of each step after it.

    >>> clipping([0.0, 1.0, 2.0], threshold=math.e).share
    0.3333333333333333
    """
    if threshold is not None and not 0 < threshold < math.inf:
        raise UsageError(f"A threshold for the norm is a number over 0, got {threshold:g}.")
    if after is not None and len(after) != len(log_norms):
        raise UsageError(f"There are {len(log_norms)} norms before clipping and {len(after)} after it.")
    finite = [i for i, x in enumerate(log_norms) if x < math.inf]
    norms = [log_norms[i] for i in finite]
    factors = _factors(norms, threshold, after and [after[i] for i in finite])
    known = bool(finite) and not (threshold is None and after is None)
    return Clipping(
        steps=len(log_norms),
        not_finite=len(log_norms) - len(finite),
        threshold=threshold,
        share=len(factors) / len(finite) if known else None,
        factor=_quantile(factors, 0.5) if factors else None,
        hardest=min(factors, default=None),
        log_norms=tuple(_quantile(norms, q) for q in QUANTILES) if norms else (),
    )


def _factors(before: Sequence[float], threshold: float | None, after: Sequence[float] | None) -> list[float]:
    """Of the clipped steps. What was seen after clipping counts before what the threshold says."""
    if after is None:
        limit = math.inf if threshold is None else math.log(threshold)
        return [math.exp(limit - x) for x in before if x > limit]
    changes = [y - x for x, y in zip(before, after, strict=True) if x > -math.inf]  # nothing is cut from zero
    return [math.exp(change) for change in changes if change < math.log1p(-ROUNDING)]


def _quantile(values: Sequence[float], q: float) -> float:
    return float(quantile(torch.tensor(values, dtype=torch.float64), q))
