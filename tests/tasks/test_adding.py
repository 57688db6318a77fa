"""The adding problem: one mark in each half, and the answer is the sum of the two numbers that they stand at."""

import pytest
import torch

from retrograd import config
from retrograd.tasks import make_task


def adding(length=None):
    return make_task(config.make({"task": {"name": "adding"} | ({"length": length} if length else {})}))


def drawn(length, batch=200):
    return adding(length).examples(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("length", [2, 3, 10, 151])
def test_the_answer_is_the_sum_of_the_two_marked_numbers_added_by_hand(length):
    w = drawn(length)
    for b in range(w.inputs.shape[1]):
        steps = w.inputs[:, b].tolist()
        marked = [t for t, (_, mark) in enumerate(steps) if mark == 1]
        assert {mark for _, mark in steps} <= {0.0, 1.0}
        assert len(marked) == 2
        assert marked[0] < length // 2 <= marked[1]
        assert w.targets[-1, b] == pytest.approx(steps[marked[0]][0] + steps[marked[1]][0], abs=1e-6)


def test_only_the_last_step_is_asked():
    w = drawn(9)
    assert bool(w.targets[:-1].isnan().all())
    assert w.asked.any(1).tolist() == [False] * 8 + [True]


@pytest.mark.parametrize("length", [8, 9])
def test_each_half_is_marked_everywhere_and_equally_often(length):
    marks = drawn(length, batch=20_000).inputs[..., 1].mean(1)
    half = length // 2
    expected = torch.tensor([1 / half] * half + [1 / (length - half)] * (length - half))
    torch.testing.assert_close(marks, expected, atol=0.015, rtol=0)  # five standard errors


def test_numbers_are_uniform_and_tell_nothing_of_the_marks():
    numbers, marks = drawn(50, batch=5000).inputs.unbind(-1)
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    assert float(numbers.mean()) == pytest.approx(1 / 2, abs=0.003)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.001)
    assert float(numbers[marks == 1].mean()) == pytest.approx(1 / 2, abs=0.015)


def test_the_guess_is_the_error_of_the_best_constant_answer():
    task = adding()
    answers = torch.cat([w.targets[-1] for w in task.testing()]).double()
    assert len(answers) == task.test_tokens == 10_000
    errors = {constant: float((answers - constant).square().mean()) for constant in (0.9, 1.0, 1.1)}
    assert task.guess == pytest.approx(1 / 6)
    assert errors[1.0] == pytest.approx(task.guess, abs=0.01)
    assert min(errors, key=errors.get) == 1.0


def test_the_earliest_mark_lies_as_many_steps_back_as_the_task_needs():
    task = adding(20)
    marks = drawn(20, batch=2000).inputs[..., 1]
    assert task.need == 19 - int(marks.any(1).nonzero().min())
    assert adding().need == 149
