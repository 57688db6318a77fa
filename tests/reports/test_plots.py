"""Every figure draws every report, says its numbers in words, and gives them as rows; what is no number is a mark."""

import csv
import dataclasses
import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from itertools import pairwise

import matplotlib
import pytest

from retrograd.errors import UsageError
from retrograd.measures import Horizon
from retrograd.reports import Curve, Report
from retrograd.reports.plots import ASKED_FOR, FIGURES, files, measured
from retrograd.reports.plots.colours import COLOURS, LIGHT, MARKERS, themed
from retrograd.reports.plots.scales import decades, limits, ticks
from tests.reports import examples
from tests.reports.examples import REPORTS

SVG = "{http://www.w3.org/2000/svg}"
CURVES = {
    "loss": ("loss", "validation"),
    "gradient-norm": ("gradient norm", "clipped"),
    "speed": ("tokens per second", "learning rate"),
}


@pytest.fixture(scope="module")
def reports():
    return {name: make() for name, make in REPORTS.items()}


def rows(name, report):
    return list(FIGURES[name].rows(report))[1:]


def words_of(svg):
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def numbers(text):
    return [float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def drawn(name, report):
    """Text of a figure, drawn on white."""
    with files.styled():
        return files.svg(FIGURES[name].draw(report, LIGHT))


@pytest.mark.parametrize("kind", REPORTS)
def test_every_figure_draws_every_report(kind, reports):
    pictures = files.inline(reports[kind])
    assert set(pictures) == {name for name in FIGURES if measured(name, reports[kind])}
    for svg in pictures.values():
        ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert "nan" not in re.sub(r">[^<]*<|base64,[^\"]*", "", svg).lower()


@pytest.mark.parametrize("name", FIGURES)
def test_what_was_not_measured_is_said_in_words(name):
    assert "not measured" in FIGURES[name].alt(examples.empty())
    assert any("not measured" in words for words in words_of(drawn(name, examples.empty())))
    assert rows(name, examples.empty()) == []


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind != "empty"])
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ASKED_FOR])
def test_the_words_hold_a_number_of_the_data(name, kind, reports):
    report = reports[kind]
    said = numbers(FIGURES[name].alt(report))
    data = [x for row in rows(name, report) for x in row if isinstance(x, int | float) and math.isfinite(x)]
    known = [*data, *(math.exp(x) for x in data if x < 700), *(100 * x for x in data)]
    assert any(math.isclose(x, y, rel_tol=0.01) for x in said for y in known if y), FIGURES[name].alt(report)


def test_the_words_say_what_the_picture_shows(reports):
    for name, told in {
        "reach": "At end, step 3,777, the horizon is 46 (43 to 50) steps: the gradient falls under 0.001",
        "horizon": "from 13 at step 1 to 53 at step 3,777; the window is 128 and the need is 150.",
        "loss": "The validation loss falls from 4.05 to 1.551 nats per character over the steps 1 to 3,777",
        "gradient-norm": "The norm of the gradient falls from 3.7",
        "speed": "the greatest is 0.001987",
        "heat-map": "the gradients of 24 losses at 96 of the 191 states lie between",
        "gates": "f on average from 0.5 to 0.7, saturated 12\u00a0% of the units",
        "eigenvalues": "l0, i: from 0.588 to 0.956, and from 1.2 to 2.04",
    }.items():
        assert told in FIGURES[name].alt(reports["full"])


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("kind", ["full", "broken", "one point"])
def test_the_rows_are_the_curves_of_the_report(name, kind, reports):
    report = reports[kind]
    expected = [
        (key, it.unit, step, it.values[i], it.low[i] if it.low else None, it.high[i] if it.high else None)
        for key in CURVES[name]
        for it in [report.curves[key]]
        for i, step in enumerate(it.steps)
    ]
    assert repr(rows(name, report)) == repr(expected)


def test_the_rows_of_the_reach_are_the_profiles(reports):
    for kind in ("full", "broken", "censored"):
        found = rows("reach", reports[kind])
        for name, m in reports[kind].measurements.items():
            mine = [row for row in found if row[0] == name]
            h: Horizon = m.horizon
            assert [row[2] for row in mine] == list(range(h.longest + 1))
            for column, values in ((3, h.profile), (4, h.upper), (5, h.profile_low), (6, h.profile_high)):
                assert repr([row[column] for row in mine]) == repr(list(values))


