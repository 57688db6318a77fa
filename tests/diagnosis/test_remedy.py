"""A remedy as data: written for the command line and for Python, of one of three kinds, in the order to try them."""

import dataclasses
import math

import pytest

from retrograd.diagnosis import Remedy, judge, remedy
from retrograd.diagnosis.choice import open_gates
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import FORMS
from retrograd.init import INITS
from retrograd.measures import Attribution, Clipping, Estimate, LayerAttribution, Saturation
from retrograd.remedies import remedy_named
from tests.diagnosis.test_rules import ADDITIVE, ELMAN, GRU, LSTM, SHORT, geometric

NUMBERS = {
    "forget-bias": {"bias": 4.6},
    "chrono": {"longest": 100},
    "spectral-radius": {"radius": 1},
    "gated-cell": {"bias": 4.6},
    "clip-norm": {"norm": 1.5},
    "clip-in-time": {"norm": 1.5},
    "window": {"steps": 96},
}


def split(activation, weights, *, cell="Elman", layer="l0"):
    """An attribution of one layer, from the factors of a step."""
    parts = {"activation": math.log(activation), "weights": math.log(weights)}
    known = {name: Estimate(x, None, None) for name, x in parts.items()}
    total = Estimate(sum(parts.values()), None, None)
    return Attribution((LayerAttribution(layer, cell, total, known, {}, 90, 6, 0, 0),))


def names(saturation=ELMAN, **told):
    finding = judge(SHORT, saturation, need=150, **told)[0]
    assert finding.code == "vanishing"
    return [it.name for it in finding.remedies]


@pytest.mark.parametrize("name", FORMS)
def test_every_remedy_can_be_written(name):
    it = remedy(name, need=100, **NUMBERS.get(name, {}))
    assert it.call
    assert it.kind in ("start", "training", "architecture")
    assert "{" not in it.call + it.option + it.apply
    for x in it.arguments.values():
        assert f"{x:g}" in it.call


def test_a_start_is_applied_and_measured_by_fix():
    it = remedy("forget-bias", bias=4.6, need=100)
    assert it.call == 'rg.fix(model, loss, "forget-bias", 4.6, need=100)'
    assert it.option == "--init forget_bias=4.6"
    assert it.apply == "forget-bias=4.6"
    assert remedy("orthogonal").call == 'rg.fix(model, loss, "orthogonal")'
    assert remedy("calibrated", need=9).apply == "calibrated"


def test_an_option_that_starts_weights_names_an_initialiser():
    for name, form in FORMS.items():
        if "--init " in form.option:
            spec = remedy(name, **NUMBERS.get(name, {})).option.partition("--init ")[2].split()[0]
            assert spec.partition("=")[0] in INITS


def test_what_it_is_called_is_what_is_applied():
    for name, form in FORMS.items():
        patch = remedy_named(name)
        assert patch.kind == form.kind
        assert patch.numbers[: len(NUMBERS.get(name, {}))] == tuple(NUMBERS.get(name, {}))


def test_a_remedy_of_a_later_version_is_written_nowhere():
    it = Remedy("of tomorrow")
    assert (it.option, it.call, it.apply) == ("", "", "")


def test_what_is_predicted_is_a_number_of_steps_or_has_no_end():
    assert remedy("orthogonal", predicted=38.7).predicted == 38
    assert remedy("irnn", predicted=math.inf).predicted == math.inf
    assert remedy("clip-norm", norm=1.0).predicted is None


