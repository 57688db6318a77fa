"""Thirty models of other people's: diagnosed untouched, and what is recorded equals brute force.

Tolerances, relative: 1e-9 for models in float64; for those in float32 what their entry names, since the layers around
the recurrence compute in it.
"""

import math
import re

import pytest
import torch

import retrograd as rg
from benchmarks.zoo import ENTRIES, ZOO
from benchmarks.zoo.check import check, made
from benchmarks.zoo.oracle import default_dtype, seed, truth
from retrograd.errors import RetrogradError
from tests.experiments.bad_cases import replayed_exactly
from tests.experiments.photograph import Photograph, with_gradients

SEEN = [name for name, entry in ENTRIES.items() if entry.refused is None]
REFUSED = [name for name, entry in ENTRIES.items() if entry.refused is not None]

pytestmark = [  # of torch itself
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
]


def test_there_are_thirty():
    assert len(ZOO) == 30


@pytest.mark.parametrize("name", SEEN)
def test_it_is_diagnosed_as_it_stands_and_left_so(name):
    model, loss = made(name)
    before = Photograph(with_gradients(model))
    report = rg.diagnose(model, loss)
    before.compare()
    assert report.horizon.finite
    assert report.horizon.steps >= report.horizon.reference
    assert replayed_exactly(report) == (name != "half precision")
    assert all(math.isfinite(lag) or lag == -math.inf for lag in report.horizon.profile)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_seen_is_said_in_a_sentence(name):
    model, loss = made(name)
    before = Photograph(with_gradients(model))
    with pytest.raises(RetrogradError, match=re.escape(ENTRIES[name].refused)) as raised:
        rg.diagnose(model, loss)
    before.compare()
    assert str(raised.value).endswith((".", ")"))


@pytest.mark.parametrize("name", SEEN)
def test_in_float64_the_reach_is_that_of_brute_force(name):
    assert check(name, dtype=torch.float64) <= 1e-9


@pytest.mark.parametrize("name", SEEN)
def test_in_float32_the_reach_is_that_of_brute_force(name):
    assert check(name) <= ENTRIES[name].tolerance


@pytest.mark.parametrize("name", [name for name in SEEN if name != "compiled"])
def test_brute_force_computes_what_the_model_computes(name):
    """An oracle of another function would prove nothing."""
    seed()
    with default_dtype(torch.float64):
        model, loss = made(name, dtype=torch.float64)
        seed()
        own = loss(model).detach()
    anchors = None if own.dim() == 0 else [len(own)]
    brute = truth(made(name, dtype=torch.float64), ENTRIES[name].look, anchors)
    torch.testing.assert_close(brute.losses, own, rtol=1e-12, atol=1e-12)
    assert all(gradients.nan_to_num().ne(0).any() for gradients in brute.gradients.values()), "nothing to compare"
