"""The page says what was measured, fits the terminal, and does not fall over what is missing or not finite."""

import dataclasses
import math

import pytest

from retrograd.measures import LayerSaturation, Saturation
from retrograd.reports import Measurement, Sample, text
from tests.reports import examples
from tests.reports.test_report import example


@pytest.fixture(scope="module")
def report():
    return example()


def test_the_page_holds_the_horizon_beside_the_window_the_gates_and_the_verdict(report):
    page = text.page(report, width=100)
    h = report.measurements["start"].horizon
    for part in (
        "notes lstm",
        "start, step 0: horizon",
        f"horizon {h} ({h.low} to {h.high}), {h.decay:.3g} per step",
        "end, step 1,200",
        "The window is 60 steps.",
        "l0: means i 0.",
        "memory lasts",
        "test nats",
        "1.523",
        "is a word",
        report.findings[0].remedy.option,
    ):
        assert part in " ".join(page.split())
    assert "log scale" in page


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(report, width):
    lines = text.page(report, width=width).splitlines()
    loose = [line for line in lines if "horizon" not in line]  # a heading of numbers is not broken
    assert max(map(len, loose)) <= width


def test_a_measurement_without_gates_and_a_report_without_any(report):
    assert "not measured" in text.page(dataclasses.replace(report, measurements={}))
    bare = dataclasses.replace(
        report,
        measurements={"end": dataclasses.replace(report.measurements["end"])},
        findings=(),
        figures={},
        samples=(),
    )
    page = text.page(bare)
    assert "nothing vanishes or explodes" in page
    assert "Gates" not in page
    assert "What it writes" not in page


def test_what_is_not_finite_is_drawn_as_a_mark(report):
    h = dataclasses.replace(
        report.measurements["start"].horizon,
        profile=(2.0, 0.0, math.nan, math.inf, -math.inf),
        longest=4,
        decay=math.nan,
    )
    page = text.page(dataclasses.replace(report, measurements={"end": Measurement(5, h)}))
    assert "█?∞0" in page
    assert "decay not measured" in page


def test_one_horizon_on_one_line(report):
    h = report.measurements["start"].horizon
    line = text.horizon_line("LSTM, torch's default", h, width=100)
    assert "\n" not in line
    assert line.split("█")[0].strip() == "LSTM, torch's default"
    assert f"horizon {h} ({h.low} to {h.high})" in line
    assert len(line) <= 100


def test_a_horizon_beyond_what_was_measured_is_marked(report):
    h = dataclasses.replace(report.measurements["start"].horizon, steps=60, high=60)
    assert "horizon >60 " in text.horizon_line("GRU", h)


def test_a_horizon_that_is_no_number_is_not_shown_as_one():
    report = examples.lost()
    page = text.page(report)
    assert "start, step 0: horizon NaN, decay not measured" in page
    line = text.horizon_line("GRU", report.measurements["end"].horizon, width=80)
    assert line.endswith("horizon NaN   decay not measured")


def test_nothing_is_called_sound_that_was_not_measured(report):
    page = text.page(dataclasses.replace(report, measurements={}, findings=()))
    assert "nothing vanishes" not in page
    assert "None yet: nothing has been measured." in page
    page = text.page(dataclasses.replace(examples.one_point(), status="preempted"))
    assert "None at step 0, before training: nothing vanishes" in " ".join(page.split())


def test_a_finding_says_where_and_why_and_lists_its_remedies_in_order():
    page = " ".join(text.page(examples.foreign(), width=100).split())
    parts = (
        "error: The gradient reaches 47 steps back",
        "where rnn.l0, state h why Per step",
        "is not No norm of dL/dW_hh",
        "assumes The task needs",
        'remedies rg.fix(model, loss, "calibrated", need=150) (start; expected to reach any lag)',
        'rg.fix(model, loss, "irnn"',
        'proof rg.fix(model, loss, "calibrated", need=150)',
    )
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    own = " ".join(text.page(examples.full(), width=100).split())
    assert "proof retrograd train --config RUN/config.toml --init forget_bias=5.1 --out RUN-forget-bias" in own
    assert "--clip 1 (training; no reach predicted)" in own


def test_large_numbers_are_short(report):
    layer = LayerSaturation("l0", "Elman", {"h": 0.5}, {"h": 0.0}, {"h": 6.974e96}, None, None)
    measured = dataclasses.replace(report.measurements["end"], saturation=Saturation((layer,)))
    assert "l0: means h 6.97e+96; saturated h 50%" in text.page(
        dataclasses.replace(report, measurements={"a": measured})
    )


def test_an_end_that_is_not_the_last_step_is_the_best(report):
    later = dataclasses.replace(report, samples=(Sample(1300, "a"),))
    assert "The end is step 1,200 of 1,300: the weights that are best" in " ".join(text.page(later).split())
    assert "best by validation" not in text.page(report)
