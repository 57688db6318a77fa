"""Temporal order: the answer is the order of the two or three telling symbols, and nothing else says it."""

import math
from itertools import product

import pytest
import torch

from retrograd import config
from retrograd.tasks import make_task

X, Y = 0, 1


def task_of(length=100, bits=2):
    return make_task(config.make({"task": {"name": "temporal-order", "length": length, "bits": bits}}))


def drawn(length, bits, batch=400):
    return task_of(length, bits).examples(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("length", "bits"), [(10, 2), (10, 3), (57, 2), (100, 2), (100, 3)])
def test_the_answer_is_the_place_of_the_order_in_a_list_of_all_orders(length, bits):
    orders = list(product((X, Y), repeat=bits))  # XX XY YX YY
    w = drawn(length, bits)
    for b in range(w.inputs.shape[1]):
        told = tuple(symbol for symbol in w.inputs[:, b].tolist() if symbol in (X, Y))
        assert len(told) == bits
        assert int(w.targets[-1, b]) == orders.index(told)
    assert w.targets[-1].unique().tolist() == list(range(2**bits))


@pytest.mark.parametrize(
    ("bits", "places"), [(2, [(10, 19), (40, 49)]), (3, [(10, 19), (30, 39), (60, 69)])], ids=["2 bits", "3 bits"]
)
def test_of_100_steps_the_symbols_stand_where_the_paper_has_them(bits, places):
    inputs = drawn(100, bits, batch=2000).inputs
    seen = (inputs < 2).any(1).nonzero().flatten().tolist()
    assert seen == [t for first, last in places for t in range(first, last + 1)]


def test_all_else_is_four_equally_frequent_distractors():
    inputs = drawn(100, 2, batch=1000).inputs
    noise = inputs[inputs >= 2].bincount().double()[2:]
    assert len(noise) == 4
    torch.testing.assert_close(noise / noise.sum(), torch.full((4,), 0.25).double(), atol=0.01, rtol=0)


def test_only_the_last_step_is_asked():
    assert drawn(20, 2).asked.any(1).tolist() == [False] * 19 + [True]


@pytest.mark.parametrize("bits", [2, 3])
def test_guessing_costs_the_entropy_of_the_orders(bits):
    task = task_of(bits=bits)
    share = torch.cat([w.targets[-1] for w in task.testing()]).bincount().double() / 10_000
    assert task.guess == pytest.approx(math.log(2**bits))
    assert -float((share * share.log()).sum()) == pytest.approx(task.guess, abs=1e-3)
    assert task.test_tokens == 10_000


def test_the_earliest_symbol_lies_as_many_steps_back_as_the_task_needs():
    first = int((drawn(50, 2, batch=2000).inputs < 2).any(1).nonzero().min())
    assert task_of(50).need == 49 - first == 44
