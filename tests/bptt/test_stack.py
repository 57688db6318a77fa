"""A stack is torch's module, bit for bit, and a reset in the middle is two runs."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from retrograd.bptt import Stack, choose
from retrograd.bptt.backends import OBSTACLES
from retrograd.cells import GRU, LSTM, Elman, MultiTap, from_torch
from retrograd.errors import ConfigError, ShapeError, UsageError
from tests.contracts import FORMS, HERE, B, H, T, X, cell_of

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def joined(state):
    """Torch's state (L, B, H) or pair of them as one (B, S) a layer."""
    parts = state if isinstance(state, tuple) else (state,)
    return [torch.cat([part[i] for part in parts], -1) for i in range(len(parts[0]))]


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_fused_stack_is_torchs_module_bit_for_bit_dropout_included(kind, dtype, training):
    module = MODULES[kind](X, H, 3, dropout=0.4, dtype=dtype).train(training)
    stack = Stack([cell for [cell] in from_torch(module)], dropout=0.4, backend="fused").train(training)
    x = torch.randn(T, B, X, dtype=dtype)
    results = []
    for m in (module, stack):
        m.zero_grad()
        torch.manual_seed(3)
        outputs, state = m(x)
        drawn = torch.rand(1)
        outputs.square().sum().backward()
        gradients = [p.grad.clone() for p in module.parameters()]
        results.append((outputs, state, drawn, gradients))
    (outputs, state, drawn, gradients), (ours, our_state, our_drawn, our_gradients) = results
    assert torch.equal(ours, outputs)
    assert torch.equal(our_drawn, drawn)
    assert all(torch.equal(a, b) for a, b in zip(our_state, joined(state), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(our_gradients, gradients, strict=True))


@pytest.mark.parametrize("backend", HERE)
def test_dropout_is_the_same_on_every_backend(backend):
    layers = [LSTM(X, H).double(), LSTM(H, H).double()]
    x = torch.randn(T, B, X, dtype=torch.float64)
    torch.manual_seed(3)
    expected, _ = Stack(layers, dropout=0.5, backend="reference")(x)
    torch.manual_seed(3)
    found, _ = Stack(layers, dropout=0.5, backend=backend)(x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_dropout_stands_between_layers_only():
    stack = Stack([GRU(X, H)], dropout=0.9)
    x = torch.randn(T, B, X)
    assert torch.equal(stack(x)[0], stack.eval()(x)[0])


STARTS = [
    {},
    {(0, 0)},
    {(3, 0), (3, 1), (3, 2), (3, 3)},
    {(0, 1), (2, 0), (2, 3), (5, 0), (6, 2)},
    {(t, b) for t in range(T) for b in range(B)},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("begins", STARTS)
def test_a_reset_is_the_pieces_run_separately(form, begins):
    """Each sequence cut at its own starts, each piece run by itself from zero; float64, to 1e-12."""
    lower, upper = cell_of(form), GRU(H, H).double()
    x = torch.randn(T, B, X, dtype=torch.float64)
    starts = torch.zeros(T, B, dtype=torch.bool)
    for t, b in begins:
        starts[t, b] = True
    first = tuple(torch.randn(B, cell.state_size, dtype=torch.float64) for cell in (lower, upper))
    plain = Stack([lower, upper], backend="reference")
    for backend in ("auto", "manual", "reference"):
        outputs, last = Stack([lower, upper], backend=backend)(x, first, starts)
        for b in range(B):
            state = tuple(s[b : b + 1] for s in first)
            edges = sorted({0, T, *(t for t, at in begins if at == b)})
            for begin, end in pairwise(edges):
                if (begin, b) in begins:
                    state = plain.initial_state(1)
                piece, state = plain(x[begin:end, b : b + 1], state)
                torch.testing.assert_close(outputs[begin:end, b : b + 1], piece, atol=1e-12, rtol=1e-12)
            for ours, theirs in zip(last, state, strict=True):
                torch.testing.assert_close(ours[b : b + 1], theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("backend", HERE)
def test_no_gradient_crosses_a_start(backend):
    stack = Stack([LSTM(X, H)], backend=backend)
    x = torch.randn(T, B, X, requires_grad=True)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[4, 1] = True
    stack(x, starts=starts)[0][-1].sum().backward()
    assert not x.grad[:4, 1].any()
    assert x.grad[4:, 1].any(-1).all()
    assert x.grad[:4, 0].any(-1).all()


def test_a_start_forgets_even_a_state_that_is_not_a_number():
    stack = Stack([GRU(X, H)])
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[0] = True
    outputs, _ = stack(torch.randn(T, B, X), (torch.full((B, H), torch.nan),), starts)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "elman-sigmoid"])
def test_with_lengths_a_batch_is_its_members_one_by_one(form, backend, reverse):
    if backend in OBSTACLES and OBSTACLES[backend](cell_of(form)):
        pytest.skip(f"{form} does not run on {backend}")
    stack = Stack([cell_of(form)], backend=backend, reverse=reverse)
    lengths = torch.tensor([3, T, 0, 5, 3])
    x = torch.randn(T, len(lengths), X, dtype=torch.float64, requires_grad=True)
    s0 = torch.randn(len(lengths), stack.layers[0].state_size, dtype=torch.float64)
    outputs, (last,) = stack(x, (s0,), lengths=lengths)
    (outputs.square().sum() + last.sum()).backward()
    found, x.grad = x.grad, None
    for b, length in enumerate(lengths.tolist()):
        assert not outputs[length:, b].any()
        if not length:
            assert torch.equal(last[b], s0[b])
            continue
        alone, (own,) = stack(x[:length, b : b + 1], (s0[b : b + 1],))
        (alone.square().sum() + own.sum()).backward()
        torch.testing.assert_close(outputs[:length, b : b + 1], alone, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(last[b : b + 1], own, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, x.grad, atol=1e-12, rtol=1e-12)


def test_state_carried_over_is_one_long_run():
    stack = Stack([LSTM(X, H), Elman(H, 7, activation="sigmoid")]).double()
    x = torch.randn(T, B, X, dtype=torch.float64)
    first, state = stack(x[:3])
    second, state = stack(x[3:], state)
    whole, last = stack(x)
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-14, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-14, rtol=0)


def test_every_layer_takes_its_own_backend():
    stack = Stack([LSTM(X, H), MultiTap(H, H)])
    fastest = "native" if "native" in HERE else "fused"
    assert [choose(cell, stack.backend) for cell in stack.layers] == [fastest, "manual"]
    assert stack.layers == tuple(stack.cells)


class TestBadInput:
    @pytest.mark.parametrize("lengths", [[1, 2], [1, 2, 3, T + 1], [1, 2, 3, -1], [1.0, 2.0, 3.0, 4.0]])
    def test_lengths_that_the_batch_does_not_have(self, lengths):
        with pytest.raises(ShapeError, match=rf"lengths must be \(batch,\), \({B},\), from 0 to {T}"):
            Stack([LSTM(X, H)])(torch.zeros(T, B, X), lengths=torch.tensor(lengths))

    def test_lengths_beside_starts(self):
        with pytest.raises(UsageError, match="lengths and starts do not go together"):
            Stack([LSTM(X, H)])(
                torch.zeros(T, B, X), starts=torch.zeros(T, B, dtype=torch.bool), lengths=torch.ones(B).long()
            )

    def test_layers_that_do_not_fit_each_other(self):
        with pytest.raises(ShapeError, match=r"LSTM\(7, 5\) cannot read the 5 outputs of LSTM\(3, 5\)"):
            Stack([LSTM(X, H), LSTM(7, H)])

    def test_no_layers(self):
        with pytest.raises(ConfigError, match="at least one layer"):
            Stack([])

    @pytest.mark.parametrize("dropout", [-0.1, 1.1])
    def test_dropout_out_of_range(self, dropout):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            Stack([LSTM(X, H)], dropout=dropout)

    def test_a_backend_that_does_not_fit_some_layer(self):
        with pytest.raises(UsageError, match="'fused' does not fit"):
            Stack([LSTM(X, H), Elman(H, H, activation="identity")], backend="fused")

    def test_a_state_for_another_depth(self):
        stack = Stack([LSTM(X, H), LSTM(H, H)])
        with pytest.raises(ShapeError, match="one tensor a layer, 2, got 1"):
            stack(torch.zeros(T, B, X), stack.initial_state(B)[:1])

    @pytest.mark.parametrize("starts", [torch.zeros(T, B), torch.zeros(B, T, dtype=torch.bool)])
    def test_starts_of_another_shape_or_type(self, starts):
        with pytest.raises(ShapeError, match="starts must be"):
            Stack([GRU(X, H)])(torch.zeros(T, B, X), starts=starts)
