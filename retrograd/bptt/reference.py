"""The plain loop, left to autograd: the truth that the other backends are held to.

s[t] = F(p[t], s[t-1])          t = 1 .. T, p = project(x)
"""

import torch
from torch import Tensor

from retrograd.bptt.shapes import check_shapes
from retrograd.cells import Cell


def reference(cell: Cell, x: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)) of any cell; differentiable any number of times."""
    check_shapes(cell, x, s0)
    states = [s0]
    for p in cell.project(x):
        states.append(cell.recur(p, states[-1]))
    return cell.output(torch.stack(states[1:])), states[-1]
