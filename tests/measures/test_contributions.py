"""N[t, k] against autograd through a plain loop and against a closed form; which rows and columns there are."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import Elman
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures import contributions, reach
from retrograd.trace import record
from tests.trace.brute_force import gradients, unrolled

X, H, B, T = 3, 5, 4, 16


def lower_median(norms):
    return sorted(norms.tolist())[(len(norms) - 1) // 2]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_every_element_is_that_of_a_plain_loop(kind):
    module, x, w = kind(X, H, num_layers=2).double(), torch.randn(T, B, X).double(), torch.randn(H).double()
    got = contributions(record(module, lambda m: (m(x)[0] @ w).square()))
    outputs, states = unrolled(module, x)
    losses = (outputs @ w).square().sum(1)
    assert (got.times, got.states) == (tuple(range(1, T + 1)), tuple(range(T + 1)))
    for t, row in zip(got.times, got.log_norms, strict=True):
        joined = torch.cat(gradients(losses[t - 1], states), -1)  # (T+1, B, S)
        truth = [math.log(lower_median(joined[k].norm(dim=-1))) for k in range(t + 1)]
        assert row[: t + 1] == pytest.approx(truth, rel=0, abs=1e-9)
        assert row[t + 1 :] == (None,) * (T - t)


def linear(w, c, steps, loss=lambda h: h):
    """h' = w h + x and L_t = c h[t] in sequence b scaled by b + 1."""
    cell = Elman(1, 1, activation="identity").double()
    nn.init.constant_(cell.weight_hh, w)
    x, scale = torch.randn(steps, B, 1).double(), c * torch.arange(1, B + 1).double()
    return record(Stack([cell]), lambda m: loss(scale * m(x)[0][..., 0]))


@pytest.mark.parametrize("w", [0.5, -0.9, 1.2])
def test_a_scalar_linear_net_has_the_powers_of_its_weight(w):
    """dL_t/dh[k] = c (b+1) w^(t-k), and the lower middle one of b + 1 = 1, 2, 3, 4 is 2."""
    got = contributions(linear(w, 0.3, 400), rows=7, columns=11)
    assert got.times == (1, 67, 134, 200, 267, 333, 400)
    assert got.states == (0, 40, 80, 120, 160, 200, 240, 280, 320, 360, 400)
    for t, row in zip(got.times, got.log_norms, strict=True):
        truth = [math.log(0.6) + (t - k) * math.log(abs(w)) if k <= t else None for k in got.states]
        assert [x is None for x in row] == [x is None for x in truth]
        assert [x for x in row if x is not None] == pytest.approx([x for x in truth if x is not None], rel=1e-9)


def test_many_rows_are_the_same_as_few():
    """More rows than are taken back in one go."""
    trace = linear(0.7, 1.0, 40)
    every = contributions(trace, rows=40)
    few = contributions(trace, rows=3)
    assert few.times == (1, 20, 40)
    for t, row in zip(few.times, few.log_norms, strict=True):
        assert row == pytest.approx(every.log_norms[t - 1])


def test_where_only_the_last_step_is_asked_there_is_one_row():
    last = torch.zeros(T, 1).double()
    last[-1] = 1
    got = contributions(linear(0.5, 1.0, T, lambda losses: losses * last), rows=5)
    assert got.times == (T,)
    truth = [math.log(2) + (T - k) * math.log(0.5) for k in range(T + 1)]
    assert got.log_norms == (pytest.approx(truth, rel=1e-9, abs=1e-9),)


def test_the_rows_are_spread_over_the_steps_that_are_asked():
    asked = torch.zeros(T, 1).double()
    asked[[2, 5, 6, 12, 13]] = 1
    trace = linear(0.5, 1.0, T, lambda losses: losses * asked)
    assert contributions(trace).times == (3, 6, 7, 13, 14)
    assert contributions(trace, rows=3).times == (3, 7, 14)
    assert contributions(trace, rows=1).times == (14,)


