"""The gain that brings the leading exponent to zero, on nets where it is known and on those where it is not."""

import math

import pytest
import torch
from torch import nn

from retrograd.bptt import Stack
from retrograd.cells import Additive, Elman
from retrograd.errors import NotMeasured, UsageError
from retrograd.init import initialise_
from retrograd.measures import horizon, reach
from retrograd.remedies import REMEDIES
from retrograd.remedies.calibration import leading, root
from retrograd.trace import record
from tests.oracles import autograd_jacobian

T, B, X, H = 120, 4, 3, 24


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(scale=1.0):
    return scale * torch.randn(T, B, X)


def last(x):
    return lambda m: m(x)[0][-1].square().sum()


def blocks(module):
    return [W for p in module.state_dict().items() if "weight_hh" in p[0] for W in p[1].double().split(p[1].shape[1])]


def gains(module):
    """The singular values of every block, which are all alike."""
    found = [torch.linalg.svdvals(W) for W in blocks(module)]
    assert all(s.max() - s.min() < 1e-4 for s in found)
    return [float(s[0]) for s in found]


def exponents(model, loss):
    layers = record(model, loss).layers
    real = torch.ones(layers[0].inputs.shape[:2], dtype=torch.bool)
    return [leading(it.cell, it.inputs, it.states[0], real) for it in layers]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_exponent_is_that_of_the_product_of_the_jacobians(kind):
    """Of one vector, over the last three quarters of its way: autograd's Jacobians, multiplied out."""
    model, x = kind(2, 4, dtype=torch.float64), torch.randn(12, 1, 2, dtype=torch.float64)
    [it] = record(model, last(x)).layers
    delta = torch.randn(it.states[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    norms = []
    for t in range(11, -1, -1):
        delta = delta @ autograd_jacobian(lambda s, t=t: it.cell.step(x[t], s), it.states[t])[0]
        norms.append(float(delta.norm()))
    expected = math.log(norms[-1] / norms[2]) / 9
    assert exponents(model, last(x)) == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.1])
def test_the_exponent_of_a_scaled_orthogonal_net_is_the_logarithm_of_its_gain(gain):
    stack = Stack([Elman(X, H, activation="identity")])
    initialise_(stack, f"orthogonal={gain}")
    assert exponents(stack, last(noise())) == pytest.approx([math.log(gain)], abs=1e-6)


def test_a_linear_net_needs_a_gain_of_one():
    stack = Stack([Elman(X, H, activation="identity")])
    REMEDIES["calibrated"].apply(stack, last(noise()))
    assert gains(stack) == pytest.approx([1.0], abs=1e-3)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_a_tanh_net_needs_more_the_more_its_inputs_saturate_it(scale):
    model, loss = nn.RNN(X, H), last(noise(scale))
    REMEDIES["calibrated"].apply(model, loss)
    assert abs(exponents(model, loss)[0]) < 1e-3
    [gain] = gains(model)
    assert {0.1: 1 < gain < 1.1, 1.0: 1.1 < gain < 2, 3.0: gain > 1.6}[scale]


def test_it_reaches_where_the_default_and_orthogonal_weights_do_not():
    model, loss = nn.RNN(X, 64), last(noise())
    reached = {}
    for name in ("default", "orthogonal", "calibrated"):
        torch.manual_seed(1)
        REMEDIES[name].apply(model, loss)
        reached[name] = horizon(reach(record(model, loss))).steps
    assert reached["default"] < reached["orthogonal"] < reached["calibrated"] == T


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_every_layer_and_direction_is_set_on_what_it_is_fed(kind):
    model, loss = kind(X, H, num_layers=2, bidirectional=True), last(noise()[:40])
    REMEDIES["calibrated"].apply(model, loss)
    assert exponents(model, loss) == pytest.approx([0] * 4, abs=1e-3)
    assert len({round(gain, 4) for gain in gains(model)}) == 4


def test_padded_steps_do_not_count():
    x = noise()
    packed = nn.utils.rnn.pack_padded_sequence(x, [T, T, 9, 9])
    model, twin = nn.RNN(X, H), nn.RNN(X, H)
    twin.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    REMEDIES["calibrated"].apply(model, lambda m: m(packed)[1].square().sum())
    torch.manual_seed(1)
    REMEDIES["calibrated"].apply(twin, last(x[:, :2]))
    assert gains(model) == pytest.approx(gains(twin), rel=0.05)


def test_only_recurrent_weights_change():
    model = nn.Sequential(nn.Linear(X, X), nn.LSTM(X, H))
    before = {name: p.clone() for name, p in model.named_parameters()}
    x = noise()
    REMEDIES["calibrated"].apply(model, lambda m: m(x)[0].square().mean())
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} == {"1.weight_hh_l0"}


@pytest.mark.parametrize(
    ("f", "near"),
    [
        (lambda x: x - 1.2, 1e-9),
        (lambda x: 3 * x + 2, 1e-9),
        (lambda x: math.tanh(x) - 0.9, 1e-9),
        (lambda x: -0.3 if x < 0.7 else 0.2, 0.3),
        (lambda x: math.exp(x) - 5, 1e-6),
    ],
)
def test_the_root_of_what_rises_is_found(f, near):
    assert abs(f(root(f, widest=4.0, near=near))) <= near


@pytest.mark.parametrize("f", [lambda x: -1.0, lambda x: 1.0, lambda x: math.nan, lambda x: -math.inf])
def test_where_no_sign_changes_there_is_none(f):
    assert root(f, widest=4.0, near=1e-3) is None


def test_what_no_gain_can_help_is_refused_and_left_as_it_was():
    model, x = nn.RNN(X, H), noise()
    nn.init.constant_(model.bias_ih_l0, 1e4)  # every unit saturated: nothing ever comes back
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(NotMeasured, match=r"No gain from 0.015625 to 64 brings the leading exponent of RNN_l0 to zero"):
        REMEDIES["calibrated"].apply(model, last(x))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    with pytest.raises(UsageError, match="has none; use default"):
        REMEDIES["calibrated"].apply(Stack([Additive(X, H)]), last(x))
