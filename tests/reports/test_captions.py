"""What the figures' words and axes say of averages, of extremes, of what is no number and of what befell the run."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest

from retrograd.measures import Contributions
from retrograd.reports import Curve, Happening, Report
from retrograd.reports.plots import FIGURES, eigenvalues
from retrograd.reports.plots.colours import LIGHT
from retrograd.reports.plots.curves import course
from retrograd.reports.plots.training import explained
from tests.reports import examples
from tests.reports.test_plots import SVG, drawn, words_of

BINNED = Curve("nats", (10, 20, 30), (4.0, 3.0, 2.0), (3.5, 2.5, 0.5), (9.0, 3.5, 2.5))


def curves(**known):
    return Report("x", {}, {}, curves={name.replace("_", " "): curve for name, curve in known.items()})


def alt(name, report):
    return FIGURES[name].alt(report)


def test_extremes_are_those_of_the_log_and_not_of_the_averages():
    assert course("The loss", BINNED) == (
        "The loss falls from 4, the mean up to step 10, to 2 nats, the mean of the steps 21 to 30; "
        "the least is 0.5; the greatest is 9."
    )
    assert "lie between 0.5 and 9" in alt("speed", curves(tokens_per_second=BINNED))
    plain = dataclasses.replace(BINNED, low=(), high=())
    assert course("The loss", plain) == "The loss falls from 4 to 2 nats over the steps 10 to 30."


def test_the_mean_of_logarithms_is_said_to_be_geometric():
    assert "the geometric mean up to step 10" in alt("gradient-norm", curves(gradient_norm=BINNED))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((math.nan,) * 3, "is NaN throughout, over the steps 10 to 30."),
        ((math.nan, math.inf, math.nan), "is NaN or infinite throughout, over the steps 10 to 30."),
        ((0.25,) * 3, "is 0.25 nats throughout, over the steps 10 to 30."),
        ((1.0, math.nan, 2.0), "rises from 1 to 2 nats over the steps 10 to 30. 1 of its"),
    ],
)
def test_what_does_not_change_does_not_go_from_itself_to_itself(values, said):
    assert said in course("The loss", Curve("nats", (10, 20, 30), values))


def test_where_nothing_is_finite_the_axis_has_no_numbers():
    words = words_of(drawn("loss", examples.lost()))
    assert "NaN" in words
    assert not {"0.0", "0.5", "1.0"} & set(words)
    assert "validation loss is NaN throughout" in alt("loss", examples.lost())


@pytest.mark.parametrize("start", [0, 13])
def test_a_horizon_that_is_no_number_has_neither_dot_nor_interval(start):
    report = examples.lost(start)
    assert {"start: horizon NaN", "end: horizon NaN"} <= set(words_of(drawn("reach", report)))
    wide = [e.get("style") for e in ET.fromstring(drawn("reach", report)).iter(f"{SVG}path")]
    assert not [style for style in wide if "stroke-width: 7" in style], "the dot of a horizon"
    assert [row[1:4] for row in list(FIGURES["horizon"].rows(report))[1:]] == [
        pytest.approx((math.nan,) * 3, nan_ok=True)
    ] * 2
    assert "The horizon is NaN, not a number, from step 0 to the last at step 60;" in alt("horizon", report)


def test_a_logged_horizon_is_nan_where_the_measurement_of_that_step_is():
    report = examples.lost()
    report = dataclasses.replace(report, curves={"horizon": Curve("steps", (0, 30, 60), (0.0, 7.0, 0.0))})
    assert "NaN at step 0 to NaN at step 60" in alt("horizon", report)


def test_skipped_steps_share_one_mark_and_one_label():
    report = examples.lost()
    assert len(explained(report)) == 31
    assert words_of(drawn("loss", report)).count("skipped") == 1
    folded = dataclasses.replace(report, happenings=report.happenings[-1:])
    assert words_of(drawn("loss", folded)).count("skipped") == 1
    assert "The run: skipped 30 steps from 2 to 60." in alt("loss", folded)


def test_what_befell_the_run_at_no_known_step_has_no_mark():
    odd = tuple(Happening("odd", 0.0, details) for details in ({}, {"step": None}, {"steps": 3}, {"step": "x"}))
    assert explained(dataclasses.replace(examples.full(), happenings=odd)) == []


def test_a_norm_within_a_decade_has_an_even_axis_with_several_numbers():
    near = Curve("ln", (10, 20), (math.log(0.2), math.log(0.7)))
    words = words_of(drawn("gradient-norm", curves(gradient_norm=near)))
    assert {"0.2", "0.4", "0.6"} <= set(words)
    assert "gradient norm" in words
    far = dataclasses.replace(near, values=(0.0, 9.0))
    assert "gradient norm, log" in words_of(drawn("gradient-norm", curves(gradient_norm=far)))


def test_what_was_never_clipped_takes_a_sentence_and_no_panel():
    norm, never = Curve("ln", (10, 20), (0.0, 1.0)), Curve("share", (10, 20), (0.0, 0.0))
    report = curves(gradient_norm=norm, clipped=never)
    assert "share clipped" not in words_of(drawn("gradient-norm", report))
    assert alt("gradient-norm", report).endswith("It was never clipped.")
    often = curves(gradient_norm=norm, clipped=dataclasses.replace(never, values=(0.5, 0.0)))
    assert "share clipped" in words_of(drawn("gradient-norm", often))
    assert "clipped in 50\u00a0% of the steps at first and in 0\u00a0% at the end." in alt("gradient-norm", often)


def mapped(deepest):
    states, times = tuple(range(0, 129, 2)), tuple(range(8, 129, 8))
    rows = tuple(tuple(deepest * (t - k) / 128 if k <= t else None for k in states) for t in times)
    report = examples.full()
    end = dataclasses.replace(report.measurements["end"], contributions=Contributions(times, states, rows))
    return dataclasses.replace(report, measurements={"end": end})


def test_a_heat_map_marks_the_floor_of_its_colours_and_counts_in_round_steps():
    deep = words_of(drawn("heat-map", mapped(-60.0)))
    assert "≤ 10⁻¹²" in deep
    assert not [word for word in words_of(drawn("heat-map", mapped(-20.0))) if word.startswith("≤")]
    assert {"0", "20", "40", "100", "120"} <= set(deep)
    assert "16 losses at 65 of the 129 states" in alt("heat-map", mapped(-20.0))


def weights(scale):
    report = examples.full("Elman")
    end = dataclasses.replace(report.measurements["end"], spectrum=examples.spectrum("Elman", scale=scale))
    return dataclasses.replace(report, measurements={"end": end})


def test_many_far_eigenvalues_widen_the_axes_to_the_largest():
    near, far = weights(1.0), weights(8.0)
    assert {"−1", "0", "1"} <= set(words_of(drawn("eigenvalues", near)))
    assert {"−5", "0", "5"} <= set(words_of(drawn("eigenvalues", far)))
    assert not re.search("beyond", " ".join(words_of(drawn("eigenvalues", far))))
    [panel] = eigenvalues.panels(far)
    largest = max(abs(x) for x, _ in panel.blocks["end"].eigenvalues)
    assert largest > 5


def test_one_far_eigenvalue_of_many_stays_beyond_the_edge():
    report = weights(0.5)
    end = report.measurements["end"]
    [layer] = end.spectrum.layers
    block = dataclasses.replace(layer.blocks[0], eigenvalues=((9.0, 0.0), *layer.blocks[0].eigenvalues))
    spectrum = dataclasses.replace(end.spectrum, layers=(dataclasses.replace(layer, blocks=(block,)),))
    report = dataclasses.replace(report, measurements={"end": dataclasses.replace(end, spectrum=spectrum)})
    assert "1 beyond 1.7" in words_of(drawn("eigenvalues", report))


def test_a_candidate_is_no_gate_and_its_mean_may_be_negative():
    report = examples.full("GRU")
    [layer] = report.measurements["end"].saturation.layers
    layer = dataclasses.replace(layer, gates={"r": 0.4, "z": 0.6, "n": -0.8})
    end = dataclasses.replace(
        report.measurements["end"],
        saturation=dataclasses.replace(report.measurements["end"].saturation, layers=(layer,)),
    )
    picture = drawn("gates", dataclasses.replace(report, measurements={"end": end}))
    assert {"candidate n", "r", "z", "-0.5"} <= set(words_of(picture))
    assert "candidate n" in alt("gates", report)
    places = [float(x) for x in re.findall(r'd="M ([\d.-]+) ', picture)]
    assert len(places) > 10
    assert 0 <= min(places) <= max(places) <= 360, "all is on the paper, which is 5 inches wide"


def test_the_window_is_named_in_the_key_and_nothing_is_written_along_it():
    picture = ET.fromstring(drawn("reach", examples.full()))
    turned = [e for e in picture.iter(f"{SVG}text") if "rotate(-90" in e.get("transform", "")]
    assert turned == []
    short = dataclasses.replace(examples.full(), subject={"window": 128, "need": 900})
    assert "need 900 (right of the picture)" in words_of(drawn("reach", short))
    assert LIGHT["other"] in ET.tostring(picture, encoding="unicode")
