"""A latch: what is told is what a machine of one memory cell would hold, set and let go by the inputs alone."""

import pytest
import torch

from retrograd import config
from retrograd.tasks import make_task
from retrograd.tasks.latch import NOISE


def latch(length=20, symbols=2):
    return make_task(config.make({"task": {"name": "latch", "length": length, "symbols": symbols}}))


def drawn(length=20, symbols=2, batch=600):
    return latch(length, symbols).examples(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("length", "symbols"), [(4, 2), (5, 3), (20, 2), (51, 4)])
def test_the_answers_are_what_a_memory_cell_read_step_by_step_holds(length, symbols):
    w = drawn(length, symbols)
    let_go, asked, nothing = symbols, symbols + 1, symbols
    for b in range(w.inputs.shape[1]):
        held = nothing
        for x, y, question in zip(
            w.inputs[:, b].tolist(), w.targets[:, b].tolist(), w.asked[:, b].tolist(), strict=True
        ):
            held = x if x < symbols else nothing if x == let_go else held
            assert question == (x == asked)
            if question:
                assert y == held


def test_it_is_asked_in_the_middle_and_at_the_end():
    assert drawn(21).asked.all(1).nonzero().flatten().tolist() == [9, 20]
    assert int(drawn(21).asked.sum()) == 2 * 600


def test_at_the_end_it_holds_or_is_empty_or_is_set_anew_a_third_each():
    w = drawn(batch=30_000)
    second = w.inputs[10:-1]
    let_go, anew = (second == 2).any(0).double().mean(), (second < 2).any(0).double().mean()
    assert float(let_go) == pytest.approx(1 / 3, abs=0.015)
    assert float(anew) == pytest.approx(1 / 3, abs=0.015)
    assert not bool(((second == 2).any(0) & (second < 2).any(0)).any())


def test_what_changes_the_memory_may_stand_anywhere_in_the_second_half_and_nowhere_before():
    inputs = drawn(batch=5000).inputs
    changes = (inputs < 3).any(1).nonzero().flatten().tolist()
    assert changes == [0, *range(10, 19)]


def test_noise_is_equally_frequent():
    inputs = drawn(batch=3000).inputs
    noise = inputs[inputs >= 4].bincount().double()[4:]
    assert len(noise) == NOISE
    torch.testing.assert_close(noise / noise.sum(), torch.full((NOISE,), 1 / NOISE).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("symbols", [2, 5])
def test_guessing_costs_the_entropy_of_the_answers(symbols):
    task = latch(symbols=symbols)
    w = drawn(symbols=symbols, batch=50_000)
    share = w.targets[w.asked].bincount().double() / int(w.asked.sum())
    assert -float((share * share.log()).sum()) == pytest.approx(task.guess, abs=5e-3)


def test_the_first_symbol_is_asked_for_as_many_steps_later_as_the_task_needs():
    w = drawn()
    held = (w.inputs[10:-1] >= 4).all(0)
    assert bool(held.any())
    assert torch.equal(w.targets[latch().need, held], w.inputs[0, held])
