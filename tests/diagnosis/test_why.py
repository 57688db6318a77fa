"""What a finding says beside its sentence: where, why, what it is not, what it assumes; and when a rule holds back."""

import dataclasses
import math

import pytest

from retrograd.diagnosis import judge
from retrograd.measures import (
    Attribution,
    Clipping,
    Estimate,
    Exponents,
    LayerAttribution,
    LyapunovSpectrum,
    NonFinitePlace,
    Saturation,
)
from tests.diagnosis.test_remedy import split
from tests.diagnosis.test_rules import ELMAN, LSTM, SHORT, geometric, layer


def gated(shares, total=-0.5):
    known = {name: Estimate(x, None, None) for name, x in shares.items()}
    return Attribution((LayerAttribution("l0", "LSTM", Estimate(total, None, None), {}, known, 90, 6, 0, 0),))


def plain(saturated=0.0, dead=0.0):
    one = dataclasses.replace(layer("Elman", {"h": 0.0}), saturated={"h": saturated}, dead={"h": dead})
    return Saturation((one,))


def exponent(value, spread=0.01):
    interval = ((value - spread,), (value + spread,)) if spread else ((), ())
    found = Exponents("l0", ("l0",), ("Elman",), 24, (value,), *interval, 6, 400, 25, 10)
    return LyapunovSpectrum((found,), ())


def place(part, value=math.nan, **changes):
    return NonFinitePlace(
        **{"part": part, "layer": "rnn.l0", "step": 17, "sequence": 3, "unit": 5, "gate": None} | changes, value=value
    )


def codes(h, saturation=None, **told):
    return [finding.code for finding in judge(h, saturation, **{"need": 150} | told)]


def test_vanishing_says_where_why_what_it_is_not_and_what_it_assumes():
    (finding,) = judge(SHORT, ELMAN, need=150, attribution=split(0.81, 0.66))
    assert finding.where == "l0, state h"
    assert finding.why == "Per step the activation takes a factor 0.81 and the weights 0.66."
    assert "No norm of dL/dW_hh shows it" in finding.is_not
    assert finding.assumes == "The task needs the gradient 150 steps back, as it was given."
    assert judge(SHORT, LSTM, need=150)[0].where == "l0, state h and c"


def test_no_verdict_on_time_talks_of_depth_or_normalisation():
    for saturation, attributed in ((ELMAN, split(0.81, 0.66)), (LSTM, gated({"memory": 0.8}))):
        for finding in judge(SHORT, saturation, need=150, attribution=attributed, foreign=True):
            remedies = [it.call for it in finding.remedies]
            said = " ".join([finding.message, finding.why, finding.is_not, *remedies]).lower()
            assert not [
                word for word in ("depth", "deep", "batch norm", "layer norm", "normali", "skip") if word in said
            ]


def test_of_a_gated_cell_the_paths_are_told_the_largest_first():
    shares = {"gate i": -0.002, "memory": 0.77, "gate f": -0.11, "gate g": 0.23}
    (finding,) = judge(SHORT, LSTM, need=150, attribution=gated(shares))
    paths = "77% by way of the memory, 23% by way of gate g and -11% by way of gate f"
    assert finding.why == f"Per step the gradient takes a factor 0.61: {paths}."


def test_of_several_layers_each_is_named_and_the_place_is_the_whole():
    two = Attribution((*split(0.9, 0.5).layers, *split(0.8, 0.7, layer="l1").layers))
    (finding,) = judge(SHORT, Saturation((*ELMAN.layers, *ELMAN.layers)), need=150, attribution=two)
    assert finding.where == ""
    assert "In l0, per step the activation takes a factor 0.9" in finding.why
    assert "In l1, per step the activation takes a factor 0.8" in finding.why
    five = judge(SHORT, ELMAN, need=150, attribution=Attribution(split(0.9, 0.5).layers * 5))[0]
    assert five.why.endswith("And so on in 2 more.")


def test_without_attribution_nothing_is_made_up():
    (finding,) = judge(SHORT, ELMAN, need=150)
    assert finding.why == ""


def test_a_need_that_is_only_assumed_is_said_to_be():
    (finding,) = judge(SHORT, LSTM, need=128, assumed="the window")
    assert finding.assumes == "No need was given, so the window, 128, stands in for what the task may need."


