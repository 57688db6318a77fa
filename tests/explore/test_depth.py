"""The deep net's gradients and singular values against autograd through the whole net."""

import math

import pytest
import torch

from retrograd.errors import UsageError
from retrograd.explore import DeepNet, depth
from retrograd.explore.depth import SAMPLES
from retrograd.explore.starts import weights
from retrograd.measures import horizon, jacobians, reach
from retrograd.trace import record

L, H = 5, 6
FUNCTIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "identity": lambda z: z}


def forward(name, layers, h):
    states = [h]
    for W, b in layers:
        states.append(FUNCTIONS[name](states[-1] @ W.T + b))
    return states


@pytest.fixture(scope="module")
def net():
    state = torch.get_rng_state()
    torch.manual_seed(2)
    x, y = torch.randn(2, SAMPLES, H, dtype=torch.float64)
    torch.set_rng_state(state)
    return weights("default", H, seed=2, count=L), x, y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_at_each_layer_is_autograds(net, name):
    layers, x, y = net
    states = forward(name, layers, x.clone().requires_grad_())
    loss = (states[-1] - y).square().sum() / 2
    gradients = torch.autograd.grad(loss, states)
    truth = [float(g.norm(dim=-1).log().median()) for g in gradients]
    [course] = depth(L, width=H, activations=[name], seed=2).courses
    assert course.log_gradients == pytest.approx(truth, abs=1e-9)
    assert course.factor == pytest.approx(math.exp((truth[0] - truth[-1]) / L), rel=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_singular_values_are_those_of_autograds_jacobians(net, name):
    layers, x, _ = net
    [course] = depth(L, width=H, activations=[name], seed=2).courses
    states = forward(name, layers, x[:1])
    for l in range(1, L + 1):
        rest = layers[L - l :]
        J = torch.autograd.functional.jacobian(lambda h, rest=rest: forward(name, rest, h)[-1], states[L - l])
        sigma = torch.linalg.svdvals(J[0, :, 0])
        assert course.log_largest[l - 1] == pytest.approx(float(sigma[0].log()), abs=1e-9)
        if name == "relu":
            assert float(sigma[-1]) < 1e-12
            assert course.log_smallest[l - 1] == -math.inf
        else:
            assert course.log_smallest[l - 1] == pytest.approx(float(sigma[-1].log()), abs=1e-6)


def test_an_orthogonal_identity_net_loses_nothing_at_any_depth():
    [course] = depth(200, width=16, activations=["identity"], start="orthogonal").courses
    assert course.log_largest == pytest.approx([0.0] * 200, abs=1e-10)
    assert course.log_smallest == pytest.approx([0.0] * 200, abs=1e-10)
    assert course.factor == pytest.approx(1, abs=1e-12)


def test_two_hundred_sigmoid_layers_are_neither_zero_nor_lost():
    [course] = depth(200, width=4, activations=["sigmoid"], start="uniform=0.05").courses
    logs = torch.tensor(course.log_gradients)
    assert logs.isfinite().all()
    assert logs[0] < -745  # the least float64 is e^-745
    assert torch.tensor(course.log_smallest).isfinite().all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_measures_of_a_trace_run_on_it_and_say_the_same(net, name):
    layers, x, y = net
    trace = record(DeepNet(layers, activation=name), lambda net: (net(x) - y).square().sum() / 2)
    [layer] = trace.layers
    states = forward(name, layers, x)
    assert torch.allclose(layer.states, torch.stack(states), atol=1e-14)
    [course] = depth(L, width=H, activations=[name], seed=2).courses
    profile = horizon(reach(trace)).profile
    logs = [float(g.norm(dim=-1).log()[0]) for g in trace.gradients_at([L])[0][0]]
    truth = autograd_logs(name, layers, x, y)
    assert logs == pytest.approx(truth, abs=1e-9)
    over = [l for l, x in enumerate(profile) if x < math.log(1e-3)]
    assert course.horizon == (over[0] - 1 if over else math.inf)
    found = jacobians(trace, sequences=1, lags=[1]).layers[0].log_largest[0]
    factors = [f_prime(name, states[k + 1][0])[:, None] * W for k, (W, _) in enumerate(layers)]
    singular = sorted(float(torch.linalg.matrix_norm(J, 2).log()) for J in factors)
    assert singular[0] <= found[1] <= singular[-1]


def autograd_logs(name, layers, x, y):
    """ln |dL/dh_k| of the first input."""
    states = forward(name, layers, x.clone().requires_grad_())
    gradients = torch.autograd.grad((states[-1] - y).square().sum() / 2, states)
    return [float(g[0].norm().log()) for g in gradients]


def f_prime(name, h):
    return {"tanh": 1 - h * h, "sigmoid": h * (1 - h), "relu": (h > 0).double(), "identity": torch.ones_like(h)}[name]


def test_sigmoid_decays_fastest():
    factors = {course.activation: course.factor for course in depth(20, width=32).courses}
    assert factors["sigmoid"] < 0.25 < factors["relu"] < factors["tanh"] < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 0}, "Layers must be"),
        ({"width": -1}, "Width must be"),
        ({"start": "ortogonal"}, "nearest is 'orthogonal'"),
        ({"activations": ["tahn"]}, "nearest is 'tanh'"),
        ({"start": "normal=x"}, "takes a number"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        depth(**options)
