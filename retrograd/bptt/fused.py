"""Torch's own kernels on the cell's own weights, one layer at a time.

Elman with tanh or relu, GRU, LSTM     torch.rnn_tanh, rnn_relu, gru, lstm
additive                               h[t] = h[0] + F(x[1]) + ... + F(x[t]), a cumulative sum
"""

from collections.abc import Callable

import torch
from torch import Tensor

from retrograd.bptt.shapes import check_shapes
from retrograd.cells import GRU, LSTM, Additive, Cell, Elman

KERNELS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


def fused(cell: Cell, x: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)), bit for bit those of torch's one-layer module."""
    check_shapes(cell, x, s0)
    if isinstance(cell, Additive):
        h = s0 + cell.update(cell.project(x)).cumsum(0)
        return h, h[-1]
    weights: list[Tensor] = list(cell.parameters())
    layers, dropout, bidirectional, batch_first = 1, 0.0, False, False
    # torch's flag `train` keeps what the way back needs; it draws nothing where dropout is 0
    options = (cell.bias_ih is not None, layers, dropout, torch.is_grad_enabled(), bidirectional, batch_first)
    parts = 2 if cell.has_memory else 1
    s = [part.unsqueeze(0).contiguous() for part in s0.chunk(parts, -1)]
    if isinstance(cell, LSTM):
        outputs, *last = torch.lstm(x, s, weights, *options)
    elif isinstance(cell, GRU):
        outputs, *last = torch.gru(x, s[0], weights, *options)
    else:
        assert isinstance(cell, Elman)
        outputs, *last = KERNELS[cell.activation](x, s[0], weights, *options)
    return outputs, torch.cat(last, -1).squeeze(0)


def no_kernel(cell: Cell) -> str | None:
    """Why this cell cannot run on torch's kernels, or None where it can."""
    if isinstance(cell, Additive | GRU | LSTM) or (isinstance(cell, Elman) and cell.activation in KERNELS):
        return None
    return "torch has a kernel for Elman with tanh or relu, GRU, LSTM and the additive cell only"
