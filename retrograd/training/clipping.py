"""Clipping, by value and by norm.

    by value   g <- max(-c, min(c, g))      each component; changes the direction
    by norm    g <- g min(1, c / |g|)       keeps the direction

torch's clip_grad_norm_ squares a finite 1e20 into an infinite norm and zeroes the gradient; here the norm is taken
on a scale of its own wherever float32 cannot hold it. A gradient that is not finite is left as it is, and said.
Pascanu, Mikolov and Bengio (2013), algorithm 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.numerics import log_total_norm, scale_


@dataclass(frozen=True)
class Clipped:
    """`log_norm` is ln |g| before clipping: -inf for an exact zero, inf or nan where an element is."""

    log_norm: float
    clipped: bool

    @property
    def finite(self) -> bool:
        return self.log_norm < math.inf


def clip_(gradients: Sequence[Tensor], *, norm: float = 0.0, value: float = 0.0) -> Clipped:
    """Clip in place, first each component to +-`value`, then all together to `norm`; 0 turns either off."""
    gradients = list(gradients)
    before = log_norm(gradients)
    if not before < math.inf:
        return Clipped(before, False)
    by_value = value > 0 and _clamp_(gradients, value)
    by_norm = norm > 0 and _scale_(gradients, log_norm(gradients) if by_value else before, math.log(norm))
    return Clipped(before, by_value or by_norm)


def log_norm(gradients: list[Tensor]) -> float:
    """ln of the norm of all gradients as one vector: float32's own where it can be trusted, else on a log scale."""
    if not gradients:
        return -math.inf
    norm = float(torch.nn.utils.get_total_norm(gradients))
    return math.log(norm) if 1e-15 < norm < 1e18 else log_total_norm(gradients)


def _clamp_(gradients: list[Tensor], limit: float) -> bool:
    over = any(bool((g.abs() > limit).any()) for g in gradients)
    torch._foreach_clamp_max_(gradients, limit)
    torch._foreach_clamp_min_(gradients, -limit)
    return over


def _scale_(gradients: list[Tensor], log: float, log_limit: float) -> bool:
    if log <= log_limit:
        return False
    scale_(gradients, log_limit - log)
    return True
