"""What several measures are tried on."""

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import Elman
from retrograd.trace import record
from tests.oracles import STEPS

X, H, B, T = 3, 5, 3, 20


def traced(module, steps=T, batch=B):
    x = torch.randn(steps, batch, X, dtype=next(module.parameters()).dtype)
    return record(module, lambda m: m(x)[0].square().sum(-1))


def textbook(form, cell):
    """(x, s) -> s' by the textbook's equation, with the weights of a cell of ours."""
    return partial(STEPS[form], (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh))


class OwnCell(nn.Module):
    """nn.RNN's equation as somebody would write it."""

    def __init__(self):
        super().__init__()
        self.ih, self.hh = nn.Linear(X, H), nn.Linear(H, H)

    def forward(self, x, h):
        return torch.tanh(self.ih(x) + self.hh(h))


class Loop(nn.Module):
    """A cell called step by step, with a mask on the state in between."""

    def __init__(self, cell, keep=1.0):
        super().__init__()
        self.cell, self.keep = cell, keep

    def forward(self, x):
        h, states = x.new_zeros(x.shape[1], H), []
        for x_t in x:
            h = self.cell(x_t, h)
            states.append(h)
            h = h if self.keep == 1 else self.keep * h
        return torch.stack(states), h


def blind(trace):
    """The same, the equations of its cells unknown."""
    unknown = (tuple(replace(run, cell=None) for run in layer.runs) for layer in trace.layers)
    return replace(
        trace, layers=tuple(replace(layer, runs=runs) for layer, runs in zip(trace.layers, unknown, strict=True))
    )


def without_states():
    """Of a layer that mixes its inputs in time and shows no state."""

    class Smoothing(nn.Module):
        def forward(self, x):
            return x.cumsum(0)

    x = torch.randn(T, B, X, requires_grad=True)
    return record(nn.Sequential(Smoothing()), lambda m: m(x).square().sum(-1))


def register(size: int) -> Stack:
    """A linear net whose state holds the last `size` inputs, the newest first."""
    cell = Elman(1, size, activation="identity")
    with torch.no_grad():
        for x in cell.parameters():
            x.zero_()
        cell.weight_ih[0, 0] = 1
        cell.weight_hh.copy_(torch.diag(torch.ones(size - 1), -1))
    return Stack([cell])
