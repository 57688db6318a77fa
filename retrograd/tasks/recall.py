"""Delayed recall over a known gap: the shortest test of memory.

    step    1        2 ... gap        gap + 1
    input   symbol   noise            ?
    target                            the symbol

task.length is the gap. The loss is asked on the last step alone, so its gradient must travel `gap` steps to reach the
symbol. Guessing costs ln(symbols). After Hochreiter and Schmidhuber (1997), experiment 2.
"""

import math

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.tasks.drawn import VALIDATED, Problem
from retrograd.tasks.window import IGNORED, Sizes

NOISE = 8  # distinct distractors
GAP, SYMBOLS = 50, 8


def recall(settings: config.Task) -> Problem:
    symbols = settings.symbols or SYMBOLS

    def draw(batch: int, generator: Generator, gap: int) -> tuple[Tensor, Tensor]:
        symbol = torch.randint(symbols, (batch,), generator=generator)
        inputs = torch.randint(symbols, symbols + NOISE, (gap + 1, batch), generator=generator)
        inputs[0] = symbol
        inputs[-1] = symbols + NOISE
        targets = torch.full_like(inputs, IGNORED)
        targets[-1] = symbol
        return inputs, targets

    types = symbols + NOISE + 1
    return Problem(
        draw,
        Sizes(types, types),
        length=settings.length or GAP,
        need=lambda gap: gap,
        guess=math.log(symbols),
        lengths=(10, 20, 50, 100, 200),
        shortest=1,
        tested=VALIDATED,
        counts="gap",
        version=f"{symbols} {NOISE}",
    )
