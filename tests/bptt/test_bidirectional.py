"""Both directions against torch's own module and a plain loop; a batch of several lengths is its members one by one."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from retrograd.bptt import Bidirectional, Stack
from retrograd.cells import GRU, LSTM, Elman, from_torch
from retrograd.errors import ShapeError
from tests.contracts import HERE, B, H, T, X

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def both(kind=LSTM, layers=2, **options):
    def way():
        return [kind(X if depth == 0 else H, H) for depth in range(layers)]

    return Bidirectional(way(), way(), **options).double()


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("kind", MODULES)
def test_one_layer_is_torchs_bidirectional_module_gradients_included(kind):
    module = MODULES[kind](X, H, bidirectional=True, dtype=torch.float64)
    [[forwards, backwards]] = from_torch(module)
    ours = Bidirectional([forwards], [backwards])
    x, found = numbers(T, B, X), []
    for m in (lambda x: module(x)[0], ours):
        module.zero_grad()
        outputs = m(x)
        outputs.square().sum().backward()
        found.append((outputs.detach(), *(p.grad.clone() for p in module.parameters())))
    for truth, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, truth, atol=1e-12, rtol=1e-12)


def test_a_reversed_stack_is_the_stack_on_the_reversed_sequence():
    layers = [GRU(X, H).double(), LSTM(H, H).double()]
    x, starts = numbers(T, B, X), torch.rand(T, B) < 0.3
    state = tuple(numbers(B, cell.state_size) for cell in layers)
    outputs, last = Stack(layers, reverse=True)(x, state, starts)
    truth, final = Stack(layers)(x.flip(0), state, starts.flip(0))
    assert torch.equal(outputs, truth.flip(0))
    assert all(torch.equal(a, b) for a, b in zip(last, final, strict=True))
    assert "reverse=True" in repr(Stack(layers, reverse=True))
    assert "reverse" not in repr(Stack(layers))


@pytest.mark.parametrize("kind", [Elman, GRU, LSTM])
@pytest.mark.parametrize("backend", [*HERE, "auto"])
def test_a_batch_of_several_lengths_is_its_members_one_by_one(kind, backend):
    """Outputs and the gradient at the inputs, in float64 to 1e-12; what lies in the padding changes nothing."""
    model, x = both(kind, backend=backend), numbers(T, B, X).requires_grad_()
    lengths = torch.tensor([T, 3, 1, T - 1])
    together = model(x, lengths=lengths)
    weights = torch.randn_like(together)
    (gradient,) = torch.autograd.grad((together * weights).sum(), x)
    for b, length in enumerate(lengths.tolist()):
        own = x.detach()[:length, b : b + 1].clone().requires_grad_()
        alone = model(own)
        (truth,) = torch.autograd.grad((alone * weights[:length, b : b + 1]).sum(), own)
        torch.testing.assert_close(together[:length, b : b + 1], alone, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(gradient[:length, b : b + 1], truth, atol=1e-12, rtol=1e-12)
        assert not together[length:, b].any()
        assert not gradient[length:, b].any()


def test_documents_in_one_window_know_nothing_of_each_other():
    model, x = both(), numbers(T, B, X)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[0], starts[3, 1], starts[4, 1], starts[T - 1, 2] = True, True, True, True
    outputs = model(x, starts)
    for b, edges in enumerate([(0, T), (0, 3, 4, T), (0, T - 1, T), (0, T)]):
        for begin, end in pairwise(edges):
            alone = model(x[begin:end, b : b + 1])
            torch.testing.assert_close(outputs[begin:end, b : b + 1], alone, atol=1e-12, rtol=1e-12)


def test_every_output_depends_on_every_input_of_its_sequence_and_on_no_other():
    model, x = both(), numbers(T, 2, X).requires_grad_()
    y = model(x, lengths=torch.tensor([T, 4]))
    for t in range(4):
        (gradient,) = torch.autograd.grad(y[t, 1].sum(), x, retain_graph=True)
        assert gradient[:4, 1].ne(0).all()
        assert not gradient[4:, 1].any()
        assert not gradient[:, 0].any()


def test_the_directions_have_weights_of_their_own_and_may_differ_in_width():
    model = Bidirectional([LSTM(X, 4)], [GRU(X, 6)])
    assert (model.input_size, model.hidden_size) == (X, 10)
    assert [type(cell).__name__ for cell in model.layers] == ["LSTM", "GRU"]
    assert model(torch.randn(T, B, X)).shape == (T, B, 10)


class TestBadInput:
    def test_directions_that_read_different_inputs(self):
        with pytest.raises(ShapeError, match="Both directions read the same inputs"):
            Bidirectional([LSTM(3, H)], [LSTM(4, H)])

    @pytest.mark.parametrize("lengths", [[T] * (B + 1), [T, T, T, T + 1], [T, T, T, -1]])
    def test_lengths_that_the_batch_does_not_have(self, lengths):
        with pytest.raises(ShapeError, match="lengths must be"):
            both()(numbers(T, B, X), lengths=torch.tensor(lengths))

    def test_inputs_of_another_width(self):
        with pytest.raises(ShapeError, match="x must be"):
            both()(numbers(T, B, X + 1))
