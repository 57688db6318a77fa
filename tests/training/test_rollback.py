"""When training goes back, to what, and when it gives up."""

import math

from retrograd.training.loop import Step
from retrograd.training.rollback import Rollback


def step(finite: bool) -> Step:
    loss = 1.0 if finite else math.nan
    return Step(1, 0.0, 0.0, loss, 0.0, clipped=False, lr=1.0, tokens=1, finite=finite)


def seen(rollback: Rollback, *finite: bool) -> list[bool]:
    return [rollback.due(step(f)) for f in finite]


def test_so_many_steps_in_a_row_are_too_many():
    rollback = Rollback(3, 5, 0.5)
    assert seen(rollback, False, False, False) == [False, False, True]


def test_one_in_two_is_too_many_in_the_long_run_and_one_in_three_is_not():
    every_other, every_third = [True, False] * 20, [True, True, False] * 20
    assert seen(Rollback(3, 5, 0.5), *every_other).index(True) == 9
    assert not any(seen(Rollback(3, 5, 0.5), *every_third))


def test_each_return_makes_the_step_smaller_and_clips():
    rollback = Rollback(1, 5, 0.25)
    assert (rollback.scale, rollback.clip_norm(0.0), rollback.clip_norm(7.0)) == (1.0, 0.0, 7.0)
    for scale in (0.25, 0.0625):
        seen(rollback, True, False)
        rollback.choose(["a"])
        assert (rollback.scale, rollback.clip_norm(0.0), rollback.clip_norm(7.0)) == (scale, 1.0, 7.0)


def test_the_newest_first_and_an_older_one_when_that_did_not_help():
    rollback = Rollback(1, 5, 0.5)
    chosen = []
    for kept in (["c", "b", "a"], ["c", "b", "a"], ["b", "a"], ["a"], ["e", "a"]):
        seen(rollback, True, False)
        chosen.append(rollback.choose(kept))
    assert chosen == ["c", "b", "a", "a", "e"]


def test_it_goes_back_only_so_often():
    rollback = Rollback(1, 2, 0.5)
    for expected in ("a", "a", None):
        seen(rollback, True, False)
        assert rollback.choose(["a"]) == expected


def test_where_no_step_could_be_taken_a_smaller_one_is_no_help():
    start = Rollback(3, 5, 0.5)
    seen(start, False, False, False)
    assert start.choose(["step-000000"]) is None

    later = Rollback(1, 5, 0.5)
    seen(later, True, False)
    assert later.choose(["b", "a"]) == "b"
    seen(later, False)
    assert later.choose(["b", "a"]) == "a", "from b not one step could be taken"
    seen(later, False)
    assert later.choose(["a"]) is None


def test_a_run_that_goes_on_remembers_its_returns():
    rollback = Rollback(1, 2, 0.5, tried=("a", "b"))
    assert rollback.scale == 0.25
    seen(rollback, True, False)
    assert rollback.choose(["c"]) is None
