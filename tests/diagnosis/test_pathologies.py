"""Each rule fires on its patient, measured for real, and all rules are silent on its healthy twin."""

from functools import cache

import pytest

from retrograd.diagnosis import RULES, diagnose
from tests.pathologies import CASES, NEED, measured


@cache
def found(name, who):
    return diagnose(*measured(getattr(CASES[name], who)), need=NEED)


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
    assert {case.rule for case in CASES.values()} == set(RULES)
