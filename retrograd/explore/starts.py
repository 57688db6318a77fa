"""Recurrent weights that a start by name gives, from a seed, with the global random numbers left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from retrograd.cells import Elman
from retrograd.explore import checks
from retrograd.init import initialise_

LARGEST = 512  # units: eigenvalues in a third of a second


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, what torch draws on the CPU comes from that seed."""
    checks.whole("seed", seed, least=0, most=2**63 - 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def weights(start: str, size: int, *, seed: int, count: int = 1) -> list[tuple[Tensor, Tensor]]:
    """W_hh (H, H) and bias (H) of so many plain cells at that start, one after the other, in float64.

    Raises UnknownName with the nearest name, or UsageError for a start that needs gates.
    """
    checks.whole("size", size, most=LARGEST)
    made = []
    with seeded(seed):
        for _ in range(count):
            cell = Elman(1, size).double()
            initialise_(cell, start)
            bias = cell.get_parameter("bias_ih")
            made.append((cell.weight_hh.detach(), bias.detach()))
    return made