def test_a_task_that_is_learned_is_no_error_and_needs_no_remedy():
    (finding,) = judge(SHORT, LSTM, need=150, loss=0.05, guess=2.08)
    assert (finding.code, finding.severity, finding.remedies) == ("vanishing", "note", ())
    assert finding.message.endswith("It is learned all the same: the loss is 0.05 nats, and a guess costs 2.08.")
    for loss in (0.5, math.nan, None):
        assert judge(SHORT, LSTM, need=150, loss=loss, guess=2.08)[0].severity == "error"
    assert judge(SHORT, LSTM, need=128, assumed="the window", loss=0.05, guess=2.08)[0].remedies, "of what is learned?"
    saturated = plain(saturated=0.8)
    told = {"activation": "tanh", "attribution": split(0.3, 1.0), "loss": 0.05, "guess": 2.08}
    assert codes(SHORT, saturated, **told) == ["vanishing"]


@pytest.mark.parametrize(
    ("share", "activation", "weights", "kind", "found"),
    [
        (0.6, 0.3, 1.0, "tanh", True),
        (0.6, 0.3, 1.0, "sigmoid", True),
        (0.6, 0.3, 1.0, "relu", False),  # zeros of a ReLU are its work
        (0.2, 0.3, 1.0, "tanh", False),
        (0.6, 0.6, 0.5, "tanh", False),  # the weights shrink it more
    ],
)
def test_saturation_is_a_fault_where_the_activation_is_what_shrinks_the_gradient(
    share, activation, weights, kind, found
):
    told = {"activation": kind, "attribution": split(activation, weights)}
    assert ("saturated" in codes(SHORT, plain(saturated=share), **told)) == found
    assert codes(geometric(0.99), plain(saturated=share), **told) == [], "the gradient reaches"


def test_saturation_without_attribution_is_no_verdict():
    assert codes(SHORT, plain(saturated=0.9), activation="tanh") == ["vanishing"]


def test_saturation_says_how_much_and_who():
    finding = judge(SHORT, plain(saturated=0.6), need=150, activation="tanh", attribution=split(0.3, 1.0))[1]
    assert finding.message.startswith(
        "60% of the units of l0 are saturated, and that is what takes the gradient: it reaches 23 of 150 steps back. "
        "Make the inputs and biases smaller, or try "
    )


def test_dead_units_are_an_error_only_where_the_reach_is_short_of_a_known_need():
    def severities(h, **told):
        return [(f.code, f.severity) for f in judge(h, plain(dead=0.6), need=150, **told)]

    assert ("dead-units", "error") in severities(SHORT)
    assert severities(geometric(0.99)) == [("dead-units", "note")]
    assert ("dead-units", "note") in severities(SHORT, assumed="the window")
    assert codes(geometric(0.99), plain(dead=0.4)) == []


@pytest.mark.parametrize(
    ("gates", "keeping", "found"),
    [
        ({"i": 0.5, "f": 0.05, "g": 0.0, "o": 0.5}, "f", "forget gates of l0 average 0.05: nearly all of the memory"),
        ({"i": 0.001, "f": 0.5, "g": 0.0, "o": 0.5}, "f", "input gates of l0 average 0.001: nearly nothing is written"),
        ({"r": 0.5, "z": 0.05, "n": 0.0}, "z", "update gates of l0 average 0.05"),
        ({"i": 0.015, "f": 0.98, "g": 0.0, "o": 0.5}, "f", None),  # as much comes in as is forgotten
        ({"i": 0.5, "f": 0.2, "g": 0.0, "o": 0.5}, "f", None),
    ],
)
def test_a_gate_is_closed_by_its_mean(gates, keeping, found):
    saturation = Saturation((layer("LSTM" if "f" in gates else "GRU", gates, keeping=keeping),))
    said = {f.code: f.message for f in judge(SHORT, saturation, need=150)}
    assert ("gate-closed" in said) == bool(found)
    assert not found or found in said["gate-closed"]
    assert codes(geometric(0.99), saturation) == [], "the gradient reaches"


@pytest.mark.parametrize(
    ("value", "spread", "activation", "found"),
    [
        (0.06, 0.01, "tanh", True),
        (0.06, 0.04, "tanh", False),  # its lower end grows 20-fold over the need
        (0.06, None, "tanh", False),  # one block of time, no interval
        (0.06, 0.01, "relu", False),  # not within bounds
        (0.06, 0.01, None, False),
        (0.001, 0.0005, "tanh", False),  # the edge of chaos
        (-0.1, 0.01, "tanh", False),
    ],
)
def test_chaos_is_a_leading_exponent_clearly_over_zero_in_states_within_bounds(value, spread, activation, found):
    told = {"activation": activation, "lyapunov": exponent(value, spread)}
    assert (codes(geometric(1.03), ELMAN, **told) == ["chaotic"]) == found
    assert "chaotic" not in codes(geometric(0.99), ELMAN, **told), "the gradient does not grow"


