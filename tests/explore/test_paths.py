"""The two sums of BPTT, each term by autograd on a net whose weights are another tensor at each step."""

import math

import pytest
import torch

from retrograd.cells import Elman
from retrograd.errors import ConfigError, UnknownName
from retrograd.explore import paths
from retrograd.explore.small_net import INPUTS, apart
from retrograd.init import initialise_

T, H = 6, 4
FUNCTIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "identity": lambda z: z}


def untied(activation):
    """Each loss and each step's own copy of W_hh, drawn as `paths` draws them."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    cell = Elman(INPUTS, H, activation=activation).double()
    initialise_(cell, "default")
    x = torch.randn(T, 1, INPUTS, dtype=torch.float64)
    y, h = torch.randn(T, 1, H, dtype=torch.float64), torch.randn(1, H, dtype=torch.float64)
    torch.set_rng_state(state)
    copies = [cell.weight_hh.detach().clone().requires_grad_() for _ in range(T)]
    losses = []
    for t in range(T):
        z = x[t] @ cell.weight_ih.T + cell.bias_ih + h @ copies[t].T + cell.bias_hh
        h = FUNCTIONS[activation](z)
        losses.append((h - y[t]).square().sum() / 2)
    return losses, copies


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_every_term_is_the_gradient_of_one_loss_at_one_steps_own_weights(activation):
    found = paths(T, size=H, activation=activation, seed=5)
    losses, copies = untied(activation)
    for t, loss in enumerate(losses):
        terms = torch.autograd.grad(loss, copies[: t + 1], retain_graph=True)
        truth = [float(term.norm().log()) for term in terms]
        assert found.log_terms[t] == pytest.approx(truth, abs=1e-9)
        assert found.log_losses[t] == pytest.approx(float(sum(terms).norm().log()), abs=1e-9)
    layers = torch.autograd.grad(sum(losses), copies)
    assert found.log_layers == pytest.approx([float(layer.norm().log()) for layer in layers], abs=1e-9)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("start", ["default", "orthogonal", "identity"])
def test_the_two_sums_and_the_tied_layers_are_autograds_gradient(activation, start):
    found = paths(12, activation=activation, start=start)
    assert found.difference < 1e-12
    assert found.tied_difference < 1e-12


def test_t_ways_lead_to_loss_t():
    assert paths(7).ways == (1, 2, 3, 4, 5, 6, 7)


def test_the_differences_are_shares_that_show_a_wrong_sum():
    assert apart(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])) == 0.5
    assert math.isnan(apart(torch.tensor([math.nan]), torch.tensor([1.0])))


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 61}, {"size": 0}, {"seed": -1}])
def test_what_cannot_be_is_said(options):
    with pytest.raises(ConfigError, match="must be a whole number"):
        paths(**options)
    with pytest.raises(UnknownName, match="nearest is 'tanh'"):
        paths(activation="tahn")
