"""N[t, k] against autograd through a plain loop, and the rules about anchors and lags."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import Elman, MultiTap
from retrograd.errors import ShapeError, UsageError
from retrograd.measures import reach
from retrograd.numerics import log_norm
from retrograd.trace import record
from tests.trace.brute_force import gradients, unrolled

X, H, B, T = 3, 5, 4, 16


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_reach_joins_the_layers_and_equals_a_plain_loop(kind):
    module, x, w = kind(X, H, num_layers=2).double(), torch.randn(T, B, X).double(), torch.randn(H).double()
    got = reach(record(module, lambda m: (m(x)[0] @ w).square()), anchors=[12, 16], longest=10)
    outputs, states = unrolled(module, x)
    losses = (outputs @ w).square().sum(1)
    for a, t in enumerate((12, 16)):
        joined = torch.cat(gradients(losses[t - 1], states), -1)  # (T+1, B, S)
        for l in range(11):
            truth = joined[t - l].norm(dim=-1)
            torch.testing.assert_close(got.log_norms[a, l].exp(), truth, rtol=1e-10, atol=0)
    assert got.layers == tuple(f"{kind.__name__.lower()}.l{i}" for i in range(2))
    assert got.has_memory == (kind is nn.LSTM)


def test_far_below_the_smallest_float32_the_logarithm_is_exact():
    cell = Elman(1, 1, activation="identity").double()
    nn.init.constant_(cell.weight_hh, 0.5)
    x = torch.randn(900, B, 1)
    stack = Stack([cell])
    got = reach(record(stack, lambda m: m(x.double())[0][..., 0]), anchors=[900], longest=900)
    truth = torch.arange(901).double()[:, None] * math.log(0.5)
    torch.testing.assert_close(got.log_norms[0], truth.expand(-1, B), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("taps", [(1,), (4,), (1, 4), (3, 7)])
def test_through_taps_a_gradient_falls_once_in_as_many_steps_as_each_is_long(taps):
    """A single linear unit: of the companion matrix's power the row of h, and of one tap alone a staircase."""
    cell, w = MultiTap(1, 1, taps=taps, activation="identity").double(), 0.7 / len(taps)
    nn.init.constant_(cell.weight_hh, w)
    x = torch.randn(60, B, 1).double()
    got = reach(record(Stack([cell]), lambda m: m(x)[0][..., 0]), anchors=[60], longest=60)
    companion = torch.diag(torch.ones(max(taps) - 1, dtype=torch.float64), -1)
    for d in taps:
        companion[0, d - 1] = w
    for l in range(61):
        truth = torch.linalg.matrix_power(companion, l)[0].norm().log()  # the loss is on h, the first of the state
        torch.testing.assert_close(got.log_norms[0, l], truth.expand(B), rtol=1e-10, atol=1e-12)
    if len(taps) == 1:
        times = torch.tensor([-(-l // taps[0]) for l in range(61)], dtype=torch.float64)
        torch.testing.assert_close(got.log_norms[0, :, 0], times * math.log(w), rtol=1e-10, atol=1e-12)
    assert not got.has_memory


def test_an_impossible_path_is_minus_infinity():
    stack, x = Stack([Elman(X, H)]), torch.randn(T, B, X)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[10, 2] = True
    got = reach(record(stack, lambda m: m(x, None, starts)[0].sum(-1)), anchors=[T], longest=T)
    assert (got.log_norms[0, 6:, 2] == -math.inf).all()
    assert got.log_norms[0, :6].isfinite().all()


def some(module=None, **shape):
    module = module or nn.GRU(X, H)
    x = torch.randn(shape.get("steps", T), B, X)
    return record(module, lambda m: m(x)[0].square().sum(-1))


def test_left_to_itself_it_takes_four_anchors_in_the_last_quarter():
    got = reach(some())
    assert got.anchors == (13, 14, 15, 16)
    assert got.longest == 12
    assert reach(some(steps=400)).anchors == (325, 350, 375, 400)


def test_a_number_of_anchors_is_spread_over_the_steps_that_are_far_enough():
    assert reach(some(), anchors=2, longest=8).anchors == (12, 16)
    assert reach(some(), anchors=50, longest=14).anchors == (14, 15, 16)
    assert reach(some(), anchors=[9, 11]).longest == 9


@pytest.mark.parametrize("options", [{"longest": 17}, {"longest": 0}, {"anchors": [4], "longest": 5}, {"anchors": []}])
def test_a_lag_that_reaches_beyond_the_start_is_refused(options):
    with pytest.raises(UsageError, match="longest lag"):
        reach(some(), **options)


def test_a_single_loss_is_one_anchor_counted_from_the_last_step():
    module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
    one = reach(record(module, lambda m: m(x)[0][-1].square().sum()))
    assert (one.anchors, one.longest, one.per_step) == ((T,), T, False)
    each = reach(record(module, lambda m: m(x)[0].square().sum(-1)), anchors=[T], longest=T)
    torch.testing.assert_close(one.log_norms, each.log_norms, rtol=1e-12, atol=1e-12)


def test_a_single_loss_of_a_packed_sequence_is_counted_from_each_sequences_own_end():
    module, x = nn.GRU(X, H).double(), torch.randn(T, 2, X).double()
    packed = pack_padded_sequence(x, torch.tensor([9, T]), enforce_sorted=False)
    got = reach(record(module, lambda m: m(packed)[1].square().sum()))
    alone = reach(record(module, lambda m: m(x[:9, :1])[1].square().sum()))
    assert got.longest == 9
    torch.testing.assert_close(got.log_norms[..., :1], alone.log_norms, rtol=1e-12, atol=1e-12)


def test_backward_layers_are_left_out_unless_they_are_named():
    trace = some(nn.GRU(X, H, bidirectional=True))
    assert reach(trace).layers == ("gru.l0",)
    assert reach(trace, layers=["gru.l0.reverse"]).layers == ("gru.l0.reverse",)
    with pytest.raises(UsageError, match=r"There are: gru.l0, gru.l0.reverse"):
        reach(trace, layers=["gru.l7"])


def test_a_decoder_goes_on_with_the_clock_of_its_encoder():
    model = nn.ModuleDict({"reader": nn.GRU(X, H), "writer": nn.GRU(X, H)})
    x = torch.randn(T, B, X)

    def loss(m):
        _, state = m["reader"](x)
        return m["writer"](x[:7], state)[0].sum(-1)

    trace = record(model, loss)
    found = reach(trace, longest=T + 7)
    assert (found.length, found.anchors, found.layers) == (T + 7, (T + 7,), ("reader.l0", "writer.l0"))
    reader, writer = (log_norm(g) for g in trace.gradients(T + 7))
    torch.testing.assert_close(found.log_norms[0], torch.cat([reader, writer[1:]]).flip(0), rtol=0, atol=1e-12)
    alone = reach(trace, layers=["writer.l0"], longest=6)
    assert torch.equal(alone.log_norms, found.log_norms[:, :7])
    with pytest.raises(UsageError, match="at most the earliest anchor, 6; got 7"):
        reach(trace, layers=["writer.l0"], longest=7)


def test_losses_with_the_batch_first_are_refused():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)
    with pytest.raises(ShapeError, match="transpose"):
        reach(record(module, lambda m: m(x)[0].sum(-1).T))
