"""Zeros added by hand to the states of a model: autograd's own answer, one loss at a time.

    s[t] + zero[t]          dL/ds[t] = dL/dzero[t]

A loss is written once, loss(model, *marks): every state, as it comes from the cell, goes through a layer's mark. The
recording leaves the marks out, the truth has them be `Probes`.
"""

import random

import numpy
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from retrograd.bptt.stack import Stack
from retrograd.measures import carry
from retrograd.trace import record
from tests.oracles import STEPS
from tests.trace.brute_force import TEXTBOOK

EXACT = 1e-9  # float64 throughout
KINDS = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell, Stack)


def unmarked(*state):
    return state if len(state) > 1 else state[0]


class Probes:
    """The zeros of one layer. `batch` is the axis of the sequences; None where there is one sequence and no axis."""

    def __init__(self, batch=0):
        self.batch, self.zeros, self.states = batch, [], []

    def __call__(self, *state):
        self.zeros.append([torch.zeros_like(piece, requires_grad=True) for piece in state])
        self.states.append([piece + zero for piece, zero in zip(state, self.zeros[-1], strict=True)])
        return unmarked(*(piece.clone() for piece in self.states[-1]))  # which may be written to

    def rows(self, pieces):
        """(B, S)"""
        if self.batch is None:
            return torch.cat([piece.reshape(1, -1) for piece in pieces], -1)
        return torch.cat([piece.movedim(self.batch, 0).flatten(1) for piece in pieces], -1)

    def gradients(self, loss):
        """(K, B, S), of as many states as went through."""
        flat = [zero for zeros in self.zeros for zero in zeros]
        found = iter(torch.autograd.grad(loss, flat, retain_graph=True, materialize_grads=True))
        return torch.stack([self.rows([next(found) for _ in zeros]) for zeros in self.zeros]).double()

    def back(self, t, delta):
        """delta (A, B, S) at the t-th state, at the one before: autograd's own linear map."""
        state = self.rows(self.states[t])
        return torch.stack(
            [
                self.rows(torch.autograd.grad(state, self.zeros[t - 1], d, retain_graph=True, materialize_grads=True))
                for d in delta.to(state.dtype)
            ]
        ).double()


def ran(module, x, hx=None, *marks, lengths=None):
    """What nn.RNN, nn.GRU or nn.LSTM returns for x (T, B, X); with probes, by the textbook, one for each of its layers.

    Of packed sequences, `lengths`: the outputs are padded again.
    """
    if all(mark is unmarked for mark in marks):
        if lengths is None:
            return module(x, hx)
        packed, last = module(pack_padded_sequence(x, lengths, enforce_sorted=False), hx)
        return pad_packed_sequence(packed, total_length=len(x))[0], last
    live = (
        torch.arange(len(x))[:, None, None]
        < (torch.full(x.shape[1:2], len(x)) if lengths is None else lengths)[:, None]
    )
    sizes = [module.proj_size or module.hidden_size, module.hidden_size][: 1 + isinstance(module, nn.LSTM)]
    ways = 2 if module.bidirectional else 1
    zeros = [x.new_zeros(module.num_layers * ways, x.shape[1], size) for size in sizes]
    given = zeros if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
    finals = []
    for layer in range(module.num_layers):
        outputs = []
        for suffix in ("", "_reverse")[:ways]:
            step, mark = _textbook(module, f"_l{layer}{suffix}"), marks[len(finals)]
            state = _tuple(mark(*(part[len(finals)] for part in given)))
            order = range(len(x)) if not suffix else reversed(range(len(x)))
            hs = {}
            for t in order:
                new = (torch.where(live[t], new, old) for new, old in zip(step(x[t], state), state, strict=True))
                state = _tuple(mark(*new))
                hs[t] = state[0] * live[t]
            outputs.append(torch.stack([hs[t] for t in range(len(x))]))
            finals.append(state)
        x = torch.cat(outputs, -1)
    return x, unmarked(*(torch.stack(part) for part in zip(*finals, strict=True)))


def _tuple(state):
    return (state,) if isinstance(state, torch.Tensor) else tuple(state)


def _textbook(module, place):
    names = [f"{name}{place}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]
    W, U, b, d, R = (getattr(module, name, None) for name in names)  # once: a computed weight may change
    if isinstance(module, nn.LSTM) and R is not None:

        def projected(x, state):
            h, c = state
            i, f, g, o = (x @ W.T + b + h @ U.T + d).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return (o.sigmoid() * c.tanh()) @ R.T, c

        return projected
    textbook = STEPS[next(name for kind, name in TEXTBOOK.items() if isinstance(module, kind))]

    def step(x, state):
        new = textbook((W, U, b, d), x, torch.cat(list(state), 1))
        return new.split(new.shape[1] // len(state), 1)

    return step


def check(model, loss, *probes, tolerance=EXACT, jacobians=True, carried=True):
    """The trace, after everything in it has been compared with what the probes say."""
    before = found(model)
    trace = record(model, loss)
    assert found(model) == before
    losses = loss(model, *probes)
    torch.testing.assert_close(trace.losses.detach().double(), losses.detach().double(), rtol=tolerance, atol=tolerance)
    assert len(trace.layers) == len(probes)
    rows = losses.reshape(len(losses) if losses.dim() else 1, -1).sum(1)
    steps = [trace.first_loss + i + 1 for i in range(len(rows))] if losses.dim() else [len(trace)]
    mine = trace.gradients_at(steps)
    for i, (layer, probe) in enumerate(zip(trace.layers, probes, strict=True)):
        first = len(layer) + 1 - len(probe.zeros)  # 1 where the first state is not marked
        assert first in (0, 1)
        truth = torch.stack([probe.gradients(row) for row in rows])
        same(mine[i][:, first:], truth, tolerance)
        same(layer.total[first:], truth.sum(0), tolerance)
        same(layer.states[first:], torch.stack([probe.rows(s) for s in probe.states]), tolerance)
        if carried:
            same(carry(trace, i).total[1:], layer.total[1:], tolerance)
        for t in {1, 2, len(probe.zeros) - 1} & set(range(1, len(probe.zeros))) if jacobians else ():
            delta = torch.randn(2, *layer.states.shape[1:], generator=torch.Generator().manual_seed(t)).double()
            same(layer.back(t + first, delta), probe.back(t, delta), tolerance)
    return trace


def same(mine, truth, tolerance):
    """Within `tolerance` of the largest, and, where that is much, of each."""
    mine, truth = mine.detach().double(), truth.detach().double()
    scale = truth.abs().max().clamp(min=1e-30)
    torch.testing.assert_close(mine / scale, truth / scale, rtol=tolerance, atol=tolerance * 1e-2)


def found(model):
    """All that a recording must leave alone, in a form that can be compared."""
    return {
        "weights": {name: x.tolist() for name, x in model.state_dict().items()},
        "attributes": {name: {key: id(x) for key, x in vars(m).items()} for name, m in model.named_modules()},
        "buffers": {name: [id(x) for x in m._buffers.values()] for name, m in model.named_modules()},
        "gradients": [id(p.grad) for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "classes": [kind.forward for kind in KINDS],
        "random": (torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()),
    }
