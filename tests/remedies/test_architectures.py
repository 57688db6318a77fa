"""Other equations in place of an nn.RNN: each is what it says, and its callers notice nothing."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt import Stack
from retrograd.cells import GRU, LSTM, Elman
from retrograd.errors import ConfigError, NotMeasured, UsageError
from retrograd.measures import horizon, reach
from retrograd.remedies import REMEDIES
from retrograd.remedies.residual import Residual
from retrograd.trace import record
from tests.oracles import autograd_jacobian

T, B, X, H = 12, 3, 4, 6


class Around(nn.Module):
    """Somebody's model, which takes the last hidden state apart."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.rnn = nn.RNN(X, H, **options)
        self.head = nn.Linear(H, 1)

    def forward(self, x, h=None):
        outputs, h_n = self.rnn(x, h)
        assert self.rnn.hidden_size == H
        assert self.rnn.batch_first in (True, False)
        self.rnn.flatten_parameters()
        return self.head(outputs).squeeze(-1), h_n


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def summed(x):
    return lambda m: m(x)[0].square().sum()


def test_an_irnn_adds_what_is_positive_and_forgets_nothing():
    model, x = Around(), torch.randn(T, B, X)
    REMEDIES["irnn"].apply(model, summed(x))
    W, U, b, d = (p.detach() for p in model.rnn.parameters())
    assert torch.equal(U, torch.eye(H))
    h = torch.zeros(B, H)
    for step in x:
        h = (step @ W.T + b + h @ U.T + d).clamp(min=0)
    torch.testing.assert_close(model.rnn(x)[0][-1], h)
    assert record(model, summed(x)).layers[0].kind == "Elman"


def test_an_irnn_of_our_own_cells_is_one_on_every_backend():
    stack, x = Stack([Elman(X, H), Elman(H, H)]), torch.randn(T, B, X)
    REMEDIES["irnn"].apply(stack, summed(x))
    outputs = stack(x)[0]
    assert outputs.min() == 0
    stack.backend = "reference"
    torch.testing.assert_close(stack(x)[0], outputs)


@pytest.mark.parametrize("remedy", ["gated_cell", "additive_path"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "dropout": 0.1}, {"batch_first": True}, {"bias": False}])
def test_the_callers_of_what_was_replaced_notice_nothing(remedy, options):
    if remedy == "gated_cell" and not options.get("bias", True):
        pytest.skip("a gate without a bias cannot be opened")
    model, x = Around(**options).eval(), torch.randn(B, T, X) if options.get("batch_first") else torch.randn(T, B, X)
    old = [y.shape for y in model(x)]
    REMEDIES[remedy].apply(model, summed(x))
    assert type(model.rnn) is not nn.RNN
    assert not model.rnn.training
    y, h = model(x)
    assert [y.shape, h.shape] == old
    assert [z.shape for z in model(x, h)] == old, "the state that it gave can be given again"
    halves = x.chunk(2, 1 if options.get("batch_first") else 0)
    first, h = model(halves[0])
    second, h = model(halves[1], h)
    torch.testing.assert_close(torch.cat([first, second], 1 if options.get("batch_first") else 0), y)
    alone = model.rnn(x[0] if options.get("batch_first") else x[:, 0])
    assert [z.dim() for z in alone] == [2, 2]


def test_a_gated_cell_is_a_gru_whose_memory_lasts_for_the_sequence():
    model, x = Around(bidirectional=False), torch.randn(T, B, X)
    REMEDIES["gated_cell"].apply(model, summed(x))
    assert type(model.rnn) is nn.GRU
    keep = model.rnn.bias_ih_l0.detach().sigmoid()[H : 2 * H]
    torch.testing.assert_close(1 / (1 - keep), torch.full((H,), float(T)))
    REMEDIES["gated_cell"].change(other := Around(), summed(x), 3.0)
    assert (other.rnn.bias_ih_l0[H : 2 * H] == 3).all()


def test_it_replaces_a_module_wherever_it_hangs():
    model = nn.ModuleDict({"a": Around(), "b": nn.Module()})
    model["b"].same = model["a"].rnn
    REMEDIES["gated_cell"].apply(model, lambda m: m["a"](torch.randn(T, B, X))[0].sum())
    assert model["b"].same is model["a"].rnn
    assert type(model["a"].rnn) is nn.GRU


