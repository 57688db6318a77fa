"""Norms that neither underflow nor overflow, and the state of the floating-point unit.

    |x| = m |x / m|,  m = max |x_i|          ln |x| = ln m + ln |x / m|

The square of a float32 under 1e-23 is zero, so the plain norm of a gradient reads 0 long before the gradient
is: after about 65 steps of a default RNN. Zero, underflow and "not finite" stay three different things here.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def log_norm(x: Tensor, dim: int = -1) -> Tensor:
    """ln |x| along `dim` in float64: -inf for an exact zero, inf or nan where x holds one."""
    x = x.detach().double()
    m = x.abs().amax(dim, keepdim=True)
    scale = torch.where((m > 0) & m.isfinite(), m, torch.ones_like(m))
    scaled: Tensor = torch.linalg.vector_norm(x / scale, dim=dim)
    return scaled.log() + scale.log().squeeze(dim)


def unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """x / |x| and ln |x| along the last axis; x as it is where that is zero or not finite."""
    log = log_norm(x)
    return x / torch.where(log.isfinite(), log, 0.0).exp()[..., None], log


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
    return all(bool(x.isfinite().all()) for x in tensors)


@contextmanager
def flush_denormals(on: bool) -> Iterator[None]:
    """Treat numbers under 1.2e-38 as zero (on) or exactly (off) inside the block, and restore what was found.

    The setting belongs to a thread, and worker threads keep that of the moment in which they are born. So they are
    woken first, and stay exact: torch 2.13 hands the setting on to them for its own kernels, and matrix products
    are flushed on the calling thread's half only. A process that does nothing but train calls `flush_from_the_start`.
    """
    before = denormals_are_flushed()
    if not before:
        torch.ones(1 << 18).mul(1.0)
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def flush_from_the_start() -> None:
    """Flush for good, in a process that has computed nothing yet: its workers are then born flushing too.

    What is measured in float64 is not touched: its numbers are normal down to 1e-308. (A thread of its own for the
    training would flush as well, and costs a third of the speed: two teams of workers stand in each other's way.)
    """
    torch.set_flush_denormal(True)


def denormals_are_flushed() -> bool:
    return float(torch.tensor([1e-39]).mul(1.0)) == 0.0
