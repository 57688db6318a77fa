"""Student's t from its finite sum, and what pairing by seed does, against tables and sums written out."""

import math
from itertools import pairwise
from statistics import fmean, stdev

import pytest

from retrograd.experiments.comparing.statistics import apart, difference, interval, quantile, share

TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 99: 1.984}  # 97.5 %


@pytest.mark.parametrize(("freedom", "t"), TABLE.items())
def test_the_quantiles_are_those_of_the_printed_table(freedom, t):
    assert quantile(0.975, freedom) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.0, 9.0])
def test_the_share_is_the_density_summed_up(freedom, t):
    """The density by the trapezium rule on 20,000 pieces; tolerance 1e-6."""
    c = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = [c * (1 + (t * i / 20_000) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(20_001)]
    area = sum(a + b for a, b in pairwise(density)) / 2 * t / 20_000
    assert share(t, freedom) == pytest.approx(0.5 + area, abs=1e-6)


def test_the_interval_is_the_mean_with_its_standard_error_on_either_side():
    values = [2.0, 2.5, 2.1, 2.6]
    found = interval(values)
    off = 3.182 * stdev(values) / 2
    assert found.value == fmean(values)
    assert (found.low, found.high) == (pytest.approx(fmean(values) - off, abs=1e-3), pytest.approx(2.3 + off, abs=1e-3))


def test_a_single_value_has_no_interval_and_tells_nothing_apart():
    found = interval([3.0])
    assert (found.value, found.low, found.high) == (3.0, None, None)
    assert not apart(found)


def test_what_a_seed_does_to_both_models_cancels():
    a, b = {1: 2.0, 2: 3.0, 3: 1.0}, {1: 1.9, 2: 2.91, 3: 0.89}
    found, seeds = difference(a, b)
    assert seeds == 3
    assert found.value == pytest.approx(0.1)
    assert apart(found)
    crossed, _ = difference(a, {1: 0.89, 2: 1.9, 3: 2.91})  # the same figures, of other seeds
    assert not apart(crossed)


def test_only_seeds_that_both_have_are_paired():
    found, seeds = difference({1: 2.0, 2: 3.0}, {2: 1.0, 3: 9.0})
    assert (found.value, found.low, seeds) == (2.0, None, 1)
    assert difference({1: 2.0}, {2: 1.0}) is None


def test_equal_figures_are_never_told_apart():
    found, _ = difference({1: 1.0, 2: 1.0}, {1: 1.0, 2: 1.0})
    assert (found.low, found.high) == (0.0, 0.0)
    assert not apart(found)
