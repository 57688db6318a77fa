"""Temporal order: which of two symbols came first, and which then?

    step    1 ...    one of T/10 .. 2T/10    one of 4T/10 .. 5T/10    ... T
    input   noise    X or Y                  X or Y                   noise
    target                                                            XX, XY, YX or YY

task.bits is 2 as here, or 3: the symbols then stand in T/10 .. 2T/10, 3T/10 .. 4T/10 and 6T/10 .. 7T/10, and one of
eight orders is asked. task.length is T. The loss is asked on the last step alone, and its gradient must travel
T - 1 - T/10 steps, back to the earliest place of the first symbol. Guessing costs ln(4), or ln(8). It counts as learned
with under 1 % errors on 10,000 fresh sequences.

Hochreiter and Schmidhuber (1997), experiments 6a and 6b; in the form of Pascanu, Mikolov and Bengio (2013), who leave
out the symbols that mark the beginning and the end.
"""

import math

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.tasks.drawn import Problem
from retrograd.tasks.window import IGNORED, Sizes

NOISE = 4  # distinct distractors
LENGTH, BITS = 100, 2
TENTHS = {2: (1, 4), 3: (1, 3, 6)}  # of the length, after which each symbol's places begin; they end a tenth later


def temporal_order(settings: config.Task) -> Problem:
    bits = settings.bits or BITS

    def draw(batch: int, generator: Generator, length: int) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(2, (bits, batch), generator=generator)
        inputs = torch.randint(2, 2 + NOISE, (length, batch), generator=generator)
        for symbol, tenth in zip(symbols, TENTHS[bits], strict=True):
            place = torch.randint(_first(length, tenth), _first(length, tenth + 1), (1, batch), generator=generator)
            inputs.scatter_(0, place, symbol[None])
        targets = torch.full_like(inputs, IGNORED)
        targets[-1] = sum(symbol << (bits - 1 - i) for i, symbol in enumerate(symbols))
        return inputs, targets

    return Problem(
        draw,
        Sizes(2 + NOISE, 2**bits),
        length=settings.length or LENGTH,
        need=lambda length: length - 1 - _first(length, 1),
        guess=bits * math.log(2),
        lengths=(10, 20, 50, 100, 150, 200),
        shortest=10,
        version=f"{bits} {NOISE}",
    )


def _first(length: int, tenth: int) -> int:
    """The step, from 0, at which that tenth of the sequence is over."""
    return length * tenth // 10
