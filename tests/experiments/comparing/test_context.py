"""What of the past is used where only the end is asked, against nets whose answer lies at a known lag."""

import pytest
import torch
from torch import nn

from retrograd import config
from retrograd.errors import NotMeasured
from retrograd.experiments.comparing import context
from retrograd.experiments.comparing.context import Used, at_the_end, by_construction, used
from retrograd.measures import Context
from tests.measures.subjects import register

T, B, D = 40, 6, 7


def asked_at(step: int, lag: int, x):
    """The error of naming, at that step alone, the input `lag` steps before it; others are asked nothing."""
    mask = torch.zeros(T, 1)
    mask[step] = 1
    return lambda m: (m(x)[0][:, :, lag] - x[:, :, 0].roll(lag, 0)).square() * mask


@pytest.mark.parametrize("step", [T - 1, T - 9])
def test_the_answer_at_a_known_lag_is_found_there(step):
    x = torch.rand(T, B, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    found = at_the_end(register(D), asked_at(step, D - 1, x), last=step, asked=torch.ones(B, dtype=torch.bool))
    assert found.used == 8, "the first of these lengths that holds all seven"
    assert found.lengths[:6] == (1, 2, 3, 4, 6, 8)
    lost = x[step - D + 1].square().mean().item()  # nothing is left of what is asked for
    assert found.excess[:5] == tuple(pytest.approx(lost, abs=1e-6) for _ in range(5))
    assert found.excess[5:] == (0.0,) * len(found.excess[5:])


def test_sequences_that_are_asked_nothing_there_do_not_count():
    x = torch.rand(T, B, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    asked = torch.arange(B) < 2
    found = at_the_end(register(D), asked_at(T - 1, 2, x), last=T - 1, asked=asked)
    assert found.sequences == 2
    assert found.excess[0] == pytest.approx(x[T - 3, :2].square().mean().item(), abs=1e-6)


def test_what_reads_from_its_end_cannot_forget():
    both = nn.GRU(1, 3, bidirectional=True)
    x = torch.rand(T, B, 1)
    with pytest.raises(NotMeasured, match="cannot be taken from"):
        at_the_end(both, lambda m: m(x)[0].square().sum(-1), last=T - 1, asked=torch.ones(B, dtype=torch.bool))


@pytest.mark.parametrize(
    ("model", "steps"), [({"kind": "ngram", "order": 3}, 2), ({"kind": "window", "context": 6}, 6)]
)
def test_what_cannot_see_further_uses_no_more(model, steps):
    assert by_construction(config.make({"model": model})) == Used(steps)


def test_naive_bayes_has_no_past_and_a_network_is_measured():
    assert by_construction(config.make({"model": {"kind": "naive-bayes"}})).steps is None
    assert by_construction(config.make({})) is None


def made(excess, low):
    lengths = tuple(2**i for i in range(len(excess)))
    return Context(lengths, tuple(excess), (low, *excess[1:]), tuple(excess), 1.0, 0.01, 3, 8)


@pytest.mark.parametrize(
    ("excess", "low", "found"),
    [
        ((1.0, 0.5, 0.005, 0.001), 0.9, Used(4)),
        ((1.0, 0.5, 0.2, 0.1), 0.9, Used(8, more=True)),
        ((0.01, 0.02, 0.03, 0.0), -0.01, Used(1)),
        ((-0.2, 0.02, 0.03, 0.0), -0.3, Used(1)),
    ],
)
def test_a_model_that_loses_nothing_with_one_step_alone_uses_one(excess, low, found):
    assert context._told(made(excess, low)) == found


def test_the_model_of_a_run_is_measured_on_its_own_slice(trained):
    found = used(trained.run.path)
    assert isinstance(found.steps, int)
    assert 1 <= found.steps <= 32
    assert found.why == ""
