"""Copying memory: ten symbols are read, and told again in order after a long blank.

    step    1 ... 10       11 ... T + 9   T + 10   T + 11 ... T + 20
    input   the symbols    blank          go       blank
    target                                         the symbols

task.length is T, the steps from the end of the symbols to the beginning of their copies. Each symbol is asked exactly
T + 10 steps after it was read, and so far the gradient must travel. Guessing costs ln(symbols).

The paper asks for a blank at each of the other T + 10 steps too, and takes the mean over all T + 20: its loss, where
the blanks are told without fault, is 10 / (T + 20) of the one here, and its baseline 10 ln(8) / (T + 20). Here only the
ten are asked, so that the share that is told right is of what was remembered. Arjovsky, Shah and Bengio (2016).
"""

import math

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.tasks.drawn import Problem
from retrograd.tasks.window import IGNORED, Sizes

COPIED = 10  # symbols to be remembered
BLANKS, SYMBOLS = 100, 8


def copying(settings: config.Task) -> Problem:
    symbols = settings.symbols or SYMBOLS
    blank, go = symbols, symbols + 1

    def draw(batch: int, generator: Generator, blanks: int) -> tuple[Tensor, Tensor]:
        message = torch.randint(symbols, (COPIED, batch), generator=generator)
        inputs = torch.full((blanks + 2 * COPIED, batch), blank)
        inputs[:COPIED] = message
        inputs[-COPIED - 1] = go
        targets = torch.full_like(inputs, IGNORED)
        targets[-COPIED:] = message
        return inputs, targets

    return Problem(
        draw,
        Sizes(symbols + 2, symbols),
        length=settings.length or BLANKS,
        need=lambda blanks: blanks + COPIED,
        guess=math.log(symbols),
        lengths=(10, 20, 50, 100, 200, 500),
        shortest=1,
        answers=COPIED,
        counts="blanks",
        version=f"{symbols} {COPIED}",
    )
