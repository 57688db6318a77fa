"""Profiles whose horizon is known in closed form."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures import Reach, horizon, reach
from retrograd.trace import record

LAGS = 40


def reached(logs, *, has_memory=False, per_step=True):
    """A Reach from ln N, (A, lags, B)."""
    length = logs.shape[1] - 1
    return Reach(
        logs.double(), tuple(range(length, length + len(logs))), length, ("l0",), has_memory, per_step, not per_step
    )


def geometric(factor, *, lags=LAGS, anchors=2, batch=6):
    l = torch.arange(lags + 1).double()
    return (l * math.log(factor))[None, :, None].expand(anchors, -1, batch) + torch.randn(anchors, 1, batch)


@pytest.mark.parametrize(("factor", "steps"), [(0.5, 9), (0.7, 19), (0.1, 3), (0.8, 30)])
def test_a_geometric_decay_has_the_horizon_of_its_factor(factor, steps):
    h = horizon(reached(geometric(factor) + 1e-12))
    assert (h.steps, h.low, h.high, h.display) == (steps, steps, steps, str(steps))
    assert steps == math.floor(math.log(1e-3) / math.log(factor) + 1e-9)
    assert h.decay == pytest.approx(factor, rel=1e-9)
    assert h.fitted == (0, steps + 1)
    assert not h.censored


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.3])
def test_what_outlives_the_measured_lags_is_censored(factor):
    h = horizon(reached(geometric(factor)))
    assert h.censored
    assert str(h) == ">40"
    assert h.decay == pytest.approx(factor, rel=1e-9)


def test_a_dip_ends_the_horizon_though_the_gradient_comes_back():
    logs = geometric(1.0)
    logs[:, 7] -= 20
    assert horizon(reached(logs)).steps == 6


def test_with_a_memory_cell_lag_one_is_the_reference_and_the_read_out_is_told_apart():
    logs = geometric(0.5)
    logs[:, 0] -= math.log(40)  # at lag 0 only h has a gradient
    h = horizon(reached(logs, has_memory=True))
    assert (h.reference, h.steps) == (1, 10)
    assert h.readout == pytest.approx(2 / 40)
    assert h.profile[1] == 0
    assert h.fitted[0] == 1
    assert horizon(reached(logs)).readout is None


def test_the_profile_is_the_median_and_the_90_percent_quantile():
    logs = torch.zeros(1, 2, 10)
    logs[0, 1] = -torch.arange(10.0)
    h = horizon(reached(logs))
    assert h.profile == (0.0, -5.0)  # the lower of the two in the middle
    assert h.upper == (0.0, -1.0)


def test_anchors_without_a_loss_of_their_own_do_not_count():
    logs = geometric(0.5)
    logs[:, :, :4] = -math.inf
    h = horizon(reached(logs))
    assert (h.sequences, h.steps) == (2, 9)
    logs[:] = -math.inf
    with pytest.raises(NotMeasured, match="last step"):
        horizon(reached(logs))


def test_one_sequence_has_no_interval():
    h = horizon(reached(geometric(0.5, batch=1)))
    assert (h.low, h.high, h.decay_low, h.decay_high) == (None, None, None, None)
    assert h.profile_low == h.profile_high == ()


def test_the_interval_covers_what_the_sequences_differ_by():
    logs = torch.stack([geometric(f, batch=1)[0, :, 0] for f in torch.linspace(0.4, 0.8, 20)], -1)[None]
    h = horizon(reached(logs))
    assert 7 < h.low < h.steps < h.high < 30
    assert h.decay_low < h.decay < h.decay_high


def test_the_interval_of_each_lag_brackets_the_profile():
    logs = torch.stack([geometric(f, batch=1)[0, :, 0] for f in torch.linspace(0.4, 0.8, 20)], -1)[None]
    h = horizon(reached(logs))
    assert len(h.profile_low) == len(h.profile_high) == len(h.profile) == LAGS + 1
    assert h.profile_low[0] == h.profile[0] == h.profile_high[0] == 0  # the reference is 1 in each sequence
    for l, (low, middle, high) in enumerate(zip(h.profile_low, h.profile, h.profile_high, strict=True)):
        if l:
            assert l * math.log(0.4) < low < middle < high < l * math.log(0.8)


def test_identical_sequences_leave_each_lag_no_interval():
    logs = geometric(0.6, anchors=1, batch=1).expand(-1, -1, 8)
    h = horizon(reached(logs))
    assert h.profile_low == h.profile == h.profile_high


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Sequences whose factor is log-normal around 0.6: a 95 % interval of 24 of them covers the true decay mostly."""
    hits = 0
    for _ in range(60):
        factors = (math.log(0.6) + 0.1 * torch.randn(24)).exp()
        h = horizon(reached(torch.stack([geometric(float(f), batch=1)[0, :, 0] for f in factors], -1)[None]))
        hits += h.decay_low <= 0.6 <= h.decay_high
    assert hits >= 50


def test_the_same_seed_gives_the_same_interval_and_the_global_generator_is_left_alone():
    logs = torch.cat([geometric(0.6, batch=4), geometric(0.5, batch=4)], -1)
    before = torch.get_rng_state()
    assert horizon(reached(logs), seed=3) == horizon(reached(logs), seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_kept_as_data_and_ends_the_horizon(bad):
    logs = geometric(1.0)
    logs[:, 12:] = bad
    h = horizon(reached(logs))
    assert not h.finite
    assert h.steps in (11, 40)  # an infinite gradient is over the threshold, NaN is nowhere
    assert repr(h.profile[12]) == repr(bad)


@pytest.mark.parametrize("first", [0, 1, 12])
def test_a_horizon_that_a_nan_ends_is_shown_as_nan(first):
    logs = geometric(1.0)
    logs[:, first:] = math.nan
    h = horizon(reached(logs))
    assert (h.lost, h.display) == (True, "NaN")


def test_a_nan_after_the_horizon_leaves_it_as_it_is():
    logs = geometric(0.5) + 1e-12
    logs[:, 20:] = math.nan
    h = horizon(reached(logs))
    assert (h.lost, h.display) == (False, "9")


def test_a_true_zero_and_an_underflow_are_told_apart():
    cut, faded = geometric(1.0), geometric(1e-20)
    cut[:, 10:] = -math.inf
    faded[:, 17:] = -math.inf
    assert horizon(reached(cut)).underflow is None
    assert horizon(reached(faded)).underflow == 17
    assert horizon(reached(cut)).steps == 9


def test_an_exact_zero_after_the_loss_leaves_a_horizon_of_nothing():
    logs = geometric(1.0)
    logs[:, 1:] = -math.inf
    h = horizon(reached(logs))
    assert h.steps == 0
    assert math.isnan(h.decay)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 5.0])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(UsageError, match="share"):
        horizon(reached(geometric(0.5)), threshold=threshold)


def test_it_holds_plain_numbers_only():
    module, x = nn.LSTM(3, 5), torch.randn(30, 4, 3)
    h = horizon(reach(record(module, lambda m: m(x)[0].sum(-1))))
    assert h.reference == 1
    assert json.loads(json.dumps(dataclasses.asdict(h)))["steps"] == h.steps
