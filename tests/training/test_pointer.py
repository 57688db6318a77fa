"""Which checkpoints count."""

import math

import pytest

from retrograd.errors import RunError
from retrograd.training.pointer import Pointer, point, pointed, step_of

A, B, C, D = "step-000010", "step-000020", "step-000023", "step-000030"


def test_it_comes_back_as_it_was_written(tmp_path):
    for pointer in (Pointer(), Pointer(A), Pointer(C, B, (B, A), A, 1.25, ("step-000000", "step-000010.2"))):
        point(tmp_path, pointer)
        assert pointed(tmp_path) == pointer


def test_without_a_file_nothing_counts(tmp_path):
    assert pointed(tmp_path) == Pointer()
    assert Pointer().newest_first == []


def test_the_kept_ones_are_told_by_their_steps_each_once():
    assert Pointer(C, B, (B, A), A).newest_first == [C, B, A]
    assert Pointer(A, None, (A,), D).newest_first == [D, A], "as after going back"
    assert Pointer("step-000010.10", "step-000010.2", (A,)).newest_first == ["step-000010.10", "step-000010.2", A]


def test_only_milestones_and_the_best_are_gone_back_to():
    assert Pointer(C, B, (B, A), A).grounds == [B, A]
    assert Pointer(C, None, (A,), B).grounds == [B, A]


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ([], Pointer(C, B, (B, A), A, 1.5)),
        ([C], Pointer(B, None, (B, A), A, 1.5)),
        ([B], Pointer(C, None, (A,), A, 1.5)),
        ([A], Pointer(C, B, (B,), None, math.inf)),
        ([C, B], Pointer(A, None, (A,), A, 1.5)),
        ([A, B, C], Pointer()),
    ],
)
def test_what_is_damaged_does_not_count(gone, left):
    assert Pointer(C, B, (B, A), A, 1.5).without(gone) == left


def test_after_going_back_nothing_newer_counts_but_the_best():
    assert Pointer(C, B, (B, A), D, 1.5).back_to(A, (B, A)) == Pointer(A, None, (A,), D, 1.5, (B, A))


def test_a_name_tells_its_step():
    assert [step_of(name) for name in ("step-000000", "step-1234567", "step-000200.3")] == [0, 1_234_567, 200]


@pytest.mark.parametrize("name", ["..", "../../step-000001", "step-1", "step-000001/..", "/etc", "step-000001.x"])
@pytest.mark.parametrize("key", ["last", "previous", "best", "milestones", "returns"])
def test_a_name_that_is_none_of_ours_is_refused(tmp_path, name, key):
    value = f'["{name}"]' if key in ("milestones", "returns") else f'"{name}"'
    (tmp_path / "latest.json").write_text(f'{{"{key}": {value}}}')
    with pytest.raises(RunError, match="which is no checkpoint of this run"):
        pointed(tmp_path)
