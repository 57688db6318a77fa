"""Budgets end where they say, and rates follow their formula."""

import math

import pytest

from retrograd.errors import UnknownName
from retrograd.training.schedules import Budget, Position, make_schedule


@pytest.mark.parametrize(
    ("budget", "at"),
    [
        (Budget(steps=200), Position(50, 9.0, 9e9)),
        (Budget(epochs=4), Position(9, 1.0, 9e9)),
        (Budget(minutes=2), Position(9, 9.0, 30.0)),
    ],
)
def test_a_quarter_of_each_kind_of_budget(budget, at):
    assert budget.progress(at) == 0.25


def test_progress_ends_at_one():
    assert Budget(steps=10).progress(Position(11, 0, 0)) == 1.0


def test_cosine_falls_from_one_to_zero():
    cosine = make_schedule("cosine")
    at = Position(5, 0.5, 1.0)
    assert [cosine(at, p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])


def test_divide_halves_each_epoch_after_the_fourth():
    divide = make_schedule("divide", divide_by=2, divide_after=4)
    rates = [divide(Position(0, epoch, 0), 0) for epoch in (0, 0.5, 3.99, 4.0, 4.5, 5.0, 12.0)]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 2.0**-9]


def test_warm_up_rises_to_the_full_rate():
    schedule = make_schedule("constant", warmup=0.2)
    at = Position(0, 0, 0)
    assert [schedule(at, p) for p in (0, 0.1, 0.2, 0.5, 1)] == pytest.approx([0.05, 0.525, 1, 1, 1])


def test_an_unknown_schedule_offers_the_nearest():
    with pytest.raises(UnknownName, match="the nearest is 'cosine'"):
        make_schedule("cosin")


def test_a_schedule_is_finite_under_every_progress():
    for name in ("constant", "cosine", "divide"):
        assert math.isfinite(make_schedule(name)(Position(10**9, 1000.0, 1e9), 1.0))
