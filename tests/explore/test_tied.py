"""Tied layers: each layer's gradient and every update against autograd on plain tensors."""

import math

import pytest
import torch

from retrograd.cells import Elman
from retrograd.errors import UsageError
from retrograd.explore import EXPLORATIONS, paths, tied
from retrograd.explore.small_net import INPUTS
from retrograd.init import initialise_

T, H, RATE = 6, 4, 0.05
FUNCTIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "identity": lambda z: z}


def drawn(activation):
    """The net that the seed 5 gives, as plain tensors: W, and the loss of T layers by their weights."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    cell = Elman(INPUTS, H, activation=activation).double()
    initialise_(cell, "default")
    x = torch.randn(T, 1, INPUTS, dtype=torch.float64)
    y, h0 = torch.randn(T, 1, H, dtype=torch.float64), torch.randn(1, H, dtype=torch.float64)
    torch.set_rng_state(state)

    def loss(weights):
        h, total = h0, 0
        for t, W in enumerate(weights):
            z = x[t] @ cell.weight_ih.detach().T + cell.bias_ih.detach() + h @ W.T + cell.bias_hh.detach()
            h = FUNCTIONS[activation](z)
            total = total + (h - y[t]).square().sum() / 2
        return total

    return cell.weight_hh.detach(), loss


def gradient(loss, *tensors):
    tensors = [x.clone().requires_grad_() for x in tensors]
    return torch.autograd.grad(loss(tensors), tensors)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_each_layers_gradient_and_share_are_autograds_at_its_own_copy(activation):
    found, (W, loss) = tied(T, size=H, activation=activation, seed=5), drawn(activation)
    own = gradient(loss, *[W] * T)
    (whole,) = gradient(lambda one: loss(one * T), W)
    assert found.log_layers == pytest.approx([float(g.norm().log()) for g in own], abs=1e-9)
    assert found.shares == pytest.approx([float((g * whole).sum() / whole.square().sum()) for g in own], abs=1e-9)
    assert sum(found.shares) == pytest.approx(1, abs=1e-12)
    assert found.log_layers == pytest.approx(paths(T, size=H, activation=activation, seed=5).log_layers, abs=1e-12)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("start", ["default", "orthogonal", "identity"])
def test_the_sum_is_autograds_gradient_of_the_recurrent_net_and_keeps_the_layers_equal(activation, start):
    found = tied(12, activation=activation, start=start, rate=1e-3, updates=20)
    assert found.difference < 1e-12
    assert found.tied.spread == (0.0,) * 21
    assert found.tied.first_step == (0.0,) * 12
    assert found.recurrent_difference < 1e-12
    assert found.untied.spread[0] == 0
    assert all(x > 0 for x in found.untied.spread[1:])


def test_the_updates_are_gradient_descent_with_the_sum_and_with_each_ones_own():
    found, (W, loss) = tied(T, size=H, seed=5, rate=RATE, updates=4), drawn("tanh")
    together, each = W, [W] * T
    for update in range(5):
        distances = [float((V - each[0]).norm() / W.norm()) for V in each]
        assert found.tied.losses[update] == pytest.approx(float(loss([together] * T)), rel=1e-12)
        assert found.untied.losses[update] == pytest.approx(float(loss(each)), rel=1e-12)
        assert found.untied.spread[update] == pytest.approx(max(distances), rel=1e-12)
        if update == 1:
            assert found.untied.first_step == pytest.approx(distances, rel=1e-12)
        together = together - RATE * gradient(lambda one: loss(one * T), together)[0]
        each = [V - RATE * g for V, g in zip(each, gradient(loss, *each), strict=True)]


def test_one_layer_is_all_of_the_gradient():
    found = tied(1)
    assert found.shares == pytest.approx((1.0,), abs=1e-12)
    assert found.tied == found.untied


def test_it_is_said_with_its_numbers():
    said = EXPLORATIONS["tied"].say(tied())
    assert "The own gradients of 8 layers that start equal add up to autograd's dL/dW" in said
    assert "layer 1 has most of it, 30.9" in said
    assert "30 steps with the summed gradient leave the layers equal to the last bit" in said
    assert "put them 111.4\u00a0% of their size apart." in said


def test_what_is_no_number_is_said():
    found = tied(rate=1e200, updates=3, activation="identity")
    assert math.isnan(found.tied.spread[-1])
    assert "end in what is no number" in EXPLORATIONS["tied"].say(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 61}, "Steps must be a whole number from 1 to 60"),
        ({"updates": 0}, "Updates must be a whole number from 1"),
        ({"rate": -1.0}, "rate must be a positive number, got -1"),
        ({"rate": math.nan}, "rate must be a positive number, got nan"),
        ({"activation": "tahn"}, "nearest is 'tanh'"),
        ({"start": "forget_bias"}, "needs a gate"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        tied(**options)
