"""The loop: one Step per optimiser step, windows cut off from each other, bad steps skipped."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pytest
import torch
from torch import nn

from retrograd.training.loop import Loss, tbptt
from retrograd.training.schedules import Budget, make_schedule


@dataclass(frozen=True)
class Numbers:
    """A window of one number."""

    value: float
    epoch: float


def numbers(*values: float) -> Iterator[Numbers]:
    return (Numbers(v, i + 1.0) for i, v in enumerate(values))


class Sum(nn.Module):
    """s <- s + w x: a state through which a gradient could travel for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def lose(self, window, state):
        s = (state[0] if state else 0.0) + self.w * window.value
        return Loss(s, s.detach(), 1), (s,)


def steps(model, windows, **options):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    options = {"schedule": make_schedule("constant"), "budget": Budget(steps=100), **options}
    return tbptt(model.lose, windows, optimizer, **options)


def test_the_state_is_carried_and_no_gradient_crosses_a_window():
    model = Sum()
    seen = list(steps(model, numbers(1.0, 2.0, 3.0)))
    # dL/dw is the window's own x each time: 1, 2, 3, not the running sum
    assert [math.exp(s.log_grad_norm) for s in seen] == pytest.approx([1.0, 2.0, 3.0])
    assert model.w.item() == pytest.approx(1 - 0.1 * 6)
    # w is 1, then 0.9, then 0.7: the state holds what came before
    assert [s.loss for s in seen] == pytest.approx([1.0, 1 + 0.9 * 2, 2.8 + 0.7 * 3])


def test_the_loop_ends_with_the_budget():
    assert len(list(steps(Sum(), numbers(*[0.0] * 9), budget=Budget(steps=4)))) == 4
    assert len(list(steps(Sum(), numbers(*[0.0] * 9), budget=Budget(epochs=3)))) == 3
    assert not list(steps(Sum(), numbers(1.0), budget=Budget(minutes=1e-12)))[1:]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_nothing_and_says_so(bad):
    model = Sum()
    [step] = islice(steps(model, numbers(bad)), 1)
    assert not step.finite
    assert model.w.item() == 1.0


def test_clipping_is_counted_and_the_norm_is_told_from_before():
    model = Sum()
    first, second = steps(model, numbers(5.0, 0.5), clip_norm=1.0)
    assert (first.clipped, second.clipped) == (True, False)
    assert math.exp(first.log_grad_norm) == pytest.approx(5.0)
    assert model.w.item() == pytest.approx(1 - 0.1 * 1.0 - 0.1 * 0.5)


def test_the_schedule_scales_the_rate():
    rates = [s.lr for s in steps(Sum(), numbers(*[0.0] * 4), budget=Budget(steps=4), schedule=make_schedule("cosine"))]
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])
