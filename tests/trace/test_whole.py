"""A run that the native kernels take whole is the run taken step by step: 1e-12."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from retrograd.bptt import Stack
from retrograd.bptt.embedded import Embedded
from retrograd.bptt.native import Whole, library
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.trace import pieces, record

B, T, X, H = 3, 12, 4, 7
CELLS = {
    "elman": Elman,
    "relu": lambda x, h: Elman(x, h, activation="relu"),
    "gru": GRU,
    "gru without bias": lambda x, h: GRU(x, h, bias=False),
    "lstm": LSTM,
    "lstm without bias": lambda x, h: LSTM(x, h, bias=False),
    "additive": Additive,
}
LOSSES = {
    "each step": lambda y, s: y.square().sum(-1),
    "one": lambda y, s: y[-1].sin().sum(),
    "the state too": lambda y, s: y.square().sum(-1) + sum(part.sum(-1).exp() for part in s),
    "some sequences": lambda y, s: y[:, :2].cos().sum(-1),
}


STARTS = {
    "none": [],
    "the first": [(0, 1)],
    "two": [(0, 0), (5, 2), (5, 0)],
    "too many": [(t, t % B) for t in range(T)],
}


def everything(model, x, loss, begins):
    """States, totals, what enters, gates, and the gradients of single losses."""
    starts = torch.zeros(T, B, dtype=torch.bool)
    for t, b in begins:
        starts[t, b] = True
    trace = record(model, lambda m: LOSSES[loss](*m(x, None, starts if begins else None)))
    found = [part for layer in trace.layers for part in (layer.states, layer.total, layer.entering)]
    found += [gate for layer in trace.layers for gate in layer.linear.gates.values()]
    if trace.per_step:
        found += [*trace.gradients_at([3, T, 1]), *trace.gradients_at([T - 1], sequences=1)]
    return found


@pytest.mark.skipif(isinstance(library(), str), reason="there are no kernels here")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("starts", STARTS)
def test_whole_is_step_by_step(name, loss, starts, monkeypatch):
    model = Stack([CELLS[name](X, H), CELLS[name](H, H)]).double()
    x, taken = torch.randn(T, B, X, dtype=torch.float64), []
    monkeypatch.setattr(pieces, "whole", lambda *given: taken.append(Whole(*given)) or taken[-1])
    whole = everything(model, x, loss, STARTS[starts])
    assert len(taken) == {"none": 2, "the first": 2, "two": 4, "too many": 0}[starts]
    monkeypatch.setattr(pieces, "whole", lambda *_: None)
    for ours, exact in zip(whole, everything(model, x, loss, STARTS[starts]), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(isinstance(library(), str), reason="there are no kernels here")
@pytest.mark.parametrize("module", [nn.LSTM(X, H, proj_size=3), nn.LSTM(X, H)], ids=["projected", "packed"])
def test_what_the_kernels_do_not_know_goes_step_by_step(module, monkeypatch):
    """A projected cell, and sequences that end at several steps."""
    x, module = torch.randn(T, B, X, dtype=torch.float64), module.double()

    def loss(m):
        given = x if m.proj_size else pack_padded_sequence(x, torch.tensor([T, 7, 2]))
        y, _ = m(given)
        return (y if m.proj_size else pad_packed_sequence(y)[0]).square().sum(-1)

    found = record(module, loss).layers[0]
    monkeypatch.setattr(pieces, "whole", lambda *_: None)
    exact = record(module, loss).layers[0]
    assert found.runs[0].steps._pieces is None
    assert torch.equal(found.total, exact.total)


def test_tokens_with_their_table_are_recorded_as_their_vectors():
    stack, table, tokens = Stack([GRU(X, H)]).double(), torch.randn(3, X, dtype=torch.float64), torch.randint(3, (T, B))
    found, exact = (
        record(stack, lambda m, x=x: m(x)[0].square().sum(-1)).layers[0]
        for x in (Embedded(table, tokens), table[tokens])
    )
    assert torch.equal(found.states, exact.states)
    assert torch.equal(found.total, exact.total)
