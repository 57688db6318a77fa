"""Cells and torch's modules are the same weights and the same numbers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from retrograd.cells import GRU, LSTM, Additive, Elman, MultiTap, ProjectedLSTM, from_torch, to_state_dict, to_torch
from retrograd.errors import NotMeasured, UsageError
from tests.oracles import autograd_jacobian

X, H, B, T = 3, 5, 4, 6

MODULES = {
    "rnn-tanh": lambda **k: nn.RNN(X, H, **k),
    "rnn-relu": lambda **k: nn.RNN(X, H, nonlinearity="relu", **k),
    "gru": lambda **k: nn.GRU(X, H, **k),
    "lstm": lambda **k: nn.LSTM(X, H, **k),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def run(cell, x):
    s, hs = cell.initial_state(x.shape[1]), []
    for x_t in x:
        s = cell.step(x_t, s)
        hs.append(cell.output(s))
    return torch.stack(hs)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_cells_of_a_module_give_its_outputs_to_1e12(kind, bias, bidirectional):
    module = MODULES[kind](num_layers=2, bias=bias, bidirectional=bidirectional).double()
    x = torch.randn(T, B, X, dtype=torch.float64)
    h = x
    for directions in from_torch(module):
        parts = [run(directions[0], h)]
        if bidirectional:
            parts.append(run(directions[1], h.flip(0)).flip(0))
        h = torch.cat(parts, -1)
    torch.testing.assert_close(h, module(x)[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", MODULES)
def test_cells_hold_the_modules_own_parameters(kind):
    module = MODULES[kind](num_layers=2, bidirectional=True)
    held = [p for layer in from_torch(module) for cell in layer for p in cell.parameters()]
    assert all(ours is theirs for ours, theirs in zip(held, module.parameters(), strict=True))


def test_from_torch_draws_nothing_and_leaves_the_module_alone():
    module = nn.LSTM(X, H, 2).eval()
    before, weights = torch.get_rng_state(), copy.deepcopy(module.state_dict())
    [[cell], _] = from_torch(module)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(w, weights[k]) for k, w in module.state_dict().items())
    assert cell.weight_ih.device.type == "cpu"
    assert not cell.training


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("bias", [True, False])
def test_to_torch_takes_the_weights_back_as_copies(kind, bias):
    module = MODULES[kind](num_layers=2, bias=bias).double()
    before = torch.get_rng_state()
    twin = to_torch([cell for [cell] in from_torch(module)])
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(T, B, X, dtype=torch.float64)
    assert type(twin) is type(module)
    assert torch.equal(twin(x)[0], module(x)[0])
    with torch.no_grad():
        twin.weight_hh_l0.zero_()
    assert module.weight_hh_l0.any()


def test_state_dict_has_torchs_names_in_torchs_order():
    assert list(to_state_dict([LSTM(X, H), LSTM(H, H)])) == list(nn.LSTM(X, H, 2).state_dict())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Elman(X, H, activation="sigmoid")], "no module for Elman.*sigmoid"),
        ([Elman(X, H, activation="identity")], "no module for Elman.*identity"),
        ([Additive(X, H)], "no module for Additive"),
        ([MultiTap(X, H, taps=(1,))], r"no module for MultiTap\(3, 5, taps=\(1,\)"),
        ([GRU(X, H), LSTM(H, H)], "one kind"),
        ([GRU(X, H), GRU(H, 7)], "one kind"),
        ([GRU(X, H), GRU(7, H)], "must take 5 inputs"),
        ([GRU(X, H), GRU(H, H, bias=False)], "one kind"),
        ([], "no layers"),
    ],
)
def test_layers_without_a_torch_twin_are_refused_with_the_reason(layers, message):
    with pytest.raises(UsageError, match=message):
        to_torch(layers)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_projected_lstm_is_torchs_and_goes_back_as_autograd_does():
    module, x = nn.LSTM(X, H, proj_size=2).double(), torch.randn(5, 3, X).double()
    [[cell]] = from_torch(module)
    s = cell.initial_state(3)
    for x_t, truth in zip(x, module(x)[0], strict=True):
        s = cell.step(x_t, s)
        torch.testing.assert_close(cell.output(s), truth, rtol=1e-12, atol=1e-13)
    s = torch.randn(3, 2 + H).double()
    J = cell.jacobian(x[0], s)
    torch.testing.assert_close(J, autograd_jacobian(lambda s: cell.step(x[0], s), s), rtol=1e-10, atol=1e-12)
    delta = torch.randn(3, 2 + H).double()
    local = cell.linearize(cell.project(x[0]), s)
    torch.testing.assert_close(sum(local.paths(delta).values()), local.pullback(delta)[0], rtol=1e-12, atol=1e-13)


def test_a_new_projected_lstm_projects_by_weights_of_its_own_within_torchs_bound():
    W = ProjectedLSTM(X, 64, 8).weight_hr
    assert 0.9 / 8 < W.abs().max() <= 1 / 8
    assert torch.linalg.matrix_rank(W) == 8


def test_a_parametrised_module_is_refused():
    module = parametrizations.orthogonal(nn.RNN(X, H), "weight_hh_l0")
    with pytest.raises(NotMeasured, match="weight_hh_l0 is computed"):
        from_torch(module)