def test_a_loss_that_is_not_zero_but_has_no_gradient_has_no_row():
    def constant_at_first(losses):
        return torch.cat([losses[:9].detach() + 1, losses[9:]])

    assert contributions(linear(0.5, 1.0, T, constant_at_first)).times == tuple(range(10, T + 1))


def test_sequences_that_are_not_asked_have_no_say():
    """Of four only the last, which is scaled by 4, is asked."""
    one = torch.tensor([0.0, 0.0, 0.0, 1.0]).double()
    got = contributions(linear(0.5, 1.0, T, lambda losses: losses * one))
    assert got.log_norms[-1][-1] == pytest.approx(math.log(4))


def test_losses_of_zero_with_a_gradient_are_shown():
    assert contributions(linear(0.5, 1.0, T, lambda losses: losses - losses.detach())).times == tuple(range(1, T + 1))


def test_where_no_loss_has_a_gradient_nothing_is_measured():
    with pytest.raises(NotMeasured, match="No loss has a gradient"):
        contributions(linear(0.5, 0.0, T))


def test_a_single_loss_is_one_row_at_the_last_step():
    one = contributions(linear(0.5, 1.0, T, lambda losses: losses[-1].sum()))
    each = contributions(linear(0.5, 1.0, T))
    assert (one.times, one.states) == ((T,), each.states)
    assert one.log_norms[0] == pytest.approx(each.log_norms[-1], rel=1e-12)


def test_losses_summed_over_the_batch_have_rows_as_well():
    summed, each = (
        contributions(linear(0.5, 1.0, T, f)) for f in (lambda losses: losses.sum(1), lambda losses: losses)
    )
    assert summed == each


def test_a_packed_sequence_that_has_ended_keeps_the_gradient_of_its_end():
    module, x = nn.GRU(X, H).double(), torch.randn(T, 1, X).double()
    packed = pack_padded_sequence(torch.cat([x, x], 1), torch.tensor([T, 9]))
    got = contributions(record(module, lambda m: m(packed)[1][:, 1].square().sum()))
    alone = contributions(record(module, lambda m: m(x[:9])[1].square().sum()))
    assert got.log_norms[0][:10] == pytest.approx(alone.log_norms[0], rel=1e-9)
    assert set(got.log_norms[0][9:]) == {got.log_norms[0][9]}


def test_it_is_the_reach_by_loss_and_state():
    module, x = nn.LSTM(X, H, num_layers=2, bidirectional=True).double(), torch.randn(T, 3, X).double()
    trace = record(module, lambda m: m(x)[0].square().sum(-1))
    got, reached = contributions(trace), reach(trace, anchors=[T], longest=T)
    truth = reached.log_norms[0].flip(0).median(-1).values
    assert got.log_norms[-1] == pytest.approx(truth.tolist(), rel=1e-12)


def test_an_exact_zero_is_minus_infinity_and_what_is_not_finite_is_kept():
    x, starts = torch.randn(T, B, X), torch.zeros(T, B, dtype=torch.bool)
    starts[10] = True
    got = contributions(record(Stack([Elman(X, H)]), lambda m: m(x, None, starts)[0].sum(-1)))
    assert set(got.log_norms[-1][:11]) == {-math.inf}
    assert all(map(math.isfinite, got.log_norms[-1][11:]))
    x[3] = math.nan
    got = contributions(record(nn.RNN(X, H), lambda m: m(x)[0].sum(-1)))
    assert math.isnan(got.log_norms[-1][0])


def test_a_decoder_goes_on_with_the_clock_of_its_encoder():
    model = nn.ModuleDict({"reader": nn.GRU(X, H), "writer": nn.GRU(X, H)})
    x = torch.randn(T, B, X)
    found = contributions(record(model, lambda m: m["writer"](x[:7], m["reader"](x)[1])[0].sum(-1)))
    assert found.times == tuple(range(T + 1, T + 8))
    assert found.states == tuple(range(T + 8))


@pytest.mark.parametrize("options", [{"rows": 0}, {"columns": 0}])
def test_a_picture_without_rows_or_columns_is_refused(options):
    with pytest.raises(UsageError, match="at least one"):
        contributions(linear(0.5, 1.0, T), **options)
