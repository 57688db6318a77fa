"""Each rule fires on its patient, measured for real, and all rules are silent on its healthy twin."""

from functools import cache

import pytest
import torch
from torch import nn

from retrograd.diagnosis import RULES, judge
from retrograd.measures import horizon, reach
from retrograd.trace import record
from tests.pathologies import CASES, NEED, measured


@cache
def found(name, who):
    return judge(*measured(getattr(CASES[name], who)), need=NEED)


@pytest.mark.parametrize("name", CASES)
def test_the_rule_finds_its_patient_and_names_the_remedy(name):
    (finding,) = found(name, "patient")
    assert finding.code == CASES[name].rule
    assert finding.severity == "problem"
    assert finding.remedy.option == CASES[name].remedy
    assert finding.remedy.option in finding.message


@pytest.mark.parametrize("name", CASES)
def test_every_rule_is_silent_on_the_healthy_twin(name):
    assert found(name, "twin") == ()


def test_every_rule_has_a_patient():
    assert {case.rule for case in CASES.values()} | {"summed_loss", "diverged"} == set(RULES)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_loss_summed_over_steps_is_told_apart_from_one_on_the_last_step(layers):
    torch.manual_seed(0)
    gru, x = nn.GRU(4, 8, layers), torch.randn(30, 3, 4)

    def codes(loss):
        h = horizon(reach(record(gru, loss)))
        return [finding.code for finding in judge(h, need=20)]

    assert codes(lambda m: m(x)[0].sum()) == ["summed_loss"]
    assert "summed_loss" not in codes(lambda m: m(x)[0][-1].sum())
    assert "summed_loss" not in codes(lambda m: m(x)[0].sum(-1))
