"""Norms that neither underflow nor overflow.

    |x| = m |x / m|,  m = max |x_i|          ln |x| = ln m + ln |x / m|

The square of a float32 under 1e-23 is zero, so the plain norm of a gradient reads 0 long before the gradient
is: after about 65 steps of a default RNN. Zero, underflow and "not finite" stay three different things here.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

SAFE = 1e-140  # a norm over this, and under its inverse, is right as it is: no square that counts was lost


def log_norm(x: Tensor, dim: int = -1) -> Tensor:
    """ln |x| along `dim` in float64: -inf for an exact zero, inf or nan where x holds one."""
    x = x.detach().double()
    norm: Tensor = torch.linalg.vector_norm(x, dim=dim)
    log, doubtful = norm.log(), ~((norm > SAFE) & (norm < 1 / SAFE))
    if doubtful.any():
        log[doubtful] = _scaled(x.movedim(dim, -1)[doubtful])
    return log


def _scaled(x: Tensor) -> Tensor:
    """ln |x| along the last axis, where the squares may be too small or too large for a float64."""
    m = x.abs().amax(-1, keepdim=True)
    scale = torch.where((m > 0) & m.isfinite(), m, torch.ones_like(m))
    scaled: Tensor = torch.linalg.vector_norm(x / scale, dim=-1)
    return scaled.log() + scale.log().squeeze(-1)


def unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """x / |x|, of x's own type, and ln |x| along the last axis; x as it is where that is zero or not finite."""
    log = log_norm(x)
    return (x / torch.where(log.isfinite(), log, 0.0).exp()[..., None]).to(x), log


def log_total_norm(tensors: Iterable[Tensor]) -> float:
    """ln of the norm of all tensors taken as one vector; -inf when every element is zero."""
    logs = [log_norm(x.reshape(-1)) for x in tensors if x.numel()]
    return float(torch.stack(logs).mul(2).logsumexp(0) / 2) if logs else -math.inf


def scale_(tensors: list[Tensor], log: float) -> None:
    """x <- e^log x of each in place: by two factors, as e^log itself may underflow float32."""
    root = math.exp(log / 2)
    torch._foreach_mul_(tensors, root)
    torch._foreach_mul_(tensors, root)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Is every element of every tensor a number?"""
    return all(bool(x.sum().isfinite()) or bool(x.isfinite().all()) for x in tensors)  # a sum may overflow
