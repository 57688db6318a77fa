"""The recorded gradients are autograd's through a plain loop, at every state, for every loss."""

import pytest
import torch
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.errors import NotMeasured
from retrograd.trace import record
from tests.trace.brute_force import FUSED, gradients, unrolled
from tests.trace.cells_in_loops import step_losses

X, H, B, T = 3, 5, 4, 12


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("layers", [1, 2])
def test_each_loss_has_the_gradients_of_a_plain_loop(kind, layers):
    module, x = FUSED[kind](X, H, num_layers=layers).double(), torch.randn(T, B, X).double()
    trace = record(module, lambda m: step_losses(m(x)[0]))
    outputs, states = unrolled(module, x)
    losses = step_losses(outputs).sum(1)
    for t in (1, 5, T):
        for mine, truth in zip(trace.gradients(t), gradients(losses[t - 1], states), strict=True):
            torch.testing.assert_close(mine, truth, rtol=1e-10, atol=1e-14)
    for layer, truth in zip(trace.layers, gradients(losses.sum(), states), strict=True):
        torch.testing.assert_close(layer.total, truth, rtol=1e-10, atol=1e-14)


def test_several_losses_at_once_are_the_same_as_one_by_one():
    module, x = nn.LSTM(X, H, num_layers=2), torch.randn(T, B, X)
    trace = record(module, lambda m: step_losses(m(x)[0]))
    together = trace.gradients_at([3, T])
    for i, t in enumerate((3, T)):
        for mine, alone in zip(together, trace.gradients(t), strict=True):
            torch.testing.assert_close(mine[i], alone, rtol=1e-6, atol=1e-12)


def test_a_backward_that_vmap_cannot_take_is_taken_one_loss_at_a_time():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            if not gradient.any():  # depends on values, which vmap forbids
                return gradient
            return 2 * gradient

    module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
    opaque = record(module, lambda m: step_losses(Opaque.apply(m(x)[0])))
    plain = record(module, lambda m: step_losses(2 * m(x)[0]))
    for mine, truth in zip(opaque.gradients_at([4, T]), plain.gradients_at([4, T]), strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-12, atol=0)


def test_a_loss_on_the_last_step_of_a_fused_lstm_reaches_every_state():
    """Hooks on the fused module's output see zero at every step but the last."""
    module, x = nn.LSTM(X, H, num_layers=2), torch.randn(T, B, X)
    trace = record(module, lambda m: m(x)[0][-1].square().sum())
    assert not trace.per_step
    for layer in trace.layers:
        assert (layer.total.abs().amax((1, 2)) > 0).all()
        if layer is trace.layers[-1]:
            assert (layer.entering[:-1] == 0).all()


def test_a_gradient_that_float32_cannot_hold_is_still_there():
    module = nn.RNN(X, H)
    nn.init.orthogonal_(module.weight_hh_l0, gain=0.1)
    x = torch.randn(100, B, X)
    (total,) = (layer.total for layer in record(module, lambda m: m(x)[0][-1].sum()).layers)
    assert 0 < total[0].abs().max() < 1e-60


def test_a_scalar_net_decays_by_its_weight():
    """h' = w h + x: dL_T/dh[k] = w^(T-k), exactly."""
    w = -0.7
    cell = Elman(1, 1, activation="identity")
    with torch.no_grad():
        cell.weight_hh.fill_(w)
    x = torch.randn(T, B, 1)
    trace = record(Stack([cell]), lambda m: m(x)[0].squeeze(-1))
    (g,) = trace.gradients(T)
    expected = torch.tensor(cell.weight_hh.item()).double() ** torch.arange(T, -1, -1)
    torch.testing.assert_close(g.squeeze(-1), expected[:, None].expand(-1, B), rtol=1e-12, atol=0)


def test_an_orthogonal_linear_net_keeps_the_norm():
    cell = Elman(X, H, activation="identity").double()
    nn.init.orthogonal_(cell.weight_hh)
    x, w = torch.randn(T, B, X).double(), torch.randn(H).double()
    (g,) = record(Stack([cell]), lambda m: m(x)[0] @ w).gradients(T)
    torch.testing.assert_close(g.norm(dim=-1), w.norm().expand(T + 1, B), rtol=1e-12, atol=0)


