"""A replayed module returns what the module itself returns, in every arrangement that torch allows."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM
from retrograd.measures import reach
from retrograd.trace import record
from tests.trace.brute_force import FUSED

X, H, B, T = 3, 5, 4, 9
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-6}, torch.float64: {"rtol": 1e-12, "atol": 1e-13}}
OPTIONS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "no bias": {"num_layers": 2, "bias": False},
    "dropout": {"num_layers": 3, "dropout": 0.4},
    "dropout both directions": {"num_layers": 2, "dropout": 0.4, "bidirectional": True, "batch_first": True},
}


def seen(model, *arguments):
    """What the model's caller gets while it is recorded, under the same random state as outside."""
    got = []

    def loss(m):
        got.append(m(*arguments))
        y = got[-1][0]
        return (y.data if isinstance(y, PackedSequence) else y).sum()

    return got, record(model, loss)


def same(mine, truth, **tolerance):
    if isinstance(truth, PackedSequence):
        same(mine.data, truth.data, **tolerance)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            a, b = getattr(mine, name), getattr(truth, name)
            assert (a is None and b is None) or torch.equal(a, b)
    elif isinstance(truth, tuple):
        for a, b in zip(mine, truth, strict=True):
            same(a, b, **tolerance)
    else:
        torch.testing.assert_close(mine.detach(), truth.detach(), **tolerance)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_last_states_are_the_modules_own(kind, options, dtype):
    module = FUSED[kind](X, H, **OPTIONS[options]).to(dtype)
    x = torch.randn(T, B, X, dtype=dtype)
    x = x.transpose(0, 1) if module.batch_first else x
    torch.manual_seed(1)
    (mine,), _ = seen(module, x)
    torch.manual_seed(1)
    same(mine, module(x), **TOLERANCE[dtype])


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("unbatched", [False, True])
def test_an_initial_state_is_taken_up(kind, unbatched):
    module = FUSED[kind](X, H, num_layers=2, bidirectional=True).double()
    batch = () if unbatched else (B,)
    x, h = torch.randn(T, *batch, X).double(), torch.randn(4, *batch, H).double()
    state = (h, torch.randn_like(h)) if kind == "lstm" else h
    (mine,), _ = seen(module, x, state)
    same(mine, module(x, state), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("options", ["one layer", "both directions", "dropout"])
def test_a_packed_sequence_comes_back_packed(kind, ordered, options):
    module = FUSED[kind](X, H, **OPTIONS[options]).double()
    lengths = [9, 7, 3, 3] if ordered else [3, 9, 1, 7]
    x = pack_padded_sequence(torch.randn(T, B, X).double(), torch.tensor(lengths), enforce_sorted=ordered)
    torch.manual_seed(1)
    (mine,), _ = seen(module, x)
    torch.manual_seed(1)
    same(mine, module(x), **TOLERANCE[torch.float64])


def test_a_shorter_packed_sequence_keeps_its_state_and_its_gradient_to_the_end():
    module = nn.GRU(X, H).double()
    x = pack_padded_sequence(torch.randn(T, B, X).double(), torch.tensor([3, 9, 1, 7]), enforce_sorted=False)
    (layer,) = record(module, lambda m: m(x)[1].sum()).layers
    assert torch.equal(layer.states[4:, 0], layer.states[3:4, 0].expand(6, H))
    assert torch.equal(layer.total[3:, 0], layer.total[9:, 0].expand(7, H))
    assert (layer.total[0] != 0).any(-1).all()


def test_a_reverse_layer_is_kept_in_the_order_in_which_it_runs():
    module, x = nn.GRU(X, H, bidirectional=True).double(), torch.randn(T, B, X).double()
    forward, reverse = record(module, lambda m: m(x)[0].sum(-1)).layers
    assert (forward.name, reverse.name) == ("gru.l0", "gru.l0.reverse")
    assert torch.equal(reverse.inputs, x.flip(0))
    same(torch.cat([forward.states[1:], reverse.states[1:].flip(0)], -1), module(x)[0], rtol=1e-12, atol=1e-13)


def test_what_a_module_is_called_does_not_make_it_run_in_reverse():
    inner = nn.ModuleDict({"reverse": nn.GRU(X, H), "reverses": nn.GRU(H, H, bidirectional=True)})
    model = nn.ModuleDict({"reverse": nn.GRU(X, X), "a": inner})
    x = torch.randn(T, B, X)

    def loss(m):
        return m["a"]["reverses"](m["a"]["reverse"](m["reverse"](x)[0])[0])[0].sum(-1)

    trace = record(model, loss)
    assert {layer.name: layer.reverse for layer in trace.layers} == {
        "reverse.l0": False,
        "a.reverse.l0": False,
        "a.reverses.l0": False,
        "a.reverses.l0.reverse": True,
    }
    assert reach(trace).layers == ("reverse.l0", "a.reverse.l0", "a.reverses.l0")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_stack_is_replayed_with_its_dropout_and_its_documents(dtype):
    stack = Stack([LSTM(X, H), GRU(H, H), LSTM(H, H)], dropout=0.3).to(dtype)
    x, starts = torch.randn(T, B, X, dtype=dtype), torch.rand(T, B) < 0.2
    state = tuple(torch.randn(B, cell.state_size, dtype=dtype) for cell in stack.layers)
    torch.manual_seed(1)
    (mine,), trace = seen(stack, x, state, starts)
    torch.manual_seed(1)
    same(mine, stack(x, state, starts), **TOLERANCE[dtype])
    assert [layer.name for layer in trace.layers] == ["stack.l0", "stack.l1", "stack.l2"]
    assert torch.equal(trace.layers[1].starts, starts)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_a_stack_of_several_lengths_is_replayed_and_its_ends_are_known(reverse):
    stack = Stack([LSTM(X, H), GRU(H, H)], reverse=reverse).double()
    x, lengths = torch.randn(T, B, X).double(), torch.tensor([3, T, 0, 5])
    state = tuple(torch.randn(B, cell.state_size).double() for cell in stack.layers)
    (mine,), trace = seen(stack, x, state, None, lengths)
    same(mine, stack(x, state, lengths=lengths), **TOLERANCE[torch.float64])
    for layer in trace.layers:
        assert layer.live.sum(0).tolist() == lengths.tolist()
        assert bool(layer.live[-1 if reverse else 0, [0, 1, 3]].all())


def test_a_stack_fed_its_own_state_continues():
    stack, x = Stack([LSTM(X, H), LSTM(H, H)]), torch.randn(T, B, X)

    def halves(m):
        first, state = m(x[:4])
        return torch.cat([first, m(x[4:], state)[0]]).sum(-1)

    trace = record(stack, halves)
    assert [len(layer) for layer in trace.layers] == [T, T]
    whole = record(stack, lambda m: m(x)[0].sum(-1))
    torch.testing.assert_close(trace.gradients(T), whole.gradients(T), rtol=1e-9, atol=1e-14)


def test_dropout_draws_what_the_module_draws_and_no_more():
    """After a recorded forward the loss closure finds the generator where the module would have left it."""
    module, x = nn.LSTM(X, H, num_layers=3, dropout=0.5), torch.randn(T, B, X)
    after = []

    def loss(m):
        y = m(x)[0]
        after.append(torch.rand(3))
        return y.sum()

    torch.manual_seed(5)
    loss(module)
    torch.manual_seed(5)
    record(module, loss)
    assert torch.equal(after[0], after[1])
