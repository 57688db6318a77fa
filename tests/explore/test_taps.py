"""Reach by taps: the measures on the same cell, and nets whose answer is a power of one matrix."""

import math

import pytest
import torch

from retrograd.bptt import Stack
from retrograd.cells import MultiTap
from retrograd.errors import UsageError
from retrograd.explore import EXPLORATIONS, taps
from retrograd.explore.taps import INPUTS, SEQUENCES, _made
from retrograd.init import orthogonal_
from retrograd.measures import horizon, reach
from retrograd.trace import record


def test_the_numbers_are_those_of_the_measures_on_the_same_cell():
    state = torch.get_rng_state()
    torch.manual_seed(4)
    x = torch.randn(40, SEQUENCES, INPUTS, dtype=torch.float64)
    torch.manual_seed(4)
    cell = MultiTap(INPUTS, 8, taps=(1, 3))
    orthogonal_(cell, 0.4)
    torch.set_rng_state(state)
    truth = horizon(reach(record(Stack([cell]).double(), lambda m: m(x)[0][-1].square().sum())))
    [course] = taps([(3, 1)], size=8, steps=40, start="orthogonal=0.4", seed=4).courses
    assert course.taps == (1, 3)
    assert (course.profile, course.decay, course.horizon) == (truth.profile, truth.decay, truth.steps)
    assert not truth.censored


@pytest.mark.parametrize("d", [1, 4, 7])
def test_of_a_scalar_linear_net_a_single_tap_is_one_factor_every_so_many_steps(d):
    [course] = taps([(d,)], size=1, steps=30, activation="identity", seed=1).courses
    w = math.log(abs(_made((d,), 1, "identity", "default", 1).weight_hh.item()))
    assert course.profile == pytest.approx([math.ceil(l / d) * w for l in range(31)], abs=1e-5)
    strides = [l / d * w if l % d == 0 else -math.inf for l in range(31)]
    assert course.at_output == pytest.approx(strides, abs=1e-5)
    assert (course.recurrent_depth, course.skip) == (0, math.inf)


def test_an_orthogonal_linear_net_keeps_all_and_a_single_step_of_it_is_no_further_than_any():
    for course in taps([(1,), (5,)], size=8, steps=30, activation="identity", start="orthogonal").courses:
        assert course.profile == pytest.approx([0.0] * 31, abs=1e-5)
        assert course.horizon == math.inf


def test_a_longer_tap_reaches_as_many_times_further_and_two_reach_further_than_one():
    found = {course.taps: course for course in taps().courses}
    one, four, both, far = (found[each] for each in ((1,), (4,), (1, 4), (1, 16)))
    assert 3 < four.horizon / one.horizon < 5
    assert four.decay == pytest.approx(one.decay**0.25, abs=0.02)
    assert one.horizon < four.horizon < both.horizon < far.horizon
    assert [course.recurrent_depth for course in (one, four, both, far)] == [1, 0.25, 1, 1]
    assert [course.skip for course in (one, four, both, far)] == [1, 4, 4, 16]
    said = EXPLORATIONS["taps"].say(taps([(1,), (1, 16)], steps=60))
    assert said.startswith("A thousandth of the gradient at the last step is left ")
    assert "steps back with taps at 1; beyond all 60 steps with taps at 1, 16." in said


def test_the_same_set_is_there_once():
    assert [course.taps for course in taps([(1, 2), (2, 1), (3,)], size=4, steps=8).courses] == [(1, 2), (3,)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sets": []}, "At least one set of taps"),
        ({"sets": [()]}, "different whole numbers"),
        ({"sets": [(0,)]}, "different whole numbers"),
        ({"sets": [(1024,)], "size": 8}, "at most 4,096, got 1024 times 8"),
        ({"sets": [(d,) for d in range(1, 17)]}, "At most 15 sets of taps"),
        ({"steps": 7}, "Steps must be a whole number from 8"),
        ({"start": "chrono=9"}, "needs a gate"),
        ({"activation": "tahn"}, "nearest is 'tanh'"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        taps(**options)
