"""Copying memory: ten symbols come back in order, each exactly T + 10 steps after it was read."""

import math

import pytest
import torch
from torch.nn import functional as F

from retrograd import config
from retrograd.tasks import make_task
from retrograd.tasks.copying import COPIED


def copying(blanks=30, symbols=8):
    return make_task(config.make({"task": {"name": "copying", "length": blanks, "symbols": symbols}}))


@pytest.mark.parametrize(("blanks", "symbols"), [(1, 2), (30, 8)])
def test_a_sequence_is_symbols_blanks_the_word_to_go_and_blanks(blanks, symbols):
    w = copying(blanks, symbols).examples(50, torch.Generator().manual_seed(0))
    blank, go = symbols, symbols + 1
    assert len(w.inputs) == blanks + 20
    for b in range(50):
        steps = w.inputs[:, b].tolist()
        assert all(s < symbols for s in steps[:10])
        assert steps[10:] == [blank] * (blanks - 1) + [go] + [blank] * 10


def test_the_answers_are_the_symbols_in_order_as_many_steps_later_as_the_task_needs():
    task = copying()
    w = task.examples(50, torch.Generator().manual_seed(0))
    assert task.need == 40
    for b in range(50):
        asked = w.asked[:, b].nonzero().flatten().tolist()
        assert asked == list(range(40, 50))
        assert w.targets[asked, b].tolist() == [int(w.inputs[t - task.need, b]) for t in asked]


def test_guessing_costs_what_even_logits_cost():
    task = copying()
    w = task.examples(20, torch.Generator().manual_seed(0))
    even = F.cross_entropy(torch.zeros(200, task.sizes.outputs), w.targets[w.asked])
    assert float(even) == pytest.approx(task.guess, rel=1e-6)
    assert task.guess == pytest.approx(math.log(8))


def test_the_papers_baseline_is_the_guess_shared_out_over_all_steps():
    task = copying(blanks=100)
    w = task.examples(1, torch.Generator().manual_seed(0))
    assert task.guess * COPIED / len(w.inputs) == pytest.approx(10 * math.log(8) / (100 + 20))


def test_symbols_are_equally_frequent():
    w = copying(blanks=5).examples(5000, torch.Generator().manual_seed(0))
    counts = w.targets[w.asked].bincount(minlength=8).double()
    torch.testing.assert_close(counts / counts.sum(), torch.full((8,), 1 / 8).double(), atol=0.01, rtol=0)
