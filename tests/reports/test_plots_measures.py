"""The pictures of the further measures: they draw what was measured, mark what is no number, and fit their paper."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

from retrograd.measures import (
    Estimate,
    attribution,
    depth,
    forgetting,
    jacobians,
    lyapunov,
    window,
)
from retrograd.reports import Measurement, Report
from retrograd.reports.plots import FIGURES
from retrograd.reports.plots import measured as is_measured
from retrograd.reports.plots.frame import width_of
from retrograd.trace import record
from tests.reports import examples
from tests.reports.measured import NAMES, alone, everything, measured, spoiled
from tests.reports.test_plots import SVG, drawn, rows, words_of

PICTURES = [name for name in NAMES if name != "depth"]
LN10 = math.log(10)


@pytest.fixture(scope="module")
def two():
    return measured(examples.full(layers=2), layers=2)


def sick(end, bad, cell="LSTM", layers=2):
    """A report of one look in which every number of the further measures is bad; None: some of them."""
    return alone(end, **{name: spoiled(it, bad) for name, it in everything(cell, layers).items()})


REPORTS = {
    "lstm": lambda end: alone(end, **everything("LSTM", 1)),
    "gru of two layers": lambda end: measured(examples.full("GRU", layers=2), "GRU", layers=2),
    "elman": lambda end: measured(examples.full("Elman"), "Elman"),
    "nine layers": lambda end: alone(end, **everything("LSTM", 9)),
    "some broken": lambda end: sick(end, None),
    "nan": lambda end: sick(end, math.nan),
    "infinite": lambda end: sick(end, math.inf, "Elman"),
    "zero": lambda end: sick(end, -math.inf, "Elman"),
    "one step": lambda end: alone(end, **shortest(everything("Elman", 1))),
}


def shortest(fields):
    """As of a sequence of a single step."""
    window, jacobians, lyapunov, forgetting = (fields[name] for name in NAMES[1:5])
    cut = dataclasses.replace(window.layers[0], log_norms=(0.5,))
    cut = dataclasses.replace(cut, sliding=first(cut.sliding), chunks=first(cut.chunks))
    one = dataclasses.replace(lyapunov.layers[0], exponents=(-0.1,), low=(), high=())
    return fields | {
        "window": dataclasses.replace(window, layers=(cut,), windows=(1,)),
        "jacobians": dataclasses.replace(jacobians, layers=(first(jacobians.layers[0]),)),
        "lyapunov": dataclasses.replace(lyapunov, layers=(one,)),
        "forgetting": dataclasses.replace(
            forgetting, layers=(dataclasses.replace(first(forgetting.layers[0], 2), rounding=None),)
        ),
    }


def first(it, n=1):
    """With the first of everything that it has many of."""
    many = {f.name: getattr(it, f.name) for f in dataclasses.fields(it)}
    spreads = ("largest", "median", "smallest")
    cut = {name: x[:n] for name, x in many.items() if isinstance(x, tuple) and name not in spreads}
    return dataclasses.replace(it, **cut)


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_draws_every_report_within_its_paper(name, kind, end):
    report = REPORTS[kind](end)
    assert is_measured(name, report)
    svg = drawn(name, report)
    root = ET.fromstring(svg)
    width = float(root.get("viewBox").split()[2])
    assert "nan" not in re.sub(r">[^<]*<", "", svg).lower()
    for x, text, anchor in texts(root):
        wide = 72 * width_of(text)
        left = x - wide if anchor == "end" else x - wide / 2 if anchor == "middle" else x
        assert left > -1, text
        assert left + wide < width + 4, text
    assert len(FIGURES[name].alt(report)) > 40


def texts(root):
    """Where each text stands, in points from the left, and which of its ends."""
    for text in root.iter(f"{SVG}text"):
        style, place = text.get("style", ""), text.get("transform", "")
        anchor = re.search(r"text-anchor: (\w+)", style)
        found = re.search(r"translate\(([-\d.]+)", place)
        x = float(found[1]) if found else float(text.get("x"))
        yield x, text.text or "", anchor[1] if anchor else "start"


@pytest.mark.parametrize("name", PICTURES)
def test_what_was_not_measured_is_said_in_words(name, end):
    nothing = alone(end, **dict.fromkeys(NAMES))
    for report in (examples.empty(), nothing):
        assert FIGURES[name].alt(report).endswith(": not measured.")
        assert any(words.endswith(": not measured.") for words in words_of(drawn(name, report)))
        assert rows(name, report) == []


@pytest.mark.parametrize("name", PICTURES)
def test_no_layer_is_as_good_as_no_measure(name, end):
    empty = {f: dataclasses.replace(it, layers=()) for f, it in everything().items() if f != "depth"}
    report = alone(end, **empty)
    assert not is_measured(name, report)
    assert "not measured" in FIGURES[name].alt(report)
    drawn(name, report)


def test_the_words_say_what_the_picture_shows(two, end):
    for name, told in {
        "attribution": "At end, step 3,777, l0: -0.15 (-0.17 to -0.13) nats per step, a factor of 0.861; by path "
        "memory 90\u00a0%, gate i -10\u00a0%, gate f 10\u00a0%",
        "window": "l0: the gradient of W_hh is 3.32 at lag 0, 2.2·10⁻⁶ at lag 95, 1.4·10⁻¹² at lag 190; "
        "the cosine of a window in chunks is 0.4516 at 1, 0.8578 at 16, 1 at 192. l1:",
        "jacobians": "l1: the largest singular value of one step is 1.25 (1.12 to 1.38 for 80\u00a0% of 24 steps, "
        "2 sequences), that of 128 steps in a row 4.6·10⁻⁹; the bound from the steps is 2.5·10¹².",
        "lyapunov": "l, all layers: the largest exponent is -0.161 (-0.191 to -0.131) nats per step, the last of 8 "
        "-0.53; none of the first 8 of 256 exponents is above 0; over 1,152 steps of 8 sequences.",
        "forgetting": "l0: the distance of two states halves in 4.62 (4.33 to 4.95) steps, -0.15 (-0.16 to -0.14) "
        "nats per step; the leading exponent, of two that are kept close, is -0.13 (-0.15 to -0.11); "
        "16 sequences of 192 steps.",
    }.items():
        assert told in FIGURES[name].alt(two)
    elman = alone(end, **everything("Elman", 1))
    assert "-0.09 (-0.11 to -0.07) by the activation and -0.21 (-0.23 to -0.19) by the weights; over 1,520 steps" in (
        FIGURES["attribution"].alt(elman)
    )
    assert "that from W_hh 4.8·10¹⁶." in FIGURES["jacobians"].alt(elman)
    assert "and is no more than rounding from step 114 on" in FIGURES["forgetting"].alt(elman)
    assert (
        "The smallest window with a cosine of at least 0.99 in every layer is 48; over 8 losses of 16 sequences."
        in (FIGURES["window"].alt(two))
    )


# rows


def test_the_rows_are_the_measurements(two):
    for name, m in two.measurements.items():
        found = {picture: [row[1:] for row in rows(picture, two) if row[0] == name] for picture in PICTURES}
        for layer in m.attribution.layers:
            mine = {row[3]: row[4:7] for row in found["attribution"] if row[0] == layer.layer}
            told = {"total": layer.total} | layer.parts | layer.shares
            assert mine == {part: (x.value, x.low, x.high) for part, x in told.items()}
        for layer in m.window.layers:
            mine = [row for row in found["window"] if row[0] == layer.layer]
            assert [row[4] for row in mine if row[2] == "lag"] == list(layer.log_norms)
            for kind, cut in (("sliding", layer.sliding), ("chunks", layer.chunks)):
                expected = list(zip(m.window.windows, cut.error, cut.cosine, strict=True))
                assert [(row[3], *row[5:]) for row in mine if row[2] == kind] == expected
        for layer in m.jacobians.layers:
            mine = [row for row in found["jacobians"] if row[0] == layer.layer]
            largest = [(row[3], *row[4:7]) for row in mine if row[2] == "ln largest"]
            assert largest == [(l, *three) for l, three in zip(layer.lags, layer.log_largest, strict=True)]
            assert [row[4:7] for row in mine if row[2] == "smallest singular value of a step"] == [layer.smallest]
        for one in (*m.lyapunov.layers, *m.lyapunov.stacks):
            mine = [row[2:6] for row in found["lyapunov"] if row[0] == one.name]
            assert mine == list(zip(range(1, 9), one.exponents, one.low, one.high, strict=True))
        for layer in m.forgetting.layers:
            mine = [row[2:6] for row in found["forgetting"] if row[0] == layer.layer]
            expected = zip(range(193), layer.distance, layer.distance_low, layer.distance_high, strict=True)
            assert mine == list(expected)


# what is drawn


def test_the_lines_of_the_window_are_decades_by_lag_and_cosines_by_the_logarithm_of_the_window(two, calls):
    drawn("window", two)
    lines = [(list(args[0]), list(args[1]), args[2]) for kind, args, _ in calls if kind == "line"]
    for name, colour in (("start", "start"), ("end", "end")):
        it = two.measurements[name].window
        for layer in it.layers:
            lags = list(range(len(layer.log_norms)))
            assert (lags, pytest.approx([x / LN10 for x in layer.log_norms]), colour) in lines
            for cut in (layer.chunks, layer.sliding):
                assert ([math.log2(p) for p in it.windows], list(cut.cosine), colour) in lines
    assert [args[0] for kind, args, _ in calls if kind == "across"] == [0.99, 0.99]
    assert {args[0] for kind, args, _ in calls if kind == "down"} == {math.log2(128), math.log2(150)}


def test_the_lines_of_the_jacobians_are_decades_by_the_logarithm_of_the_lag(calls):
    report = measured(examples.full("Elman"), "Elman")
    drawn("jacobians", report)
    lines = [(list(args[0]), list(args[1]), args[2]) for kind, args, _ in calls if kind == "line"]
    for name, colour in (("start", "start"), ("end", "end")):
        [layer] = report.measurements[name].jacobians.layers
        places = [math.log2(lag) for lag in layer.lags]
        for three in (layer.log_largest, layer.log_volume):
            assert (places, pytest.approx([x / LN10 for _, x, _ in three]), colour) in lines
    assert (places, pytest.approx([x / LN10 for _, x, _ in layer.log_chain]), "other") in lines
    assert (places, pytest.approx([x / LN10 for x in layer.log_bound]), "ink") in lines


def test_each_exponent_is_a_point_with_its_interval_about_the_line_of_zero(two, calls):
    drawn("lyapunov", two)
    points = [(list(args[0]), args[1]) for kind, args, _ in calls if kind == "dots"]
    for name in ("start", "end"):
        for one in (*two.measurements[name].lyapunov.layers, *two.measurements[name].lyapunov.stacks):
            [mine] = [found for found, colour in points if colour == name and [y for _, y in found] == [*one.exponents]]
            assert [round(x) for x, _ in mine] == list(range(1, 9))
    assert {args[0] for kind, args, _ in calls if kind == "across"} == {0.0}


def test_the_distance_ends_where_it_is_no_more_than_rounding(calls, end):
    report = alone(end, **everything("Elman", 1))
    drawn("forgetting", report)
    [layer] = report.measurements["now"].forgetting.layers
    [line] = [args for kind, args, _ in calls if kind == "line"]
    assert list(line[0]) == list(range(114))
    assert line[1] == pytest.approx([x / LN10 for x in layer.distance[:114]])
    falling = [args[0] for kind, args, _ in calls if kind == "triangles" and args[0] and args[1:] == ["end", -1]]
    assert len(falling) == 2, "where the line ends, and in the key"


def test_a_bar_is_as_long_as_its_number(end, calls):
    report = alone(end, **everything("Elman", 1))
    drawn("attribution", report)
    wide = [max(x for x, _ in args[0]) - min(x for x, _ in args[0]) for kind, args, _ in calls if kind == "area"]
    whole, activation, weights = wide
    assert activation + weights == pytest.approx(whole)
    assert activation / whole == pytest.approx(0.3)


# what is no number


@pytest.mark.parametrize(("bad", "word"), [(math.nan, "NaN"), (math.inf, "infinite")])
@pytest.mark.parametrize("name", PICTURES)
def test_what_is_not_finite_is_marked_and_named(name, bad, word, end):
    report = sick(end, bad, "Elman", 1)
    assert word in words_of(drawn(name, report))
    assert word in FIGURES[name].alt(report)
    healthy = words_of(drawn(name, alone(end, **everything("Elman", 1))))
    assert not {"NaN", "infinite", "minus infinity"} & set(healthy)


def test_minus_infinity_is_a_zero_of_a_size_and_itself_of_a_rate(end):
    report = sick(end, -math.inf, "Elman", 1)
    for name in ("window", "jacobians"):
        assert "zero" in words_of(drawn(name, report))
    for name in ("attribution", "lyapunov"):
        assert "minus infinity" in words_of(drawn(name, report))
    assert "the distance of two states is gone after one step" in FIGURES["forgetting"].alt(report)


@pytest.mark.parametrize("name", PICTURES)
def test_where_nothing_is_finite_the_values_have_no_scale(name, end):
    labels = words_of(drawn(name, sick(end, math.nan, "Elman", 1)))
    assert not {"0.0", "0.5", "-0.5", "1.0", "0.1"} & set(labels)


def test_a_number_that_is_nan_is_not_counted_among_those_above_zero(end):
    [one] = everything("Elman", 1)["lyapunov"].layers
    one = dataclasses.replace(one, exponents=(0.5, 0.25, math.nan, *one.exponents[3:]))
    it = dataclasses.replace(everything()["lyapunov"], layers=(one,))
    said = FIGURES["lyapunov"].alt(alone(end, lyapunov=it))
    assert "2 of the first 8 of 256 exponents are above 0 and 1 not a number" in said


def test_a_layer_without_a_step_to_measure_has_no_bar_and_says_so(end, calls):
    it = everything("Elman", 1)["attribution"]
    nothing = dataclasses.replace(it.layers[0], total=None, parts={}, steps=0, sequences=0, zero=3, not_finite=1)
    report = alone(end, attribution=dataclasses.replace(it, layers=(nothing,)))
    assert " none" in words_of(drawn("attribution", report))
    assert [args for kind, args, _ in calls if kind == "area"] == []
    assert "no step of its gradient could be measured (3 steps left out where it became zero, 1 step left out" in (
        FIGURES["attribution"].alt(report)
    )


def test_a_sequence_alone_has_no_interval(end):
    it = everything("Elman", 1)["attribution"]
    only = dataclasses.replace(it.layers[0], total=Estimate(-0.3, None, None), sequences=1)
    report = alone(end, attribution=dataclasses.replace(it, layers=(only,)))
    assert "l0: -0.3 nats per step" in FIGURES["attribution"].alt(report)
    assert rows("attribution", report)[0][5:8] == (-0.3, None, None)
    drawn("attribution", report)


# names and layers


def test_of_many_layers_the_first_are_drawn_and_all_are_in_the_table(end):
    report = alone(end, **everything("LSTM", 9))
    for name in PICTURES:
        words = words_of(drawn(name, report))
        assert {f"l{i}" for i in range(6)} <= set(words)
        assert "l6" not in words
        assert {f"l{i}" for i in range(9)} <= {row[1] for row in rows(name, report)}
        more = 4 if name == "lyapunov" else 3  # the stack of all of them
        assert f"{more} more layers are in the table." in FIGURES[name].alt(report)


def test_names_by_somebody_who_wishes_the_page_ill(end):
    report, script = alone(end, **everything("LSTM", 1)), "$x^{<script>\x00\ud800\u202e層" * 20
    m = report.measurements["now"]
    named = {}
    for name in PICTURES:
        it = getattr(m, name)
        key = "name" if name == "lyapunov" else "layer"
        named[name] = dataclasses.replace(it, layers=tuple(dataclasses.replace(x, **{key: script}) for x in it.layers))
    report = Report("x", {}, {script: dataclasses.replace(m, **named)})
    for name in PICTURES:
        ET.fromstring(drawn(name, report))
        assert "\x00" not in FIGURES[name].alt(report)


@pytest.mark.parametrize("make", [lambda: nn.RNN(3, 6), lambda: nn.LSTM(3, 5, num_layers=2)])
def test_what_a_real_network_gives_is_drawn(make):
    torch.manual_seed(0)
    model, x = make(), torch.randn(16, 3, 3)
    trace = record(model, lambda m: m(x)[0].square().sum(-1))
    found = {f.__name__: f(trace) for f in (attribution, window, jacobians, lyapunov, forgetting, depth)}
    report = Report("x", {}, {"now": Measurement(0, examples.horizon(longest=15), **found)})
    for name in PICTURES:
        assert is_measured(name, report)
        ET.fromstring(drawn(name, report))
    again = Report.from_json(report.to_json())
    assert again.measurements["now"].depth == found["depth"]
    for name in PICTURES:
        assert drawn(name, again) == drawn(name, report)
