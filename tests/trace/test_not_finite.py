"""What is not finite stays where it belongs: a loss knows nothing of the steps after it, nor of other documents."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Elman
from retrograd.measures import contributions, reach
from retrograd.trace import record
from tests.trace.brute_force import FUSED, gradients, unrolled

X, H, B, T, BROKEN = 3, 5, 4, 30, 21  # the input of step 21 is broken
LOSSES = {
    "linear": lambda h: h.sum(-1),  # its backward looks at no value
    "squares": lambda h: (h - 0.3).square().sum(-1),  # its backward multiplies by h: 0 * NaN after the loss as well
    "cross entropy": lambda h: -F.log_softmax(h, -1)[..., 0],
}


def broken(value, *, sequences=slice(None)):
    x = torch.randn(T, B, X).double()
    x[BROKEN - 1, sequences] = value
    return x


def plain(module, x, loss, t):
    """The gradients of L_t in a loop whose graph for L_t holds no later step."""
    _, states = unrolled(module, x)
    return gradients(loss(states[-1][t][:, :H]).sum(), states)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize(("layers", "value"), [(1, math.nan), (2, math.nan), (1, math.inf), (2, -math.inf)])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_knows_nothing_of_the_steps_after_it(kind, layers, value, loss):
    module, x = FUSED[kind](X, H, num_layers=layers).double(), broken(value)
    trace = record(module, lambda m: LOSSES[loss](m(x)[0]))
    times = (10, 1, BROKEN - 1)
    together = trace.gradients_at(times)
    for a, t in enumerate(times):
        truth = plain(module, x, LOSSES[loss], t)
        for mine, alone, exact in zip(together, trace.gradients(t), truth, strict=True):
            assert exact.isfinite().all()
            torch.testing.assert_close(mine[a], exact, rtol=1e-10, atol=1e-14)
            torch.testing.assert_close(alone, exact, rtol=1e-10, atol=1e-14)
            assert (mine[a, t + 1 :] == 0).all()


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_after_a_nan_has_the_nan_wherever_a_plain_loop_has_it(kind, layers, loss):
    module, x = FUSED[kind](X, H, num_layers=layers).double(), broken(math.nan)
    trace = record(module, lambda m: LOSSES[loss](m(x)[0]))
    for t in (BROKEN, T):
        for mine, exact in zip(trace.gradients(t), plain(module, x, LOSSES[loss], t), strict=True):
            assert exact[0].isnan().all()
            torch.testing.assert_close(mine[:t], exact[:t], rtol=1e-10, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_broken_sequence_leaves_the_others_alone(kind, loss):
    module, x, whole = FUSED[kind](X, H).double(), broken(math.nan, sequences=2), [0, 1, 3]
    mine = record(module, lambda m: LOSSES[loss](m(x)[0])).gradients(T)[0]
    exact = plain(module, x[:, whole], LOSSES[loss], T)[0]
    torch.testing.assert_close(mine[:, whole], exact, rtol=1e-10, atol=1e-14)
    assert mine[:BROKEN, 2].isnan().all()


@pytest.mark.parametrize("cell", [Elman, GRU, LSTM])
def test_no_nan_crosses_the_start_of_a_document(cell):
    """The gradient before the start is an exact zero, as without the NaN."""
    stack, starts = Stack([cell(X, H), cell(H, H)]).double(), torch.zeros(T, B, dtype=torch.bool)
    starts[BROKEN] = True
    for g in record(stack, lambda m: m(broken(math.nan), None, starts)[0].sum(-1)).gradients(T):
        assert (g[: BROKEN + 1] == 0).all()
        assert (g[BROKEN + 1 :] != 0).any(-1).all()
        assert g.isfinite().all()


@pytest.mark.parametrize("kind", FUSED)
def test_a_nan_leaves_the_measures_of_earlier_losses_as_they_were(kind):
    module, x = FUSED[kind](X, H).double(), broken(math.nan)
    whole = x.nan_to_num(0.0)
    mine, truth = (record(module, lambda m, x=x: LOSSES["cross entropy"](m(x)[0])) for x in (x, whole))
    before = {"anchors": [10, BROKEN - 1], "longest": 9}
    found, exact = reach(mine, **before).log_norms, reach(truth, **before).log_norms
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)  # step by step where there is a NaN, else whole
    mine, truth = contributions(mine, rows=T), contributions(truth, rows=T)
    for found, exact in zip(mine.log_norms[: BROKEN - 1], truth.log_norms[: BROKEN - 1], strict=True):
        for x, y in zip(found, exact, strict=True):
            assert x == y is None or x == pytest.approx(y, rel=1e-12, abs=1e-12)
    assert all(map(math.isnan, mine.log_norms[-1][:BROKEN]))


def test_a_state_that_float32_cannot_hold_breaks_the_model_and_not_the_losses_before():
    """The record, in float64, goes on with a state of 1e45, of which the model's head sees infinity."""
    cell = Elman(X, H, activation="identity")
    nn.init.orthogonal_(cell.weight_hh, gain=30)
    stack, x = Stack([cell]), torch.randn(T + 5, B, X)
    losses = [LOSSES["cross entropy"](stack(x[:t])[0]) for t in (T + 5, 10)]
    assert losses[0][-1].isnan().all()
    mine, truth = (record(stack, lambda m, x=x: LOSSES["cross entropy"](m(x)[0])) for x in (x, x[:10]))
    assert mine.layers[0].states.isfinite().all()
    assert torch.equal(mine.gradients(10)[0][:11], truth.gradients(10)[0])


def test_a_nan_that_is_the_models_own_is_kept():
    """The square root's derivative at 0 is infinite, and 0 times that is what autograd says."""
    module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
    trace = record(module, lambda m: (m(x)[0] * 0).square().sum(-1).sqrt())
    assert trace.losses.eq(0).all()
    assert trace.gradients(T)[0][:, :, 0].isnan().all()


def test_one_loss_at_a_time_does_as_well(monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("vmap cannot take this")

    module, x = nn.LSTM(X, H, num_layers=2).double(), broken(math.nan)
    trace = record(module, lambda m: LOSSES["squares"](m(x)[0]))
    together = trace.gradients_at((10, T))
    monkeypatch.setattr(torch.func, "vmap", refused)
    for mine, truth in zip(trace.gradients_at((10, T)), together, strict=True):
        assert mine[0].isfinite().all()
        torch.testing.assert_close(mine, truth, rtol=1e-12, atol=0, equal_nan=True)
