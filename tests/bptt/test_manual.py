"""Backpropagation through time by hand, against autograd term by term and nets known in closed form."""

import pytest
import torch

from retrograd.bptt import bptt
from retrograd.cells import Additive, Elman
from retrograd.errors import ShapeError
from tests.contracts import FORMS, B, H, T, X, cell_of, point

EXACT = {"atol": 1e-12, "rtol": 1e-12}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def entering(cell):
    torch.manual_seed(1)
    like = cell.weight_ih
    return torch.randn(T, B, H, dtype=like.dtype), torch.randn(B, cell.state_size, dtype=like.dtype)


@pytest.fixture(params=FORMS)
def case(request):
    """A cell, its terms, and autograd's own gradients at x, at the projections and at every state."""
    cell = cell_of(request.param)
    x, s0 = point(cell)
    d_outputs, d_last = entering(cell)
    x.requires_grad_()
    p = cell.project(x)
    p.retain_grad()
    states = [s0.requires_grad_()]
    for p_t in p:
        states.append(cell.recur(p_t, states[-1]))
        states[-1].retain_grad()
    outputs = cell.output(torch.stack(states[1:]))
    ((outputs * d_outputs).sum() + (states[-1] * d_last).sum()).backward()
    return cell, bptt(cell, x.detach(), s0.detach(), d_outputs, d_last), x, p, states


def test_states_and_their_total_gradients_are_autograds(case):
    _, terms, _, _, states = case
    torch.testing.assert_close(terms.states, torch.stack(states), **EXACT)
    torch.testing.assert_close(terms.state_gradients, torch.stack([s.grad for s in states]), **EXACT)


def test_gradients_at_the_projections_and_inputs_are_autograds(case):
    _, terms, x, p, _ = case
    torch.testing.assert_close(terms.d_projection, p.grad, **EXACT)
    torch.testing.assert_close(terms.input_gradients, x.grad, **EXACT)


def test_totals_are_autograds(case):
    cell, terms, *_ = case
    totals = {name: parameter.grad for name, parameter in cell.named_parameters()}
    torch.testing.assert_close(terms.gradients, totals, **EXACT)


def test_terms_sum_to_autograds_gradient(case):
    cell, terms, *_ = case
    torch.testing.assert_close(sum(terms.weight_ih_term(t) for t in range(1, T + 1)), cell.weight_ih.grad, **EXACT)
    if cell.weight_hh is not None:
        torch.testing.assert_close(sum(terms.weight_hh_term(t) for t in range(1, T + 1)), cell.weight_hh.grad, **EXACT)


def test_each_term_is_the_gradient_at_the_weights_of_that_step_alone(case):
    """The tied weights untied: a copy of W_hh for each step, and the gradient at each copy."""
    cell, terms, x, _, states = case
    if cell.weight_hh is None:
        return
    d_outputs, d_last = entering(cell)
    copies = [cell.weight_hh.detach().clone().requires_grad_() for _ in range(T)]
    s, hs = states[0].detach(), []
    for x_t, W in zip(x.detach(), copies, strict=True):
        s = _step_with(cell, W, x_t, s)
        hs.append(cell.output(s))
    loss = (torch.stack(hs) * d_outputs).sum() + (s * d_last).sum()
    for t, expected in enumerate(torch.autograd.grad(loss, copies), start=1):
        torch.testing.assert_close(terms.weight_hh_term(t), expected, **EXACT)


def _step_with(cell, W, x, s):
    kept = cell._parameters["weight_hh"]
    cell._parameters["weight_hh"] = W
    try:
        return cell.step(x, s)
    finally:
        cell._parameters["weight_hh"] = kept


def test_gradient_of_a_linear_cell_is_a_power_of_its_matrix():
    cell = Elman(X, H, activation="identity").double()
    x, s0 = point(cell)
    d = torch.zeros(T, B, H, dtype=x.dtype)
    d[-1] = torch.randn(B, H, dtype=x.dtype)
    G = bptt(cell, x, s0, d).state_gradients
    for lag in range(T + 1):
        expected = d[-1] @ torch.linalg.matrix_power(cell.weight_hh.detach(), lag)
        torch.testing.assert_close(G[T - lag], expected, **EXACT)


