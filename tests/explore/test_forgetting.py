"""Two states: their distance and exponent against a plain loop and against cells whose answer is known."""

import math

import pytest
import torch

from retrograd.bptt import Stack
from retrograd.cells import Elman
from retrograd.errors import UsageError
from retrograd.explore import EXPLORATIONS, forgetting
from retrograd.explore.forgetting import INPUTS, SEQUENCES, _made
from retrograd.explore.starts import seeded
from retrograd.init import orthogonal_
from retrograd.measures import forgetting as measured
from retrograd.measures import lyapunov
from retrograd.trace import record


def test_the_numbers_are_those_of_the_measures_on_the_same_cell():
    state = torch.get_rng_state()
    torch.manual_seed(4)
    x = torch.randn(20, SEQUENCES, INPUTS, dtype=torch.float64)
    torch.manual_seed(4)
    cell = Elman(INPUTS, 8)
    orthogonal_(cell)
    torch.set_rng_state(state)
    trace = record(Stack([cell]).double(), lambda m: m(x)[0].sum(-1))
    [course] = forgetting(["rnn:orthogonal"], size=8, steps=20, seed=4).courses
    assert course.distance == measured(trace, seed=4).layers[0].distance
    assert course.exponent == lyapunov(trace, first=1, seed=4).layers[0].exponents[0]


@pytest.mark.parametrize(("name", "radius"), [("irnn", 1.0), ("np-rnn", 1.0)])
def test_the_cells_for_relu_are_relu_with_their_own_start(name, radius):
    with seeded(1):
        cell = _made(name, 12).double()
    assert cell.activation == "relu"
    assert torch.linalg.eigvals(cell.weight_hh).abs().max().item() == pytest.approx(radius, abs=1e-6)


def test_an_identity_cell_keeps_every_distance():
    for course in forgetting(["additive"], size=8, steps=30).courses:
        assert course.distance == pytest.approx([0.0] * 31, abs=1e-12)
        assert course.exponent == pytest.approx(0, abs=1e-12)
        assert course.rounding is None


def test_a_cell_without_recurrence_forgets_at_once():
    [course] = forgetting(["rnn:normal=0"], size=8, steps=30).courses
    assert course.distance[1] == -math.inf
    assert course.rounding == 1
    assert course.exponent == -math.inf


def test_all_draw_together_but_for_a_chaotic_one_and_one_that_keeps_everything():
    result = forgetting(["rnn", "rnn:normal=0.4", "additive", "gru", "lstm", "lstm:forget_bias=3"], steps=60)
    found = {course.name: course for course in result.courses}
    assert found["rnn:normal=0.4"].exponent > 0.05
    assert found["rnn:normal=0.4"].distance[-1] > -1
    for name in ("rnn", "gru", "lstm"):
        assert found[name].exponent < -0.1
        assert found[name].distance[-1] < -8
    assert found["lstm"].exponent < found["lstm:forget_bias=3"].exponent < 0
    said = EXPLORATIONS["forgetting"].say(result)
    assert "draw together in rnn (" in said
    assert "draw apart in rnn:normal=0.4 (+" in said
    assert "stay apart in additive" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cells": []}, "At least one cell"),
        ({"cells": ["lstn"]}, "nearest is 'lstm'"),
        ({"cells": ["lstm:identity"]}, "for a plain cell"),
        ({"cells": ["rnn:ortogonal"]}, "nearest is 'orthogonal'"),
        ({"steps": 3}, "Steps must be a whole number from 8"),
        ({"size": 0}, "Size must be"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        forgetting(**options)
