"""Norms on a log scale, and the floating-point unit's treatment of denormal numbers."""

import math

import pytest
import torch

from retrograd.numerics import (
    all_finite,
    denormals_are_flushed,
    flush_denormals,
    flushed,
    log_norm,
    log_total_norm,
    norm,
)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e30])
def test_the_norm_is_exact_where_float32_squares_underflow_or_overflow(scale):
    x = torch.tensor([3.0, 4.0]) * scale
    assert math.isclose(float(norm(x)), 5 * scale, rel_tol=1e-6)
    assert math.isclose(float(log_norm(x)), math.log(5) + math.log(scale), rel_tol=1e-6)


def test_zero_infinity_and_nan_stay_three_different_things():
    x = torch.tensor([[0.0, 0.0], [1.0, math.inf], [1.0, math.nan], [1e-42, 0.0]])
    zero, infinite, nan, tiny = log_norm(x).tolist()
    assert zero == -math.inf
    assert infinite == math.inf
    assert math.isnan(nan)
    assert -97 < tiny < -96


def test_the_total_norm_joins_tensors_of_any_scale():
    parts = [torch.full((2, 2), 1e25), torch.zeros(3), torch.tensor([1e25])]
    assert math.isclose(log_total_norm(parts), math.log(math.sqrt(5) * 1e25), rel_tol=1e-6)
    assert log_total_norm([torch.zeros(3)]) == -math.inf
    assert log_total_norm([]) == -math.inf


def test_all_finite_sees_one_bad_element():
    assert all_finite([torch.ones(3), torch.zeros(2)])
    assert not all_finite([torch.ones(3), torch.tensor([1.0, math.nan])])


def surviving() -> int:
    return int((torch.full((1 << 20,), 1e-40) * 1.0 != 0).sum())


def test_denormals_are_flushed_on_every_thread_inside_the_block_and_on_none_after():
    with flush_denormals(True):
        assert denormals_are_flushed()
        assert surviving() == 0
        with flush_denormals(False):
            assert surviving() == 1 << 20
        assert surviving() == 0
    assert not denormals_are_flushed()
    assert surviving() == 1 << 20


def denormal_product() -> float:
    """The share of a large matrix product of denormal numbers that is not zero."""
    return float(((torch.full((512, 512), 1e-40) @ torch.eye(512)) != 0).float().mean())


def test_in_the_flushed_thread_every_kernel_flushes_and_outside_none():
    torch.set_num_threads(2)
    try:
        assert (surviving(), denormal_product()) == (1 << 20, 1.0)
        with flushed() as run_there:
            for _ in range(2):
                assert (run_there(surviving), run_there(denormal_product)) == (0, 0.0)
                assert (surviving(), denormal_product()) == (1 << 20, 1.0)
    finally:
        torch.set_num_threads(1)


def test_an_error_in_the_flushed_thread_comes_out():
    with flushed() as run_there, pytest.raises(ZeroDivisionError):
        run_there(lambda: 1 / 0)


def test_the_setting_is_restored_when_the_block_raises():
    with pytest.raises(ValueError, match="inside"), flush_denormals(True):
        raise ValueError("inside")
    assert not denormals_are_flushed()