def test_gradient_keeps_its_norm_through_an_orthogonal_linear_cell():
    cell = Elman(X, H, activation="identity").double()
    torch.nn.init.orthogonal_(cell.weight_hh)
    x, s0 = torch.randn(200, B, X, dtype=torch.float64), cell.initial_state(B)
    d = torch.zeros(200, B, H, dtype=x.dtype)
    d[-1] = 1.0
    norms = bptt(cell, x, s0, d).state_gradients[:-1].norm(dim=-1)
    torch.testing.assert_close(norms, torch.full_like(norms, H**0.5), atol=1e-10, rtol=0)


@pytest.mark.parametrize("w", [0.5, 1.0, 1.1, -0.9])
def test_gradient_of_a_scalar_relu_is_a_power_of_its_weight_while_it_is_on(w):
    cell = Elman(1, 1, activation="relu").double()
    with torch.no_grad():
        cell.weight_ih.fill_(1), cell.weight_hh.fill_(w), cell.bias_ih.fill_(0), cell.bias_hh.fill_(0)
    x = torch.full((30, 1, 1), 10.0, dtype=torch.float64)  # large enough to hold every unit on
    d = torch.zeros_like(x)
    d[-1] = 1.0
    G = bptt(cell, x, cell.initial_state(1), d).state_gradients.flatten()
    powers = torch.tensor([w ** (30 - t) for t in range(31)], dtype=torch.float64)
    torch.testing.assert_close(G, powers, **EXACT)


def test_gradient_of_a_diagonal_cell_decays_unit_by_unit():
    rates = torch.tensor([0.1, 0.5, 0.9, 0.99, 1.0], dtype=torch.float64)
    cell = Elman(X, H, activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(rates.diag())
    d = torch.zeros(40, 1, H, dtype=torch.float64)
    d[-1] = 1.0
    G = bptt(cell, torch.zeros(40, 1, X, dtype=torch.float64), cell.initial_state(1), d).state_gradients
    torch.testing.assert_close(G[0, 0], rates**40, **EXACT)


def test_gradient_of_an_additive_cell_is_the_same_at_every_step():
    cell = Additive(X, H)
    d = torch.zeros(300, 1, H)
    d[-1] = torch.randn(1, H)
    G = bptt(cell, torch.randn(300, 1, X), cell.initial_state(1), d).state_gradients
    assert torch.equal(G, d[-1].expand(301, -1, -1))


def test_float64_terms_outlive_float32_underflow():
    cell = Elman(X, H).double()
    with torch.no_grad():
        cell.weight_hh.copy_(0.1 * torch.eye(H))
    d = torch.zeros(61, 1, H, dtype=torch.float64)
    d[-1] = 1.0
    x, s0 = torch.zeros(61, 1, X), torch.zeros(1, H)
    assert bptt(cell, x.double(), s0.double(), d).state_gradients[0].min() > 0
    assert not bptt(cell.float(), x, s0, d.float()).state_gradients[0].any()


@pytest.mark.parametrize("t", [0, T + 1, -1])
def test_steps_are_counted_from_one(t):
    cell = cell_of("gru")
    terms = bptt(cell, *point(cell), entering(cell)[0])
    with pytest.raises(ShapeError, match=f"from 1 to {T}"):
        terms.weight_hh_term(t)


def test_gradients_of_another_shape_are_refused():
    cell = cell_of("gru")
    with pytest.raises(ShapeError, match="d_outputs must be"):
        bptt(cell, *point(cell), torch.zeros(T, B, H + 1))


def test_terms_leave_the_cell_as_it_was():
    cell = cell_of("lstm")
    before = {k: v.clone() for k, v in cell.state_dict().items()}
    bptt(cell, *point(cell), entering(cell)[0])
    assert all(torch.equal(v, before[k]) for k, v in cell.state_dict().items())
    assert all(p.grad is None for p in cell.parameters())
