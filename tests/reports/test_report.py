"""A report survives JSON whole, with its NaN and infinities, and refuses what it cannot read."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from retrograd.diagnosis import judge
from retrograd.errors import RunError
from retrograd.measures import horizon, reach, saturation
from retrograd.reports import SCHEMA, Measurement, Report, Sample
from retrograd.trace import record
from tests.reports import examples


def example():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = nn.LSTM(3, 6), torch.randn(80, 5, 3)
        trace = record(module, lambda m: m(x)[0].sum(-1))
    h, s = horizon(reach(trace)), saturation(trace)
    return Report(
        title="notes lstm",
        subject={"cell": "lstm", "window": 60, "dropout": 0.5, "need": None},
        measurements={"start": Measurement(0, h, s), "end": Measurement(1200, h)},
        findings=judge(h, s, need=60),
        figures={"test nats": 1.5234, "perplexity": math.inf},
        samples=(Sample(30, "NaN\nis a word"),),
    )


def same(a, b):
    """Equal, with NaN equal to NaN."""
    return repr(a) == repr(b)


def test_there_and_back_through_json():
    report = example()
    assert report.findings
    assert same(Report.from_json(report.to_json()), report)


def test_what_is_not_finite_is_named_and_read_again():
    report = example()
    h = report.measurements["start"].horizon
    broken = dataclasses.replace(h, profile=(0.0, math.nan, math.inf, -math.inf), decay=math.nan)
    report = dataclasses.replace(report, measurements={"end": Measurement(3, broken)})
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert '"-Infinity"' in text
    assert same(Report.from_json(text), report)


def test_a_finding_comes_back_with_its_remedies_and_what_they_promise():
    report = examples.foreign()
    again = Report.from_json(report.to_json())
    assert again.findings == report.findings
    promised = [remedy.predicted for remedy in again.findings[0].remedies]
    assert promised == [math.inf, math.inf, 1136, 38]
    assert again.findings[0].remedy.call == 'rg.fix(model, loss, "calibrated", need=150)'


def test_another_schema_is_refused_in_one_sentence():
    text = example().to_json().replace(f'"schema": {SCHEMA}', '"schema": 99')
    with pytest.raises(RunError, match=f"has schema 99; this version of Retrograd reads schema {SCHEMA}"):
        Report.from_json(text)


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", "3"])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(RunError):
        Report.from_json(text)


def test_a_field_of_the_wrong_kind_is_named():
    with pytest.raises(RunError, match=r"measurements.start.horizon.steps"):
        Report.from_json(example().to_json().replace('"steps": ', '"steps": "many", "was": '))
