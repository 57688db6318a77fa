"""Delayed recall: the symbol lies exactly `gap` steps before the only question."""

import math

import torch
from torch.nn import functional as F

from retrograd import config
from retrograd.tasks import make_task
from retrograd.tasks.recall import NOISE


def recall(gap=7, symbols=4):
    return make_task(config.make({"task": {"name": "recall", "length": gap, "symbols": symbols}}))


def test_the_answer_is_the_symbol_shown_gap_steps_before():
    task = recall()
    w = task.examples(32, torch.Generator().manual_seed(0))
    [asked] = w.asked.all(1).nonzero().flatten().tolist()
    assert asked == 7 == task.need
    assert int(w.asked.sum()) == 32
    assert torch.equal(w.targets[asked], w.inputs[asked - task.need])


def test_nothing_between_tells_the_answer():
    w = recall().examples(500, torch.Generator().manual_seed(0))
    assert bool((w.inputs[0] < 4).all())
    assert bool(((w.inputs[1:-1] >= 4) & (w.inputs[1:-1] < 4 + NOISE)).all())
    assert bool((w.inputs[-1] == 4 + NOISE).all())


def test_examples_are_fresh_in_training_and_fixed_elsewhere():
    task = recall()
    windows = task.training()
    assert not torch.equal(next(windows).inputs, next(windows).inputs)
    assert torch.equal(next(task.testing()).inputs, next(task.testing()).inputs)
    assert not torch.equal(next(task.testing()).inputs, next(task.validation()).inputs)


def test_guessing_costs_what_even_logits_cost():
    task = recall(symbols=5)
    w = task.examples(8, torch.Generator().manual_seed(0))
    assert math.isclose(float(F.cross_entropy(torch.zeros(8, 5), w.targets[-1])), task.guess, rel_tol=1e-6)


def test_a_run_folder_of_before_says_the_same_task():
    old = config.make({"task": "recall", "recall": {"gap": 9, "symbols": 3}})
    assert make_task(old).fingerprint == recall(9, 3).fingerprint