def test_those_that_reach_the_need_come_first_and_of_them_the_starts():
    told = {"foreign": True, "activation": "tanh", "attribution": split(0.905, 0.587)}
    found = judge(SHORT, ELMAN, need=150, **told)[0].remedies
    reaching = ["calibrated", "irnn", "gated-cell", "additive-path"]
    assert [it.name for it in found] == [*reaching, "orthogonal", "norm-preserving", "flossing"]
    assert [it.kind for it in found] == ["start", *["architecture"] * 3, "start", *["training"] * 2]
    assert [it.predicted for it in found] == [math.inf, math.inf, 1136, math.inf, 38, None, None]
    near = judge(dataclasses.replace(SHORT, steps=10, high=12), ELMAN, need=30, **told)[0].remedies
    assert [it.name for it in near][:2] == ["calibrated", "orthogonal"], "38 steps are enough there"


def test_a_trained_model_is_not_told_first_to_start_anew():
    told = {"foreign": True, "trained": True, "activation": "tanh"}
    kinds = [it.kind for it in judge(SHORT, ELMAN, need=150, **told)[0].remedies]
    assert kinds == ["training"] * 2 + ["architecture"] * 3 + ["start"] * 2
    assert names(LSTM, foreign=True, trained=True) == ["norm-preserving", "flossing", "forget-bias", "chrono"]
    growing = judge(geometric(1.2), ELMAN, need=150, **told)[0]
    assert [it.name for it in growing.remedies][:2] == ["clip-norm", "clip-in-time"]


def test_where_only_a_new_start_is_left_a_trained_model_is_told_none():
    assert [it.name for it in open_gates(Patient(SHORT, LSTM, need=150))] == ["chrono"]
    assert open_gates(Patient(SHORT, LSTM, need=150, trained=True)) == ()


def test_what_does_not_apply_is_not_offered():
    assert names(LSTM, foreign=True) == ["forget-bias", "chrono", "norm-preserving", "flossing"]
    assert "np-rnn" not in names(activation="tanh", foreign=True)
    assert names(activation="relu", foreign=True)[0] == "identity"
    assert "irnn" not in names(activation="relu", foreign=True)
    assert "calibrated" not in names(activation="sigmoid", foreign=True)
    assert names(Saturation((*LSTM.layers, *GRU.layers)), foreign=True)[:2] == ["forget-bias", "chrono"]
    assert names(Saturation((*LSTM.layers, *ELMAN.layers)), foreign=True) == []
    assert names(ADDITIVE, foreign=True) == []
    assert names(None, foreign=True) == []
    assert names(None, foreign=True, cell="mycell") == []


def test_the_command_line_is_offered_what_it_has_an_option_for():
    assert "calibrated" in names(activation="tanh", foreign=True)
    assert "calibrated" not in names(activation="tanh")
    assert "flossing" in names(activation="tanh", foreign=True)
    assert "flossing" not in names(activation="tanh")


def test_no_sum_is_offered_where_the_state_is_carried_through_a_text():
    assert "additive-path" in names(activation="tanh")
    assert "additive-path" not in names(activation="tanh", window=150)


def test_what_was_done_already_is_not_offered_again():
    assert names(LSTM, init="forget_bias=5.1") == ["chrono", "norm-preserving"]
    assert "orthogonal" not in names(init="orthogonal")
    assert "identity" not in names(init="identity", activation="relu")
    assert names(init="identity", activation="tanh")[0] == "irnn", "with another activation it is another network"


def test_a_linear_network_needs_orthogonal_weights_alone():
    (finding,) = judge(SHORT, ELMAN, need=150, activation="identity")
    assert (finding.remedy.name, finding.remedy.predicted) == ("orthogonal", math.inf)


def test_the_threshold_of_clipping_is_the_median_of_the_norms_that_were_measured():
    seen = Clipping(100, 0, None, 0.0, None, None, (0.0, math.log(24.321), 4.0, 5.0))
    finding = judge(geometric(1.2), LSTM, need=150, clipping=seen)[0]
    assert finding.remedy == remedy("clip-norm", norm=24.0)
    lost = dataclasses.replace(seen, log_norms=(math.inf,) * 4)
    assert judge(geometric(1.2), LSTM, need=150, clipping=lost)[0].remedy == remedy("clip-norm", norm=1.0)