def test_chaos_says_how_fast_states_part():
    (finding,) = judge(geometric(1.03), ELMAN, need=150, activation="tanh", lyapunov=exponent(0.06))
    assert finding.message == (
        "Two nearby states of l0 part by a factor 1.06 with each step: the leading Lyapunov exponent is 0.06 nats per "
        "step (0.05 to 0.07). Try --init orthogonal."
    )
    assert finding.where == "l0, state h"


def test_clipping_is_too_hard_where_most_steps_are_cut_to_a_fraction():
    hard = Clipping(1200, 0, 0.25, 0.96, 0.08, 0.001, (0.5, 1.1, 1.6, 4.0))
    (finding,) = judge(geometric(0.99), need=150, clipping=hard)
    assert (finding.code, finding.severity) == ("clipping-too-hard", "note")
    assert finding.message == (
        "Clipping at 0.25 cut 96% of 1,200 steps, to 8% of the gradient (median). Try --clip 5, with a lower learning "
        "rate."
    )
    for changes in ({"share": 0.3}, {"factor": 0.6}, {"share": None, "factor": None}, {"factor": None}):
        assert codes(geometric(0.99), clipping=dataclasses.replace(hard, **changes)) == []


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "input",
            "NaN in the input of rnn.l0 at time 17 of sequence 3, unit 5, in training step 412. Look at the data",
        ),
        ("loss", "Look at the loss"),
        ("first state", "Look at the state that is handed in"),
        ("argument", "Look at what the model is given"),
        ("output", "Look at that module"),
        ("gradient from above", "Look at what lies between the layer and the loss"),
    ],
)
def test_what_came_from_outside_is_no_matter_of_the_weights(part, said):
    (finding,) = judge(SHORT, ELMAN, need=150, nonfinite=place(part), step=412)
    assert (finding.code, finding.severity, finding.remedies) == ("non-finite", "error", ())
    assert said in finding.message
    assert "orthogonal" not in finding.message
    assert finding.evidence["training step"] == 412
    assert finding.evidence["time"] == 17


def test_what_the_steps_made_has_a_remedy_and_names_its_gate():
    (finding,) = judge(SHORT, LSTM, need=150, nonfinite=place("gate", math.inf, gate="f"), step=412)
    assert finding.message == (
        "The first number that is not finite is an infinity in gate f of rnn.l0 at time 17 of sequence 3, unit 5, in "
        "training step 412. Try --clip 1, and a lower learning rate."
    )
    assert finding.where == "rnn.l0, gate f"


def test_a_nan_at_the_first_step_from_finite_inputs_was_in_the_weights():
    (finding,) = judge(SHORT, ELMAN, need=150, nonfinite=place("state", step=1))
    assert finding.message.endswith("it was in the weights already: go back to an earlier checkpoint.")
    assert finding.remedies == ()


def test_a_nan_that_came_up_on_the_way_was_made_there():
    (finding,) = judge(SHORT, ELMAN, need=150, nonfinite=place("state"))
    assert finding.remedies
    assert "of sequence 3, unit 5. Try --init orthogonal" in finding.message


def test_a_gradient_that_is_no_number_from_the_start_has_no_remedy_of_the_weights():
    broken = dataclasses.replace(SHORT, profile=(math.nan,) * 201, decay=math.nan)
    (finding,) = judge(broken, ELMAN, need=150)
    assert finding.message.endswith("Look at the inputs, the weights and the loss: one of them is not finite itself.")
    assert finding.remedies == ()


def test_a_window_is_too_short_for_a_known_need_and_never_enough_for_vanishing():
    (finding,) = judge(geometric(0.99), LSTM, need=150, window=64)
    assert (finding.code, finding.severity) == ("window-too-short", "error")
    assert finding.message == "The window of the training is 64 steps; the task needs 150. Try --window 150."
    assert codes(geometric(0.99), LSTM, window=150) == []
    assert codes(geometric(0.99), LSTM, window=64, need=64, assumed="the window") == []
    assert codes(SHORT, LSTM, window=64) == ["vanishing", "window-too-short"]


def test_errors_come_before_notes():
    hard = Clipping(1200, 0, 0.25, 0.96, 0.08, 0.001, (0.5, 1.1, 1.6, 4.0))
    found = judge(SHORT, LSTM, need=150, clipping=hard, window=64)
    assert [f.severity for f in found] == ["error", "error", "note"]