def test_the_additive_cell_carries_the_gradient_unchanged():
    x, w = torch.randn(T, B, X).double(), torch.randn(H).double()
    (g,) = record(Stack([Additive(X, H).double()]), lambda m: m(x)[0] @ w).gradients(T)
    assert torch.equal(g, w.expand(T + 1, B, H))


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_no_gradient_crosses_the_start_of_a_document(cell):
    stack = Stack([cell(X, H), cell(H, H)]).double()
    x, starts = torch.randn(T, B, X).double(), torch.zeros(T, B, dtype=torch.bool)
    starts[6, 1] = True
    trace = record(stack, lambda m: step_losses(m(x, None, starts)[0]))
    for g in trace.gradients(T):
        assert (g[:7, 1] == 0).all()
        assert (g[7:, 1] != 0).any(-1).all()
        assert (g[:, 0] != 0).any(-1).all()


def test_decoding_token_by_token_is_one_trajectory():
    """Calls that hand their state on are joined along time, and give what one call gives."""
    module, x = nn.LSTM(X, H, num_layers=2), torch.randn(T, B, X)

    def stepwise(m):
        state, outputs = None, []
        for x_t in x:
            y, state = m(x_t[None], state)
            outputs.append(y)
        return step_losses(torch.cat(outputs))

    pieces, whole = record(module, stepwise), record(module, lambda m: step_losses(m(x)[0]))
    assert [layer.name for layer in pieces.layers] == ["lstm.l0", "lstm.l1"]
    for mine, truth in zip(pieces.gradients(T), whole.gradients(T), strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-5, atol=1e-9)  # outputs are float32, state is not
    for mine, truth in zip(pieces.layers, whole.layers, strict=True):
        torch.testing.assert_close(mine.states, truth.states, rtol=1e-12, atol=0)
        torch.testing.assert_close(mine.total, truth.total, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(mine.entering, truth.entering, rtol=1e-5, atol=1e-8)


def test_a_call_with_a_state_of_its_own_begins_another_trajectory():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)
    trace = record(module, lambda m: step_losses(m(x)[0] + m(2 * x)[0]))
    assert [layer.name for layer in trace.layers] == ["gru.l0", "gru.l0 (2)"]


def test_a_detached_state_cuts_the_trajectory():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)

    def truncated(m):
        first, state = m(x[:6])
        return step_losses(torch.cat([first, m(x[6:], state.detach())[0]]))

    first, second = record(module, truncated).layers
    assert (len(first), len(second)) == (6, T - 6)
    assert torch.equal(second.states[0].float(), first.states[-1].float())


def test_the_gradient_flows_through_whatever_joins_two_modules():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above, self.mix = nn.GRU(X, H), nn.LSTM(H, H), nn.Linear(H, H)

        def forward(self, x):
            return self.above(torch.tanh(self.mix(self.below(x)[0])))[0]

    model, x = Pair().double(), torch.randn(T, B, X).double()
    trace = record(model, lambda m: step_losses(m(x)))
    y, below = unrolled(model.below, x)
    y, above = unrolled(model.above, torch.tanh(model.mix(y)))
    losses = step_losses(y).sum(1)
    for mine, truth in zip(trace.gradients(9), gradients(losses[8], below + above), strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-10, atol=1e-14)
    assert [layer.name for layer in trace.layers] == ["below.l0", "above.l0"]


def test_frozen_weights_are_measured_like_any():
    module, x = nn.LSTM(X, H), torch.randn(T, B, X)
    free = record(module, lambda m: step_losses(m(x)[0])).layers[0].total
    frozen = record(module.requires_grad_(False), lambda m: step_losses(m(x)[0])).layers[0].total
    assert torch.equal(free, frozen)


def test_losses_of_every_step_may_be_summed_over_the_batch():
    module, x = nn.LSTM(X, H).double(), torch.randn(T, B, X).double()
    each = record(module, lambda m: step_losses(m(x)[0])).gradients(7)[0]
    summed = record(module, lambda m: step_losses(m(x)[0]).sum(1)).gradients(7)[0]
    torch.testing.assert_close(each, summed, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda m: torch.zeros(3, requires_grad=True) + 0, "No nn.RNN"),
        (lambda m: m(torch.zeros(T, B, X))[0].detach().sum(), "no gradient"),
        (lambda m: m(torch.zeros(T, B, X))[0], "got \\(12, 4, 5\\)"),
        (lambda m: 1.0, "float"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(loss, says):
    with pytest.raises(NotMeasured, match=says):
        record(nn.LSTM(X, H), loss)


def test_a_loss_that_is_not_there_is_refused():
    module, x = nn.LSTM(X, H), torch.randn(T, B, X)
    with pytest.raises(NotMeasured, match="1 to 12, none for 13"):
        record(module, lambda m: step_losses(m(x)[0])).gradients(13)
    with pytest.raises(NotMeasured, match="counted from step 12"):
        record(module, lambda m: step_losses(m(x)[0]).sum()).gradients(3)