def test_the_rows_of_heat_map_gates_and_eigenvalues_are_the_measurements(reports):
    report = reports["two layers"]
    heat, gates, eigen = (rows(name, report) for name in ("heat-map", "gates", "eigenvalues"))
    for name, m in report.measurements.items():
        assert [row[4] for row in heat if row[0] == name] == [x for line in m.contributions.log_norms for x in line]
        for layer in m.saturation.layers:
            mine = {row[3]: row for row in gates if row[:2] == (name, layer.layer)}
            assert {gate: row[5] for gate, row in mine.items()} == layer.saturated
            assert {gate: row[4] for gate, row in mine.items() if row[4] is not None} == layer.gates
            assert mine["f"][7:] == layer.timescales
            assert mine["i"][7:] == (None,) * 3
        for layer in m.spectrum.layers:
            for block in layer.blocks:
                mine = [row[3:5] for row in eigen if row[:3] == (name, layer.layer, block.gate)]
                assert mine == list(block.eigenvalues)


def test_a_censored_horizon_is_a_mark_and_never_a_value(reports):
    report = reports["censored"]
    assert ">192" in FIGURES["horizon"].alt(report)
    assert any(word.startswith(">192") for word in words_of(drawn("horizon", report)))
    assert "infinite" not in words_of(drawn("horizon", report))
    assert math.inf in [row[1] for row in rows("horizon", report)]
    without = dataclasses.replace(report, curves={})
    assert [row[1] for row in rows("horizon", without)] == [14.0, math.inf]


@pytest.mark.parametrize("name", ["loss", "gradient-norm", "speed", "reach"])
def test_what_is_not_finite_is_marked_and_named(name, reports):
    key = words_of(drawn(name, reports["broken"]))
    assert "NaN" in key
    assert "infinite" in key
    assert "not finite" in FIGURES[name].alt(reports["broken"])
    clean = words_of(drawn(name, reports["full"]))
    assert not {"NaN", "infinite"} & set(clean)


def test_each_value_that_is_not_finite_has_its_own_mark():
    values = (1.0, math.nan, 2.0, math.inf, -math.inf, math.nan)
    report = Report("x", {}, {}, curves={"loss": Curve("nats", tuple(range(1, 7)), values)})
    paths = [
        element.get("d", "")
        for element in ET.fromstring(drawn("loss", report)).iter(f"{SVG}path")
        if LIGHT["alarm"] in element.get("style", "")
    ]
    key = 2 + 1  # the cross of two strokes and the triangle in the key
    assert sum(d.count("M") for d in paths) == 2 * 2 + 1 + 1 + key


def test_zero_underflow_and_what_is_not_finite_have_their_own_colours(reports):
    assert {"zero", "not finite"} <= set(words_of(drawn("heat-map", reports["broken"])))
    assert "underflow" not in words_of(drawn("heat-map", reports["full"]))
    report = reports["full"]
    end = report.measurements["end"]
    under = dataclasses.replace(end, horizon=dataclasses.replace(end.horizon, underflow=171))
    report = dataclasses.replace(report, measurements={"end": under})
    assert "underflow" in words_of(drawn("heat-map", report))
    assert "zero" not in words_of(drawn("heat-map", report))
    assert "too small to be held" in FIGURES["heat-map"].alt(report)


def test_what_befell_the_run_is_on_the_loss(reports):
    labels = words_of(drawn("loss", reports["full"]))
    assert "went back" in labels
    assert "preempted, resumed" in labels, "they are ten steps apart and share a label"
    assert not {"started", "finished"} & set(labels)
    assert "went back at step 2,610" in FIGURES["loss"].alt(reports["full"])


def test_window_and_need_share_a_line_where_they_are_equal(reports):
    report = dataclasses.replace(reports["full"], subject={"window": 64, "need": 64})
    for name in ("reach", "horizon"):
        assert "window and need 64" in words_of(drawn(name, report))
        assert {"window 128", "need 150"} <= set(words_of(drawn(name, reports["full"])))


def test_ids_are_of_the_picture_and_all_are_referred_to(reports):
    seen = set()
    for name, svg in files.inline(reports["two layers"]).items():
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        assert all(i.startswith(f"{name}-") for i in ids)
        assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg)) == set(ids)
        assert not seen & set(ids)
        seen |= set(ids)


