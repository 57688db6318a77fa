"""Denormal numbers: flushed while training, exact while measuring.

A gradient that vanishes ends in numbers under 1.2e-38, on which the processor takes many times as long; training that
flushes them to zero is not slowed by its own dead gradients. What is measured is never flushed.

The setting belongs to a thread, and each of torch's product threads has its own. The native kernels' library reaches
all of them. Without it a worker keeps the setting of the moment in which it was born, torch hands its own on for its
own kernels, and matrix products are flushed on the calling thread's share only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from retrograd.bptt.native import Library, library


@contextmanager
def flush_denormals(on: bool) -> Iterator[None]:
    """Take numbers under 1.2e-38 as zero (on) or exactly (off) inside the block, and restore what was found."""
    before = denormals_are_flushed()
    if isinstance(kernels := library(), Library):
        found = kernels.flush([on] * torch.get_num_threads())
    else:
        found = None
        if not before:
            torch.ones(1 << 18).mul(1.0)  # wakes the workers, so that they are born exact
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        if found is not None and isinstance(kernels, Library):
            kernels.flush(found)
        torch.set_flush_denormal(before)


def flush_from_the_start() -> None:
    """Flush for good, in a process that has computed nothing yet: its workers are then born flushing too.

    What is measured in float64 is not touched: its numbers are normal down to 1e-308. (A thread of its own for the
    training would flush as well, and costs a third of the speed: two teams of workers stand in each other's way.)
    """
    torch.set_flush_denormal(True)


def denormals_are_flushed() -> bool:
    return float(torch.tensor([1e-39]).mul(1.0)) == 0.0
