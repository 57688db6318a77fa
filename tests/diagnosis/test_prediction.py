"""What a remedy promises is what is measured once it is applied."""

import math

import pytest
import torch
from torch import nn

from retrograd.diagnosis import prediction
from retrograd.init import initialise_
from retrograd.measures import attribution, horizon, reach
from retrograd.trace import record

T, B, X, H = 150, 6, 16, 64
LEAST = 1e-3  # the share of the gradient that counts


def measured(kind, noise, *specs):
    """The horizon of a layer on noise, and what attribution says of it before the last of the starts."""
    torch.manual_seed(0)
    layer, x, w = kind(X, H), noise * torch.randn(T, B, X), torch.randn(H)

    def trace():
        return record(layer, lambda m: m(x)[0] @ w)

    before = attribution(trace(), longest=20).layers[0]
    for spec in specs:
        initialise_(layer, spec)
    return horizon(reach(trace())).steps, {name: math.exp(part.value) for name, part in before.parts.items()}


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_orthogonal_weights_reach_as_far_as_the_mean_field_says(noise):
    steps, parts = measured(nn.RNN, noise, "orthogonal")
    assert prediction.orthogonal_tanh(**parts, threshold=LEAST) == pytest.approx(steps, rel=0.25, abs=2)


def test_the_activation_alone_would_promise_twice_as_much():
    steps, parts = measured(nn.RNN, 0.3, "orthogonal")
    assert prediction.reached(parts["activation"], LEAST) > 1.8 * steps


@pytest.mark.parametrize("bias", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_forget_bias_reaches_at_least_as_far_as_its_memory(kind, bias):
    steps, _ = measured(kind, 0.1, f"forget_bias={bias}")
    assert prediction.forgetting(bias, LEAST) < 1.2 * steps
    assert steps < 3 * prediction.forgetting(bias, LEAST) + 5


def test_chrono_reaches_at_least_as_far_as_half_of_its_units_keep():
    steps, _ = measured(nn.LSTM, 0.1, "chrono=20")
    assert prediction.chrono(20, LEAST) <= steps


def test_a_factor_of_a_step_gives_a_horizon():
    assert prediction.reached(0.5, LEAST) == math.floor(math.log(1000) / math.log(2))
    assert prediction.reached(0.5, threshold=0.3) == 1
    assert prediction.reached(1.0, LEAST) == prediction.reached(3.0, LEAST) == math.inf
    assert prediction.reached(0.0, LEAST) == prediction.reached(math.nan, LEAST) == 0


@pytest.mark.parametrize(
    ("factors", "horizon"),
    [((1.0, 0.5), math.inf), ((0.0, 1.0), 0), ((math.nan, 1.0), 0), ((0.5, math.nan), 0), ((0.9, math.inf), 0)],
)
def test_what_cannot_be_predicted_promises_nothing(factors, horizon):
    assert prediction.orthogonal_tanh(*factors, LEAST) == horizon


def test_the_mean_field_s_integrals_are_those_of_a_normal_variable():
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for v in (0.01, 0.3, 2.0):
        y = (math.sqrt(v) * z).tanh()
        assert prediction._states(v) == pytest.approx(float(y.square().mean()), rel=5e-3)
        assert prediction._slope(v) == pytest.approx(float((1 - y**2).square().mean().sqrt()), rel=5e-3)