def test_a_page_s_picture_has_the_page_s_colours_and_no_other(reports):
    for svg in files.inline(reports["full"]).values():
        left = set(re.findall(r"#[0-9a-f]{6}", svg))
        assert not left & {*MARKERS.values(), *LIGHT.values()}
        assert "var(--" in svg
    assert themed("fill: " + MARKERS["end"]) == "fill: var(--end)"
    assert len(set(MARKERS.values())) == len(COLOURS)


def test_text_is_text_and_numbers_in_it_are_whole(reports):
    svg = files.inline(reports["full"])["speed"]
    assert ">0.002<" in svg
    assert "learning rate" in svg


def test_drawing_leaves_matplotlib_as_it_was(reports):
    before, shown = dict(matplotlib.rcParams), list(warnings.filters)
    files.inline(reports["full"])
    assert dict(matplotlib.rcParams) == before
    assert list(warnings.filters) == shown


def test_a_name_in_another_script_warns_nobody():
    report = examples.full()
    end = report.measurements["end"]
    layer = dataclasses.replace(end.saturation.layers[0], layer="層\x00\ud800")
    end = dataclasses.replace(end, saturation=dataclasses.replace(end.saturation, layers=(layer,)))
    files.inline(dataclasses.replace(report, measurements={"end": end}))


def test_export_writes_png_svg_and_csv_of_each_figure(tmp_path, reports):
    written = files.export(reports["full"], tmp_path / "figures")
    assert {path.name for path in written} == {
        f"{n}.{kind}" for n in FIGURES if measured(n, reports["full"]) for kind in ("png", "svg", "csv")
    }
    for path in written:
        content = path.read_bytes()
        start = {".png": b"\x89PNG", ".svg": b"<?xml", ".csv": b""}[path.suffix]
        assert content.startswith(start)
        assert len(content) > 100
    table = list(csv.reader(io.StringIO((tmp_path / "figures" / "loss.csv").read_text())))
    assert float(table[1][3]) == reports["full"].curves["loss"].values[0]
    assert "2026" not in (tmp_path / "figures" / "loss.svg").read_text(), "the same report gives the same file"


def test_what_is_not_finite_has_its_name_in_a_table():
    assert files.table(iter([("a", "b"), (math.nan, -math.inf), (None, 0.1), (math.inf, 2)])) == (
        "a,b\nNaN,-Infinity\n,0.1\nInfinity,2\n"
    )


def test_export_writes_over_nothing_unless_told(tmp_path, reports):
    other = tmp_path / "mine.txt"
    other.write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        files.export(reports["one point"], tmp_path)
    assert list(tmp_path.iterdir()) == [other]
    files.export(reports["one point"], tmp_path, force=True)
    assert other.read_text() == "mine"
    with pytest.raises(UsageError, match="is a file"):
        files.export(reports["one point"], other, force=True)


def test_an_empty_report_exports_nothing(tmp_path):
    assert files.export(examples.empty(), tmp_path / "none") == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 3777), (-0.1, 0.02), (1e-9, 3e-9), (0, 1e12), (4.17, 4.18)])
def test_ticks_are_few_even_and_inside(low, high):
    places, labels = ticks(low, high)
    assert 2 <= len(places) <= 6
    assert len(set(labels)) == len(labels)
    assert all(low - 1e-9 * high <= x <= high * (1 + 1e-9) for x in places)
    steps = [b - a for a, b in pairwise(places)]
    assert max(steps) == pytest.approx(min(steps))


def test_ticks_of_steps_are_whole():
    assert ticks(0, 1, whole=True) == ([0, 1], ["0", "1"])


@pytest.mark.parametrize(("low", "high"), [(-8, 0.2), (-0.7, 0.6), (-300, 5), (0.1, 0.15), (-2, 0)])
def test_decades_are_named_as_powers(low, high):
    places, labels = decades(low, high)
    assert 2 <= len(places) <= 8
    assert all(low - 1e-9 <= x <= high + 1e-9 for x in places)
    assert len(set(labels)) == len(labels)


def test_limits_of_nothing_of_one_value_and_of_infinities():
    assert limits([]) == (0.0, 1.0)
    assert limits([math.nan, math.inf]) == (0.0, 1.0)
    low, high = limits([3.0, 3.0])
    assert low < 3.0 < high
    assert limits([1.0, math.inf, 2.0]) == (1.0, 2.0)
