"""Norms on a log scale."""

import math

import pytest
import torch

from retrograd.numerics import (
    all_finite,
    log_norm,
    log_total_norm,
    scale_,
    unit,
)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e30])
def test_the_logarithm_is_exact_where_float32_squares_underflow_or_overflow(scale):
    x = torch.tensor([3.0, 4.0]) * scale
    assert math.isclose(float(log_norm(x)), math.log(5) + math.log(scale), rel_tol=1e-6)


def test_rows_whose_squares_a_float64_holds_and_others_stand_side_by_side():
    scales = torch.tensor([1e-300, 1e-200, 1e-141, 1e-139, 1.0, 1e139, 1e141, 1e300], dtype=torch.float64)
    x = torch.tensor([3.0, 4.0], dtype=torch.float64) * scales[:, None]
    torch.testing.assert_close(log_norm(x), math.log(5) + scales.log(), rtol=1e-14, atol=0)
    torch.testing.assert_close(log_norm(x.T, dim=0), log_norm(x), rtol=0, atol=0)


def test_numbers_whose_sum_is_none_are_numbers():
    assert all_finite([torch.full((3,), 3e38), torch.empty(0)])
    assert not all_finite([torch.tensor([1.0, math.inf, -math.inf])])


def test_zero_infinity_and_nan_stay_three_different_things():
    x = torch.tensor([[0.0, 0.0], [1.0, math.inf], [1.0, math.nan], [1e-42, 0.0]])
    zero, infinite, nan, tiny = log_norm(x).tolist()
    assert zero == -math.inf
    assert infinite == math.inf
    assert math.isnan(nan)
    assert -97 < tiny < -96


def test_rows_are_brought_to_length_one_except_what_has_no_direction():
    x = torch.tensor([[3e-30, 4e-30], [0.0, 0.0], [1.0, math.inf], [1.0, math.nan]])
    units, logs = unit(x)
    assert units[0].tolist() == pytest.approx([0.6, 0.8], rel=1e-6)
    assert torch.equal(units[1:3], x[1:3].double())
    assert units[3].isnan().tolist() == [False, True]
    torch.testing.assert_close(logs, log_norm(x), rtol=0, atol=0, equal_nan=True)


def test_the_total_norm_joins_tensors_of_any_scale():
    parts = [torch.full((2, 2), 1e25), torch.zeros(3), torch.tensor([1e25])]
    assert math.isclose(log_total_norm(parts), math.log(math.sqrt(5) * 1e25), rel_tol=1e-6)
    assert log_total_norm([torch.zeros(3)]) == -math.inf
    assert log_total_norm([]) == -math.inf


def test_all_finite_sees_one_bad_element():
    assert all_finite([torch.ones(3), torch.zeros(2)])
    assert not all_finite([torch.ones(3), torch.tensor([1.0, math.nan])])


def test_a_factor_that_float32_cannot_hold_scales_all_the_same():
    x = [torch.full((3,), 1e30), torch.ones(2)]
    scale_(x, -50 * math.log(10))
    torch.testing.assert_close(x, [torch.full((3,), 1e-20), torch.zeros(2)], rtol=1e-5, atol=0)
