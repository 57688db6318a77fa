"""Activation derivatives against autograd and closed forms."""

import math

import pytest
import torch

from retrograd.errors import UsageError
from retrograd.explore import derivatives

TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
NAMES = ("sigmoid", "tanh", "relu", "identity")


@pytest.fixture(scope="module")
def found():
    return derivatives(NAMES)


@pytest.mark.parametrize("name", TORCH)
def test_the_curves_are_autograds(found, name):
    z = torch.tensor(found.z, dtype=torch.float64, requires_grad=True)
    y = TORCH[name](z)
    [slope] = torch.autograd.grad(y.sum(), z)
    curve = found.curves[NAMES.index(name)]
    assert curve.values == pytest.approx(y.tolist(), abs=1e-14)
    assert curve.slopes == pytest.approx(slope.tolist(), abs=1e-14)


def test_the_maxima_are_a_quarter_and_one(found):
    for curve, largest in zip(found.curves, (0.25, 1.0, 1.0, 1.0), strict=True):
        assert curve.largest == largest == max(curve.slopes)
    assert set(found.curves[2].slopes) == {0.0, 1.0}


def test_the_widths_are_those_of_the_closed_forms(found):
    sigmoid, tanh, relu, identity = found.curves
    assert sigmoid.half[1] == pytest.approx(math.log(3 + 2 * math.sqrt(2)), rel=1e-12)
    y = (1 + math.sqrt(1 - 0.01)) / 2  # y (1 - y) = 0.0025
    assert sigmoid.alive[1] == pytest.approx(math.log(y / (1 - y)), rel=1e-10)
    assert tanh.half[1] == pytest.approx(math.atanh(math.sqrt(0.5)), rel=1e-12)
    assert tanh.alive[1] == pytest.approx(math.atanh(math.sqrt(0.99)), rel=1e-10)
    for curve in (sigmoid, tanh):
        assert curve.half[0] == pytest.approx(-curve.half[1], rel=1e-12)
    assert relu.half == relu.alive == (0.0, math.inf)
    assert identity.half == identity.alive == (-math.inf, math.inf)


@pytest.mark.parametrize("options", [{"reach": 0.0}, {"reach": math.inf}, {"points": 2}, {"activations": ["gelu!"]}])
def test_what_cannot_be_is_said(options):
    with pytest.raises(UsageError, match=r"must be|No activation"):
        derivatives(**options)