def test_both_directions_can_be_gated():
    model, x = nn.Sequential(nn.RNN(X, H, 2, bidirectional=True)), torch.randn(T, B, X)
    REMEDIES["gated_cell"].apply(model, lambda m: m(x)[0].sum())
    assert model[0].bidirectional
    assert model(x)[1].shape == (4, B, H)


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_an_additive_path_adds_the_step_to_the_state_on_the_same_weights(share):
    model, x = Around(num_layers=2).double(), torch.randn(T, B, X).double()
    weights = list(model.rnn.parameters())
    REMEDIES["additive_path"].apply(model, summed(x), share)
    assert {id(p) for p in model.rnn.parameters()} == {id(p) for p in weights}
    y = x
    for W, U, b, d in (weights[:4], weights[4:]):
        h, outputs = torch.zeros(B, H).double(), []
        for step in y:
            h = h + share * torch.tanh(step @ W.T + b + h @ U.T + d)
            outputs.append(h)
        y = torch.stack(outputs)
    torch.testing.assert_close(model.rnn(x)[0], y, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_jacobian_of_an_additive_path_is_autograds(activation):
    cell = Residual(Elman(X, H, activation=activation).double(), 0.3)
    x, s = torch.randn(B, X).double(), torch.randn(B, H).double()
    torch.testing.assert_close(cell.jacobian(x, s), autograd_jacobian(lambda s: cell.step(x, s), s), atol=1e-12, rtol=0)
    delta = torch.randn(B, H).double()
    local = cell.linearize(cell.project(x), s)
    torch.testing.assert_close(sum(local.paths(delta).values()), local.pullback(delta)[0], atol=1e-12, rtol=0)


def test_an_additive_path_reaches_to_the_beginning():
    model, x = Around(), torch.randn(200, B, X)
    loss = summed(x)
    before = horizon(reach(record(model, lambda m: m(x)[0][-1].sum()))).steps
    REMEDIES["additive_path"].apply(model, loss)
    assert model.rnn.stack.layers[0].share == 1 / 200
    assert before < 20
    assert horizon(reach(record(model, lambda m: m(x)[0][-1].sum()))).censored


@pytest.mark.parametrize("remedy", ["gated_cell", "additive_path"])
def test_our_own_stack_changes_its_cells(remedy):
    stack, x = Stack([Elman(X, H), Elman(H, H)], backend="fused"), torch.randn(T, B, X)
    REMEDIES[remedy].apply(stack, summed(x))
    assert all(isinstance(cell, GRU if remedy == "gated_cell" else Residual) for cell in stack.layers)
    assert stack(x)[0].shape == (T, B, H)
    assert horizon(reach(record(stack, lambda m: m(x)[0][-1].sum()))).steps == T


PLAIN = ["irnn", "gated_cell", "additive_path"]


@pytest.mark.parametrize("remedy", PLAIN)
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Sequential(nn.LSTM(X, H)), "is for a plain nn.RNN, and 0 is an nn.LSTM"),
        (nn.Sequential(nn.RNN(X, H), nn.GRU(H, H)), "is for a plain nn.RNN, and 1 is an nn.GRU"),
        (Stack([LSTM(X, H)]), "is for Elman cells, and Stack has LSTM"),
        (nn.Linear(X, H), "has no nn.RNN"),
    ],
)
def test_what_has_gates_already_is_refused(remedy, model, sentence):
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises((UsageError, NotMeasured), match=sentence):
        REMEDIES[remedy].apply(model, lambda m: m)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize(
    ("remedy", "make", "numbers", "error", "sentence"),
    [
        ("gated_cell", lambda: nn.RNN(X, H), (), UsageError, "The model is itself the nn.RNN"),
        ("additive_path", lambda: nn.RNN(X, H), (), UsageError, "The model is itself the nn.RNN"),
        ("gated_cell", lambda: Around(bias=False), (), UsageError, "made with bias=False"),
        ("additive_path", Around, (0.0,), ConfigError, "over 0 and at most 1, got 0"),
        ("additive_path", lambda: nn.Sequential(nn.RNN(X, H, bidirectional=True)), (), UsageError, "in one direction"),
    ],
)
def test_what_cannot_be_replaced_is_refused(remedy, make, numbers, error, sentence):
    x = torch.randn(T, B, X)
    with pytest.raises(error, match=sentence):
        REMEDIES[remedy].apply(make(), lambda m: m(x)[0].sum(), *numbers)


def test_an_additive_path_takes_no_packed_sequences():
    model = Around()
    REMEDIES["additive_path"].apply(model, summed(torch.randn(T, B, X)))
    with pytest.raises(NotMeasured, match="takes padded sequences"):
        model.rnn(pack_padded_sequence(torch.randn(T, B, X), [T, 3, 2]))
