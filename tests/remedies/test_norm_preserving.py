"""Pascanu's Omega: its value by autograd's Jacobians, its gradient by finite differences, in float64."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.cells import Elman, from_torch
from retrograd.errors import ConfigError
from retrograd.remedies import REMEDIES
from retrograd.remedies.norm_preserving import omega
from tests.contracts import B, T, cell_of, point
from tests.oracles import autograd_jacobian, gradient_by_differences

FORMS = ["elman", "elman-relu", "gru", "lstm"]


def case(form):
    cell = cell_of(form)
    x, s = point(cell)
    before = [s]
    for p in cell.project(x):
        before.append(cell.recur(p, before[-1]).detach())
    return cell, x, torch.stack(before[:-1]), torch.randn(T, B, cell.state_size, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_each_steps_jacobian_does_to_the_length_of_the_gradient(form):
    cell, x, before, delta = case(form)
    total = 0.0
    for t in range(T):
        J = autograd_jacobian(lambda s, t=t: cell.step(x[t], s), before[t])
        for b in range(B):
            total += float((delta[t, b] @ J[b]).norm() / delta[t, b].norm() - 1) ** 2
    assert omega(cell, x, before, delta).item() == pytest.approx(total / B, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_its_gradient_is_that_of_finite_differences(form):
    cell, x, before, delta = case(form)
    found = torch.autograd.grad(omega(cell, x, before, delta), list(cell.parameters()), allow_unused=True)
    for p, gradient in zip(cell.parameters(), found, strict=True):
        differences = gradient_by_differences(lambda: omega(cell, x, before, delta), p)
        large = differences.abs() > 1e-4 * differences.abs().max()
        known = torch.zeros_like(p) if gradient is None else gradient
        torch.testing.assert_close(known[large], differences[large], atol=1e-8, rtol=1e-6)


def test_a_net_that_turns_the_gradient_and_no_more_has_none():
    cell = Elman(2, 5, activation="identity").double()
    nn.init.orthogonal_(cell.weight_hh)
    x, before, delta = (torch.randn(T, B, n, dtype=torch.float64) for n in (2, 5, 5))
    assert omega(cell, x, before, delta).item() < 1e-25


def test_a_gradient_of_any_size_counts_the_same_and_none_counts_nothing():
    cell, x, before, delta = case("elman")
    value = omega(cell, x, before, delta)
    for scale in (1e-200, 1e200):
        torch.testing.assert_close(omega(cell, x, before, delta * scale), value, rtol=1e-12, atol=0)
    for nothing in (0.0, float("nan"), float("inf")):
        half = delta.clone()
        half[:3] = nothing
        only = omega(cell, x[3:], before[3:], delta[3:])
        found = omega(cell, x, before, half)
        torch.testing.assert_close(found, only, rtol=1e-12, atol=0)
        assert all(g.isfinite().all() for g in torch.autograd.grad(found, list(cell.parameters())))


def autograds(model, x, weight):
    """The loss's own gradient plus that of weight * Omega, with delta from autograd's total at every state."""
    cells = from_torch(model)
    states, y = [], x
    for (cell,) in cells:
        s, outputs = cell.initial_state(x.shape[1]).requires_grad_(), []
        walk = [s]
        for p in cell.project(y):
            s = cell.recur(p, s)
            walk.append(s)
            outputs.append(cell.output(s))
        states.append((cell, y, walk))
        y = torch.stack(outputs)
    loss = y[-1].square().sum() + y[2].sum()
    parameters = list(model.parameters())
    total = list(torch.autograd.grad(loss, parameters, retain_graph=True))
    extra = sum(
        omega(
            cell,
            inputs.detach(),
            torch.stack(walk[:-1]).detach(),
            torch.stack(torch.autograd.grad(loss, walk[1:], retain_graph=True)),
        )
        for cell, inputs, walk in states
    )
    added = torch.autograd.grad(weight * extra, parameters, allow_unused=True)
    return [g if a is None else g + a for g, a in zip(total, added, strict=True)], float(extra.detach())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_step_adds_it_to_the_gradient_of_the_loss(kind):
    torch.manual_seed(0)
    model = kind(3, 4, num_layers=2, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)

    def loss(m):
        y = m(x)[0]
        return y[-1].square().sum() + y[2].sum()

    course = REMEDIES["norm_preserving"].apply(model, loss, 0.7)
    with course.step(model):
        loss(model).backward()
    expected, value = autograds(model, x, 0.7)
    torch.testing.assert_close([p.grad for p in model.parameters()], expected, atol=1e-12, rtol=1e-10)
    assert course.statistics["omega at first"] == pytest.approx(value)


def test_padded_steps_have_no_part_in_it():
    torch.manual_seed(0)
    model, x = nn.GRU(3, 4, dtype=torch.float64), torch.randn(6, 1, 3, dtype=torch.float64)
    both = x.repeat(1, 2, 1)

    def found(loss):
        course = REMEDIES["norm_preserving"].apply(model, loss)
        with course.step(model):
            loss(model).backward()
        return course.statistics["omega at first"]

    long, short = found(lambda m: m(x)[1].sum()), found(lambda m: m(x[:4])[1].sum())
    packed = pack_padded_sequence(both, [6, 4])
    assert found(lambda m: m(packed)[1].sum()) == pytest.approx((long + short) / 2, rel=1e-12)


def test_frozen_weights_are_left_frozen():
    model, x = nn.Sequential(nn.RNN(2, 3)), torch.randn(5, 2, 2)
    head = nn.Linear(3, 1)
    model.requires_grad_(False)
    whole = nn.ModuleList([model, head])
    course = REMEDIES["norm_preserving"].apply(whole, lambda m: m[1](m[0](x)[0]).sum())
    with course.step(whole):
        head(model(x)[0]).sum().backward()
    assert all(p.grad is None for p in model.parameters())


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        REMEDIES["norm_preserving"].apply(nn.RNN(2, 2), lambda m: m, 0.0)
