"""Clipping keeps finite gradients finite and non-zero at any scale, and never hides one that is not finite."""

import math

import pytest
import torch

from retrograd.training.clipping import clip_, log_norm


def gradients(scale: float) -> list[torch.Tensor]:
    return [torch.tensor([3.0, 0.0]) * scale, torch.tensor([[0.0, -4.0]]) * scale]


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e20, 5e37])
def test_the_norm_is_that_of_all_gradients_as_one_vector(scale):
    assert log_norm(gradients(scale)) == pytest.approx(math.log(5) + math.log(scale), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e10, 1e20, 5e37])
def test_clipping_by_norm_keeps_the_direction_of_any_finite_gradient(scale):
    g = gradients(scale)
    result = clip_(g, norm=2.0)
    assert result.clipped
    assert result.finite
    assert g[0].tolist() == pytest.approx([1.2, 0.0], rel=1e-5)
    assert g[1][0].tolist() == pytest.approx([0.0, -1.6], rel=1e-5)


def test_torchs_own_clipping_zeroes_what_is_kept_here():
    p = torch.nn.Parameter(torch.zeros(2))
    p.grad = torch.full((2,), 1e20)
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    assert p.grad.tolist() == [0.0, 0.0]
    g = [torch.full((2,), 1e20)]
    clip_(g, norm=1.0)
    assert g[0].tolist() == pytest.approx([0.5**0.5] * 2)


def test_a_gradient_under_the_limit_keeps_its_bits():
    g = gradients(0.123)
    before = [x.clone() for x in g]
    assert not clip_(g, norm=1.0, value=1.0).clipped
    assert all(torch.equal(a, b) for a, b in zip(g, before, strict=True))


def test_clipping_by_value_clamps_each_component_on_both_sides():
    g = gradients(1e20)
    assert clip_(g, value=0.5).clipped
    assert g[0].tolist() == [0.5, 0.0]
    assert g[1].tolist() == [[0.0, -0.5]]


def test_by_value_comes_first_and_the_norm_is_told_from_before():
    g = gradients(10.0)
    result = clip_(g, norm=1.0, value=10.0)
    assert math.exp(result.log_norm) == pytest.approx(50.0)
    assert log_norm(g) == pytest.approx(0.0, abs=1e-6)
    assert g[0][0] == pytest.approx(-g[1][0, 1])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_left_as_it_is_and_said(bad):
    g = [torch.tensor([1.0, bad]), torch.tensor([2.0])]
    result = clip_(g, norm=1.0, value=0.5)
    assert not result.finite
    assert not result.clipped
    assert g[0][0] == 1.0
    assert g[1][0] == 2.0


def test_a_gradient_of_exact_zeros_is_finite_and_stays():
    result = clip_([torch.zeros(3)], norm=1.0)
    assert result.finite
    assert result.log_norm == -math.inf
    assert clip_([], norm=1.0).finite
