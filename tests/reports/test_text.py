"""The page says what was measured, fits the terminal, and does not fall over what is missing or not finite."""

import dataclasses
import math

import pytest

from retrograd.reports import Measurement, text
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
