"""Clipping from logged norms, against the same taken from gradients that really were clipped."""

import math

import pytest
import torch

from retrograd.errors import UsageError
from retrograd.measures import clipping


def logs(norms):
    return [math.log(x) if x else -math.inf for x in norms]


def test_share_and_factor_are_those_of_torchs_own_clipping():
    torch.manual_seed(0)
    p, before, after, factors = torch.nn.Parameter(torch.zeros(50)), [], [], []
    for scale in torch.linspace(0.01, 3, 40).tolist():
        p.grad = scale * torch.randn(50)
        before.append(float(p.grad.norm()))
        torch.nn.utils.clip_grad_norm_([p], 4.0)
        after.append(float(p.grad.norm()))
        factors.append(after[-1] / before[-1])
    cut = sorted(f for f in factors if f < 0.999)
    for found in (clipping(logs(before), threshold=4.0), clipping(logs(before), after=logs(after))):
        assert found.share == len(cut) / 40
        assert found.factor == pytest.approx(cut[(len(cut) + 1) // 2 - 1], rel=1e-4)  # by the nearest rank
        assert found.hardest == pytest.approx(cut[0], rel=1e-4)
        assert found.log_norms[-1] == pytest.approx(math.log(max(before)))
    assert 0 < found.share < 1


def test_norms_beyond_float32_are_counted_and_those_that_are_no_number_are_not():
    found = clipping([200.0, 0.5, math.nan, math.inf, -math.inf], threshold=1.0)
    assert (found.steps, found.not_finite) == (5, 2)
    assert found.share == 2 / 3
    assert found.hardest == pytest.approx(math.exp(-200))
    assert found.log_norms == (-math.inf, 0.5, 200.0, 200.0)


def test_quantiles_are_by_the_nearest_rank():
    found = clipping([float(x) for x in range(1, 11)])
    assert found.log_norms == (1.0, 5.0, 9.0, 10.0)


def test_without_a_threshold_or_what_was_left_the_share_is_not_known_and_not_zero():
    found = clipping([0.0, 5.0])
    assert (found.share, found.factor, found.hardest) == (None, None, None)
    assert clipping([0.0, 5.0], threshold=1e9).share == 0.0


def test_float32_rounding_is_no_clipping_and_a_zero_gradient_is_not_cut():
    assert clipping([0.0, -math.inf], after=[-1e-6, -math.inf]).share == 0.0


def test_a_step_that_the_optimiser_skipped_was_not_clipped():
    assert clipping([3.0, 3.0], after=[math.nan, 0.0]).share == 0.5


def test_no_step_at_all_is_no_error():
    found = clipping([], threshold=1.0)
    assert (found.steps, found.share, found.log_norms) == (0, None, ())


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_is_a_number_over_zero(threshold):
    with pytest.raises(UsageError, match="number over 0"):
        clipping([1.0], threshold=threshold)


def test_as_many_norms_after_as_before():
    with pytest.raises(UsageError, match="2 norms before clipping and 1 after"):
        clipping([1.0, 2.0], after=[1.0])
