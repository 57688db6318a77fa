"""Verdicts on plain numbers: when they are given, what they say, what they recommend."""

import dataclasses
import math

import pytest

from retrograd.diagnosis import Remedy, judge, remedy
from retrograd.errors import UsageError
from retrograd.measures import Horizon, LayerSaturation, Saturation


def geometric(decay, *, longest=200, spread=1.02, steps=None):
    """The horizon of an exact geometric profile, with an interval of the given spread around its decay."""
    last = longest if decay >= 1 else min(longest, int(math.log(1e-3) / math.log(decay)))
    steps = last if steps is None else steps
    return Horizon(
        steps=steps,
        low=max(steps - 2, 0),
        high=min(steps + 2, longest),
        threshold=1e-3,
        longest=longest,
        reference=0,
        profile=tuple(l * math.log(decay) for l in range(longest + 1)),
        upper=tuple(l * math.log(decay) for l in range(longest + 1)),
        profile_low=(),
        profile_high=(),
        decay=decay,
        decay_low=decay / spread,
        decay_high=decay * spread,
        fitted=(0, steps),
        readout=None,
        anchors=(longest,),
        sequences=8,
        per_step=True,
        summed=False,
        underflow=None,
    )


def layer(cell, gates, *, keeping=None):
    return LayerSaturation("l0", cell, {}, {}, gates, keeping, (1.0, 2.0, 3.0) if keeping else None)


LSTM = Saturation((layer("LSTM", {"i": 0.5, "f": 0.51, "g": 0.0, "o": 0.5}, keeping="f"),))
GRU = Saturation((layer("GRU", {"r": 0.5, "z": 0.4, "n": 0.0}, keeping="z"),))
ELMAN = Saturation((layer("Elman", {"h": 0.0}),))
ADDITIVE = Saturation((layer("Additive", {"update": 0.0}),))
SHORT = geometric(0.5, steps=23)


def test_the_verdict_is_a_sentence_with_its_number_and_its_remedy():
    (finding,) = judge(SHORT, LSTM, need=150)
    assert finding.message == (
        "The gradient reaches 23 steps back; the task needs 150. The forget gates average 0.51. "
        "Try --init forget_bias=5.1."
    )
    assert (finding.code, finding.severity) == ("vanishing", "error")
    assert finding.evidence["horizon"] == 23
    assert finding.evidence["need"] == 150
    assert finding.remedy == Remedy("forget-bias", {"bias": 5.1}, "start", predicted=1136, need=150)


@pytest.mark.parametrize(
    ("saturation", "option"),
    [
        (LSTM, "--init forget_bias=5.1"),
        (GRU, "--init forget_bias=5.1"),
        (ELMAN, "--init identity --set model.activation=relu"),
        (None, None),
    ],
)
def test_the_remedy_fits_the_cell(saturation, option):
    (finding,) = judge(SHORT, saturation, need=150)
    assert (finding.remedy and finding.remedy.option) == option
    assert finding.message.endswith(f"Try {option}." if option else "needs 150.")


def test_the_forget_bias_gives_the_memory_that_the_task_needs():
    for need in (10, 100, 1000):
        (finding,) = judge(geometric(0.1, steps=2), LSTM, need=need)
        f = 1 / (1 + math.exp(-finding.remedy.arguments["bias"]))
        assert need * 0.95 < -1 / math.log(f) < need * 1.15


def test_the_cell_may_be_named():
    (finding,) = judge(SHORT, need=150, cell="elman")
    assert finding.remedy.name == "irnn"


def test_the_upper_end_of_the_interval_decides():
    assert judge(SHORT, LSTM, need=25) == ()  # 23 with an interval up to 25
    assert judge(SHORT, LSTM, need=26)
    alone = dataclasses.replace(SHORT, low=None, high=None)
    assert judge(alone, LSTM, need=23) == ()
    assert judge(alone, LSTM, need=24)


def test_a_need_that_is_only_assumed_makes_a_note_that_says_so():
    (finding,) = judge(SHORT, LSTM, need=128, assumed="the window")
    assert finding.severity == "note"
    assert "the window is 128" in finding.message
    assert "If the task needs all of it, try --init forget_bias=4.9." in finding.message


def test_what_outlives_the_measurement_is_not_called_vanishing():
    assert judge(geometric(0.99, longest=100), LSTM, need=5000) == ()


def test_growth_with_its_whole_interval_is_exploding():
    (finding,) = judge(geometric(1.2), ELMAN, need=150)
    assert finding.code == "exploding"
    assert finding.message == (
        "The gradient grows 1.2-fold with each step back (1.18 to 1.22), 10^12-fold over 150 steps. "
        "Try --init orthogonal."
    )
    assert judge(geometric(1.2, spread=1.25), ELMAN, need=150) == ()


def test_growth_that_stays_small_over_the_needed_steps_is_not_exploding():
    assert judge(geometric(1.2), LSTM, need=10) == ()
    assert judge(geometric(1.2), LSTM, need=60)[0].remedy == remedy("clip-norm", norm=1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_not_finite_and_nothing_else(bad):
    profile = (*SHORT.profile[:7], *(bad,) * 194)
    (finding,) = judge(dataclasses.replace(SHORT, profile=profile, decay=math.nan), LSTM, need=150)
    assert finding.code == "non-finite"
    assert "not finite from 7 steps back. Try --clip 1, and a lower learning rate." in finding.message


def test_a_decay_that_could_not_be_fitted_is_not_exploding():
    nothing = dataclasses.replace(SHORT, steps=0, high=0, decay=math.nan, decay_low=None, decay_high=None)
    assert [finding.code for finding in judge(nothing, LSTM, need=5)] == ["vanishing"]


def test_the_additive_cell_needs_no_remedy():
    (finding,) = judge(SHORT, ADDITIVE, need=150)
    assert finding.remedy is None


@pytest.mark.parametrize("need", [0, -3])
def test_a_need_that_is_no_number_of_steps_is_refused(need):
    with pytest.raises(UsageError, match="at least 1"):
        judge(SHORT, LSTM, need=need)


def test_a_short_need_has_a_remedy_with_a_number_too():
    (finding,) = judge(geometric(0.01, steps=0, longest=50), LSTM, need=3)
    assert finding.remedy.arguments["bias"] > 0
    assert "reaches 0 steps back" in finding.message


def test_a_loss_worse_than_a_guess_is_named_and_an_untrained_one_is_not():
    healthy = geometric(0.99)
    guess = math.log(65)
    (finding,) = judge(healthy, LSTM, need=20, loss=5.6e30, guess=guess)
    assert (finding.code, finding.severity) == ("diverged", "error")
    assert finding.message == (
        "The validation loss is 5.6e+30 nats at best; a guess among all answers costs 4.174. The training diverged. "
        "Try --clip 1, and a lower learning rate."
    )
    (clipped,) = judge(healthy, LSTM, need=20, loss=5.6e30, guess=guess, clip=1.0)
    assert clipped.message.endswith("The training diverged. Try a lower learning rate.")
    assert judge(healthy, LSTM, need=20, loss=0.88, guess=math.log(2)) == (), "an untrained model of two answers"
    for loss in (guess + 0.01, 1.5, 0.0, None):
        assert judge(healthy, LSTM, need=20, loss=loss, guess=guess) == ()
    assert judge(healthy, LSTM, need=20, loss=9.0) == ()
