"""The adding problem: two numbers of many are marked, and their sum is asked at the end.

    step    1 ... T                                              T
    number  each ~ U(0, 1)
    mark    1 at one step of the first half, 1 at one step of the second, 0 elsewhere
    target                                                       the sum of the two marked numbers

task.length is T. The first mark may stand on the first step, so the gradient must travel T - 1 steps back to it. The
best answer that looks at nothing is 1, and costs the variance of the sum of two uniform numbers: 2 / 12 = 1/6. After
Hochreiter and Schmidhuber (1997), experiment 4, with numbers and marks as in Le, Jaitly and Hinton (2015).
"""

import math

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.tasks.drawn import Problem
from retrograd.tasks.window import Sizes

LENGTH = 150


def adding(settings: config.Task) -> Problem:
    return Problem(
        _draw,
        Sizes(2, 1, numbers=True),
        length=settings.length or LENGTH,
        need=lambda length: length - 1,
        guess=1 / 6,
        lengths=(10, 50, 100, 150, 200, 400),
        shortest=2,
    )


def _draw(batch: int, generator: Generator, length: int) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, 2), a number and a mark each; targets (T, B)."""
    numbers = torch.rand(length, batch, generator=generator)
    half = length // 2
    first = torch.randint(half, (1, batch), generator=generator)
    second = torch.randint(half, length, (1, batch), generator=generator)
    marks = torch.zeros(length, batch).scatter_(0, torch.cat([first, second]), 1.0)
    targets = torch.full((length, batch), math.nan)
    targets[-1] = (numbers * marks).sum(0)
    return torch.stack([numbers, marks], dim=-1), targets
