"""A latch: keep a symbol until you are told to let it go.

    step    1          2 ... T/2 - 1   T/2      T/2 + 1 ...   one of T/2 + 1 .. T - 1           ... T - 1   T
    input   a symbol   noise           ?        noise         noise, 'let go' or a new symbol   noise       ?
    target                             symbol                                                               what is kept

What is kept at the end is, equally often, the first symbol, nothing, or the new symbol. It takes an input that says
when to forget: a memory that only holds fails two times in three at the end, and one that fades fails before.

task.length is T; task.symbols the number of symbols, 2 where nothing is said. Where nothing was let go, the last answer
lies T - 1 steps after the first symbol, and so far the gradient must travel. The best answer that looks at nothing
names 'nothing' with probability 1/6 and each of K symbols with 5/(6K). Success is under 1 % errors. After the latching
problem of Bengio, Simard and Frasconi (1994), which has no reset, and Gers, Schmidhuber and Cummins (2000), whose
forget gate is for one.
"""

import math

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.tasks.drawn import Problem
from retrograd.tasks.window import IGNORED, Sizes

NOISE = 4  # distinct distractors
LENGTH, SYMBOLS = 100, 2
ENDS = 3  # of a memory: it holds, lets go, is set anew


def latch(settings: config.Task) -> Problem:
    symbols = settings.symbols or SYMBOLS
    let_go, asked = symbols, symbols + 1
    nothing = symbols  # of the answers

    def draw(batch: int, generator: Generator, length: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(symbols + 2, symbols + 2 + NOISE, (length, batch), generator=generator)
        first, anew = torch.randint(symbols, (2, batch), generator=generator)
        end = torch.randint(ENDS, (batch,), generator=generator)
        half = length // 2
        place = torch.randint(half, length - 1, (1, batch), generator=generator)
        noise = inputs.gather(0, place)[0]
        inputs.scatter_(0, place, torch.stack([noise, torch.full_like(end, let_go), anew]).gather(0, end[None]))
        inputs[0] = first
        inputs[[half - 1, -1]] = asked
        targets = torch.full_like(inputs, IGNORED)
        targets[half - 1] = first
        targets[-1] = torch.stack([first, torch.full_like(end, nothing), anew]).gather(0, end[None])[0]
        return inputs, targets

    return Problem(
        draw,
        Sizes(symbols + 2 + NOISE, symbols + 1),
        length=settings.length or LENGTH,
        need=lambda length: length - 1,
        guess=-(math.log(1 / 6) + 5 * math.log(5 / (6 * symbols))) / 6,
        lengths=(10, 20, 50, 100, 200),
        shortest=4,
        answers=2,
        version=f"{symbols} {NOISE}",
    )
