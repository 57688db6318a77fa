"""Gradient flossing: exponents of nets that are known, gradients by finite differences, in float64."""

import math

import pytest
import torch
from torch import nn

from retrograd.cells import Elman
from retrograd.errors import ConfigError
from retrograd.remedies import REMEDIES
from retrograd.remedies.flossing import exponents, floss
from tests.contracts import B, H, T, X, cell_of, point
from tests.oracles import autograd_jacobian, gradient_by_differences


def linear(W):
    cell = Elman(X, len(W), activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(W)
    return cell


def test_the_exponents_of_a_diagonal_net_are_the_logarithms_of_its_weights():
    w = torch.tensor([1.3, 1.0, 0.8, 0.5], dtype=torch.float64)
    x = torch.randn(400, 2, X, dtype=torch.float64)
    found = exponents(linear(w.diag()), x, torch.zeros(2, 4, dtype=torch.float64), first=4)
    torch.testing.assert_close(found, w.log().expand(2, 4), atol=0.01, rtol=0)  # 1 / T of a random start


def test_those_of_an_orthogonal_net_are_zero():
    Q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    x = torch.randn(20, 2, X, dtype=torch.float64)
    found = exponents(linear(Q), x, torch.zeros(2, 5, dtype=torch.float64), first=5)
    torch.testing.assert_close(found, torch.zeros(2, 5, dtype=torch.float64), atol=1e-13, rtol=0)


@pytest.mark.parametrize("form", ["elman", "gru", "lstm"])
def test_all_of_them_add_up_to_the_determinants(form):
    cell = cell_of(form)
    x, s = point(cell)
    logs = torch.zeros(B, dtype=torch.float64)
    walk = s
    for t in range(T):
        J = autograd_jacobian(lambda s, t=t: cell.step(x[t], s), walk)
        logs += torch.linalg.slogdet(J).logabsdet
        walk = cell.step(x[t], walk).detach()
    found = exponents(cell, x, s, first=cell.state_size).sum(-1)
    torch.testing.assert_close(found.detach(), logs / T, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("form", ["elman", "gru", "lstm"])
def test_they_are_those_of_all_steps_taken_back_at_once(form):
    """The QR of the whole product, from the last step to the first, over few enough steps to be had in one piece."""
    cell = cell_of(form)
    x, s = point(cell)
    frame = torch.randn(2, B, cell.state_size, dtype=torch.float64)
    walk, jacobians = s, []
    for t in range(T):
        jacobians.append(autograd_jacobian(lambda s, t=t: cell.step(x[t], s), walk))
        walk = cell.step(x[t], walk).detach()
    start = torch.linalg.qr(frame.permute(1, 2, 0))[0]
    for J in reversed(jacobians):
        start = J.mT @ start
    expected = torch.linalg.qr(start)[1].diagonal(dim1=-2, dim2=-1).abs().log() / T
    found = exponents(cell, x, s, first=2, frame=frame).detach()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("form", ["elman", "gru", "lstm"])
def test_its_gradient_is_that_of_finite_differences(form):
    """Through the Jacobians, through the states that they are taken at, and through the QR."""
    cell = cell_of(form)
    x, s = point(cell)
    found = torch.autograd.grad(floss(cell, x, s, first=3), list(cell.parameters()))
    for p, gradient in zip(cell.parameters(), found, strict=True):
        differences = gradient_by_differences(lambda: floss(cell, x, s, first=3), p)
        large = differences.abs() > 1e-4 * differences.abs().max()
        torch.testing.assert_close(gradient[large], differences[large], atol=1e-7, rtol=1e-5)


def test_it_brings_the_exponents_of_a_vanishing_net_towards_zero():
    torch.manual_seed(0)
    model, x = nn.RNN(X, 16), torch.randn(30, 4, X)
    course = REMEDIES["flossing"].apply(model, lambda m: m(x)[0].square().mean(), 4, 60)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        with course.step(model):
            (0 * model(x)[0].sum()).backward()
        optimizer.step()
    assert course.statistics["floss at last"] < 0.01 * course.statistics["floss at first"]
    assert course.statistics["flossed"] == 60


def test_it_is_added_to_the_gradient_of_the_loss_and_ends_when_it_should():
    torch.manual_seed(0)
    model, x = nn.RNN(X, H, dtype=torch.float64), torch.randn(9, 2, X, dtype=torch.float64)
    plain = torch.autograd.grad(model(x)[0].sum(), list(model.parameters()))
    course = REMEDIES["flossing"].apply(model, lambda m: m(x)[0].sum(), 2, 3)
    differ = []
    for _ in range(5):
        model.zero_grad()
        with course.step(model):
            model(x)[0].sum().backward()
        differ.append(not all(map(torch.allclose, (p.grad for p in model.parameters()), plain)))
    assert differ == [True, True, True, False, False]


def test_a_net_that_forgets_in_one_step_has_no_exponent_and_is_left_alone():
    model, x = nn.RNN(X, H), torch.randn(9, 2, X)
    nn.init.zeros_(model.weight_hh_l0)
    course = REMEDIES["flossing"].apply(model, lambda m: m(x)[0].sum(), 2, 3)
    with course.step(model):
        model(x)[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert course.statistics["left out"] == 1
    assert course.statistics["flossed"] == 0


@pytest.mark.parametrize("numbers", [(0,), (2.5,), (2, 0), (math.inf,)])
def test_counts_are_whole_numbers(numbers):
    with pytest.raises(ConfigError, match=r"whole number|finite"):
        REMEDIES["flossing"].apply(nn.RNN(2, 2), lambda m: m, *numbers)
