"""Each rule fires on its patient, measured for real, and all rules are silent on its healthy twin."""

import dataclasses
import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from retrograd.diagnosis import RULES, judge
from retrograd.init import initialise_
from retrograd.measures import attribution, horizon, reach, saturation
from retrograd.trace import record
from tests.pathologies import CASES, measured


@cache
def found(name, who):
    return judge(**measured(getattr(CASES[name], who)))


@pytest.mark.parametrize("name", CASES)
def test_the_rule_finds_its_patient_and_names_the_remedy(name):
    case = CASES[name]
    findings = {finding.code: finding for finding in found(name, "patient")}
    assert set(findings) == {case.rule, *case.also}
    finding = findings[case.rule]
    assert finding.severity == case.severity
    assert (finding.remedy.option if finding.remedy else "") == case.remedy
    assert case.remedy in finding.message


@pytest.mark.parametrize("name", CASES)
def test_every_rule_is_silent_on_the_healthy_twin(name):
    assert found(name, "twin") == ()


@pytest.mark.parametrize("name", CASES)
def test_a_finding_says_why_what_it_is_not_and_its_numbers(name):
    for finding in found(name, "patient"):
        assert finding.is_not
        assert finding.evidence
        assert finding.why or finding.code == "non-finite"


def test_every_rule_has_a_patient():
    assert {case.rule for case in CASES.values()} == set(RULES)


def test_the_codes_are_stable():
    asked = "vanishing exploding saturated dead-units window-too-short clipping-too-hard non-finite chaotic gate-closed"
    assert set(asked.split()) <= set(RULES)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_loss_summed_over_steps_is_told_apart_from_one_on_the_last_step(layers):
    torch.manual_seed(0)
    gru, x = nn.GRU(4, 8, layers), torch.randn(30, 3, 4)

    def codes(loss):
        h = horizon(reach(record(gru, loss)))
        return [finding.code for finding in judge(h, need=20)]

    assert codes(lambda m: m(x)[0].sum()) == ["summed-loss"]
    assert "summed-loss" not in codes(lambda m: m(x)[0][-1].sum())
    assert "summed-loss" not in codes(lambda m: m(x)[0].sum(-1))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_no_rule_sees_how_large_a_gradient_is(size):
    for name in ("a default tanh network", "a tanh network from normal weights"):
        for who in ("patient", "twin"):
            subject = getattr(CASES[name], who)
            scaled = dataclasses.replace(subject, loss=lambda y: size * y)
            assert [f.code for f in judge(**measured(scaled))] == [f.code for f in found(name, who)]


def test_a_model_that_has_learned_its_task_is_not_sick_because_its_gradient_is_small():
    """Ten steps of memory, learned to a loss and a gradient near zero."""
    torch.manual_seed(0)
    lstm, head, gap = nn.LSTM(3, 16), nn.Linear(16, 3), 10
    initialise_(lstm, "forget_bias=2.2")
    model = nn.ModuleList([lstm, head])

    def loss(m, x, y):
        return F.cross_entropy(m[1](m[0](x)[0][-1]), y)

    def batch(size):
        y = torch.randint(3, (size,))
        return torch.cat([F.one_hot(y, 3)[None].float(), torch.zeros(gap, size, 3)]), y

    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model, *batch(16)).backward()
        optimizer.step()
    x, y = batch(8)
    value = loss(model, x, y)
    gradient = torch.autograd.grad(value, lstm.weight_hh_l0)[0].norm()
    assert value < 0.02
    assert gradient < 0.02
    trace = record(model, lambda m: loss(m, x, y))
    told = {"attribution": attribution(trace), "loss": value.item(), "guess": math.log(3), "trained": True}
    assert judge(horizon(reach(trace)), saturation(trace), need=gap, **told) == ()
