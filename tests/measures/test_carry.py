"""What enters a layer and is carried back by it adds up to autograd's total."""

import math
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt import native
from retrograd.bptt.native import library
from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Elman
from retrograd.errors import UsageError
from retrograd.measures import carry
from retrograd.trace import record

carrying = sys.modules["retrograd.measures.carry"]  # its package gives the function by this name
X, H, B, T = 3, 5, 4, 14


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_summed_over_the_entries_it_is_autograds_total(kind, bidirectional):
    module, x = kind(X, H, num_layers=2, bidirectional=bidirectional).double(), torch.randn(T, B, X).double()
    trace = record(module, lambda m: m(x)[0].square().sum(-1))
    for i, layer in enumerate(trace.layers):
        carried = carry(trace, i)
        torch.testing.assert_close(carried.total, layer.total, rtol=1e-10, atol=1e-14)
        assert carried.layer == layer.name


def test_documents_and_packed_sequences_add_up_as_well():
    stack, x, starts = Stack([LSTM(X, H), GRU(H, H)]).double(), torch.randn(T, B, X), torch.rand(T, B) < 0.2
    trace = record(stack, lambda m: m(x.double(), None, starts)[0].square().sum(-1))
    for i, layer in enumerate(trace.layers):
        torch.testing.assert_close(carry(trace, i).total, layer.total, rtol=1e-10, atol=1e-14)
    packed = pack_padded_sequence(x.double(), torch.tensor([5, 14, 2, 9]), enforce_sorted=False)
    trace = record(nn.LSTM(X, H, num_layers=2).double(), lambda m: m(packed)[0].data.square().sum())
    for i, layer in enumerate(trace.layers):
        torch.testing.assert_close(carry(trace, i).total, layer.total, rtol=1e-10, atol=1e-14)


def test_a_diagonal_net_carries_each_entry_by_the_power_of_its_weights():
    """h' = d * h + x: what enters at e arrives at k as d^(e-k) times itself."""
    d = torch.tensor([0.9, -0.5, 0.1], dtype=torch.float64)
    cell = Elman(X, 3, activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(d.diag())
    x = torch.randn(T, B, X).double()
    carried = carry(record(Stack([cell]), lambda m: m(x)[0].sum(-1)), entries=[4, 11])
    assert carried.entries == (4, 11)
    for row, e in enumerate(carried.entries):
        for k in range(T + 1):
            truth = (d ** (e - k)).norm().log().item() if k <= e else -math.inf
            assert carried.log_norms[row, k].tolist() == pytest.approx([truth] * B, rel=1e-12, abs=1e-12)


@pytest.mark.skipif(isinstance(library(), str), reason="there are no kernels here")
@pytest.mark.parametrize("precision", [None, torch.float32])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_kernels_carry_back_what_torch_does_step_by_step(kind, precision, monkeypatch):
    module, x, swept = kind(X, 19).double(), torch.randn(T, B, X).double(), []
    trace = record(module, lambda m: m(x)[0].square().sum(-1))
    monkeypatch.setattr(carrying, "swept", lambda *given: swept.append(native.swept(*given)) or swept[-1])
    found = carry(trace, precision=precision)
    assert len(swept) == 1
    monkeypatch.setattr(carrying, "SWEPT", ())
    truth = carry(trace, precision=precision)
    assert len(swept) == 1
    tolerance = 1e-12 if precision is None else 1e-5
    torch.testing.assert_close(found.log_norms, truth.log_norms, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.total, truth.total, atol=tolerance, rtol=0)


def test_a_closed_gate_is_not_lost_beside_large_weights(monkeypatch):
    """A GRU whose z is e^-60 beside a nilpotent W_hn: the gradient goes on by z alone."""
    module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
    with torch.no_grad():
        module.weight_hh_l0.zero_()[2 * H :] = 100 * torch.ones(H, H).double().tril(-1)
        module.bias_hh_l0[H : 2 * H] = -60
    trace = record(module, lambda m: m(x)[0].square().sum(-1))
    found = carry(trace)
    monkeypatch.setattr(carrying, "SWEPT", ())
    torch.testing.assert_close(found.log_norms, carry(trace).log_norms, atol=1e-9, rtol=0)


def test_a_batch_without_a_sequence_carries_nothing():
    trace = record(nn.RNN(X, H), lambda m: m(torch.randn(T, 0, X))[0].square().sum(-1))
    assert carry(trace).log_norms.shape == (T, T + 1, 0)


def test_a_few_entries_are_rows_of_all():
    module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
    trace = record(module, lambda m: m(x)[0].square().sum(-1))
    every, few = carry(trace, 0), carry(trace, 0, entries=[3, 14, 8])
    assert few.entries == (3, 8, 14)
    torch.testing.assert_close(few.log_norms, every.log_norms[[2, 7, 13]])


@pytest.mark.parametrize(
    ("kind", "scale"),  # of W_hh
    [(nn.RNN, 0.3), (nn.GRU, 0.3), (nn.LSTM, 0.3), (partial(nn.RNN, nonlinearity="relu"), 3.0)],
    ids=["RNN", "GRU", "LSTM", "RNN that explodes"],
)
def test_float32_tells_the_same_however_small_or_large(kind, scale):
    module, x = kind(X, H), torch.randn(400, B, X)
    with torch.no_grad():
        module.weight_hh_l0.mul_(scale)
    trace = record(module, lambda m: m(x)[0].sum(-1))
    exact, quick = carry(trace), carry(trace, precision=torch.float32)
    assert exact.log_norms[exact.log_norms.isfinite()].abs().max() > 90  # float32 ends at 88
    assert quick.log_norms.dtype == torch.float64
    torch.testing.assert_close(quick.log_norms, exact.log_norms, rtol=0, atol=5e-4)


def test_what_is_zero_or_not_finite_stays_so_and_leaves_the_others_alone():
    """h' = relu(d h + x): dead where x is negative, and the second sequence's loss is NaN."""
    cell, x = Elman(1, 1, activation="relu").double(), torch.ones(T, 3, 1).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.fill_(0.0)
        cell.weight_ih.fill_(1.0), cell.weight_hh.fill_(1e-3)
    x[5, 0] = -9.0
    weight = torch.tensor([1.0, torch.nan, 1.0])
    logs = carry(record(Stack([cell]), lambda m: m(x)[0].sum(-1) * weight), entries=[T]).log_norms[0]
    assert logs[:6, 0].eq(-math.inf).all()
    assert logs[6:, 0].isfinite().all()
    assert logs[:, 1].isnan().all()
    assert logs[:, 2].tolist() == pytest.approx([(T - k) * math.log(1e-3) for k in range(T + 1)])


@pytest.mark.parametrize("entries", [[0], [15], []])
def test_an_entry_that_is_no_step_is_refused(entries):
    x = torch.randn(T, B, X)
    trace = record(nn.GRU(X, H), lambda m: m(x)[0].sum(-1))
    with pytest.raises(UsageError, match="from 1 to 14"):
        carry(trace, 0, entries=entries)
