"""A module run step by step is the module: the same outputs, states and gradients, whatever its form."""

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from retrograd.bptt import Stack
from retrograd.bptt.embedded import Embedded
from retrograd.cells import GRU, LSTM, Elman
from retrograd.errors import NotMeasured, ShapeError
from retrograd.remedies.unrolled import unrolled
from retrograd.trace import record

T, B, X, H = 7, 4, 3, 5
FORMS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
}


def inert(it):
    return lambda t, s: s


def everything(module, x, hx=None):
    """Outputs, final states, and the gradient of all of them by every weight."""
    out, final = module(x, hx)
    data = out.data if isinstance(out, nn.utils.rnn.PackedSequence) else out
    finals = final if isinstance(final, tuple) else (final,)
    total = sum((y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum() for y in (data, *finals))
    return [data, *finals, *torch.autograd.grad(total, list(module.parameters()))]


def alike(module, x, hx=None):
    plain = everything(module, x, hx)
    with unrolled(module, inert):
        stepwise = everything(module, x, hx)
    torch.testing.assert_close(stepwise, plain, atol=1e-12, rtol=1e-12)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("form", FORMS)
def test_a_fused_module_gives_the_same_step_by_step(kind, form):
    module = kind(X, H, dtype=torch.float64, **FORMS[form])
    alike(module, torch.randn(B if form == "batch first" else T, 7 if form == "batch first" else B, X).double())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("ordered", [True, False])
def test_packed_sequences_end_where_they_end(kind, ordered):
    module = kind(X, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    lengths = [7, 5, 2, 1] if ordered else [2, 7, 1, 5]
    alike(module, pack_padded_sequence(torch.randn(T, B, X).double(), lengths, enforce_sorted=ordered))


def test_packed_outputs_can_be_padded_again():
    module = nn.GRU(X, H)
    packed = pack_padded_sequence(torch.randn(T, B, X), [2, 7, 1, 5], enforce_sorted=False)
    with unrolled(module, inert):
        padded, lengths = pad_packed_sequence(module(packed)[0])
    assert lengths.tolist() == [2, 7, 1, 5]
    torch.testing.assert_close(padded, pad_packed_sequence(module(packed)[0])[0])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_first_state_that_is_given_is_taken(kind):
    module = kind(X, H, num_layers=2, dtype=torch.float64)
    h = torch.randn(2, B, H).double()
    alike(module, torch.randn(T, B, X).double(), (h, h.cos()) if kind is nn.LSTM else h)


def test_a_projection_is_part_of_the_state():
    module = nn.LSTM(X, H, num_layers=2, proj_size=2, dtype=torch.float64)
    x, h, c = torch.randn(T, B, X).double(), torch.randn(2, B, 2).double(), torch.randn(2, B, H).double()
    alike(module, x)
    alike(module, x, (h, c))


def test_a_single_sequence_without_a_batch_is_taken():
    alike(nn.LSTM(X, H, dtype=torch.float64), torch.randn(T, X).double())


def test_a_stack_of_our_own_begins_a_document_from_zero():
    stack = Stack([LSTM(X, H), GRU(H, H), Elman(H, H)]).double()
    x, starts = torch.randn(T, B, X).double(), torch.zeros(T, B, dtype=torch.bool)
    starts[3, 1] = starts[5, 2] = True
    expected, states = stack(x, None, starts)
    with unrolled(stack, inert):
        outputs, last = stack(x, None, starts)
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(last, states, atol=1e-12, rtol=0)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_a_stack_of_our_own_ends_where_each_sequence_ends(reverse):
    stack = Stack([LSTM(X, H), GRU(H, H)], reverse=reverse).double()
    x, lengths = torch.randn(T, B, X).double(), torch.tensor([2, T, 0, 5])
    state = tuple(torch.randn(B, cell.state_size).double() for cell in stack.layers)
    expected, states = stack(x, state, lengths=lengths)
    with unrolled(stack, inert):
        outputs, last = stack(x, state, lengths=lengths)
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(last, states, atol=1e-12, rtol=0)


def test_what_lies_behind_an_end_does_not_come_back():
    stack, lengths = Stack([LSTM(X, H)]), torch.tensor([2, T, 0, 5])
    x = torch.randn(T, B, X).masked_fill(torch.arange(T)[:, None, None] >= lengths[:, None], torch.nan)
    with unrolled(stack, inert):
        stack(x, lengths=lengths)[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in stack.parameters())


@pytest.mark.parametrize("wrong", [{"lengths": torch.tensor([99] * B)}, {"lengths": torch.ones(1).long()}])
def test_lengths_that_the_stack_refuses_are_refused(wrong):
    stack = Stack([LSTM(X, H)])
    with unrolled(stack, inert), pytest.raises(ShapeError, match="lengths must be"):
        stack(torch.randn(T, B, X), **wrong)
    with pytest.raises(ShapeError, match="lengths must be"):
        record(stack, lambda m: m(torch.randn(T, B, X), **wrong)[0].sum())


def test_a_stack_of_our_own_takes_tokens_with_their_table():
    stack, table, tokens = Stack([LSTM(X, H)]).double(), torch.randn(6, X).double(), torch.randint(6, (T, B))
    expected, _ = stack(table[tokens])
    with unrolled(stack, inert):
        outputs, _ = stack(Embedded(table, tokens))
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)


def test_dropout_between_layers_takes_place():
    module = nn.LSTM(X, H, num_layers=2, dropout=0.5)
    x = torch.randn(T, B, X)
    with unrolled(module, inert):
        assert not torch.equal(module(x)[0], module(x)[0])
        module.eval()
        torch.testing.assert_close(module(x)[0], module(x)[0], atol=0, rtol=0)


def test_the_forward_is_the_modules_own_again_also_after_an_error():
    model = nn.Sequential(nn.RNN(X, H))
    with suppress(KeyError), unrolled(model, inert):
        assert "forward" in vars(model[0])
        raise KeyError
    assert "forward" not in vars(model[0])


class Doubled(nn.GRU):
    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Linear(2, 2), "This Linear has no nn.RNN, nn.GRU, nn.LSTM or Stack"),
        (nn.Sequential(Doubled(2, 2)), "forward of this Doubled is not torch's own"),
    ],
)
def test_what_has_no_steps_of_ours_is_refused(model, sentence):
    with pytest.raises(NotMeasured, match=sentence), unrolled(model, inert):
        pass
