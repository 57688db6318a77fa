"""The lines and tables of the further measures: what was taken is told with its numbers, and fits."""

import dataclasses
import math

import pytest

from retrograd.measures import Depth, LayerDepth
from retrograd.reports.sentences import HEADINGS
from retrograd.reports.tables import tables
from retrograd.reports.text import further
from tests.reports import examples
from tests.reports.measured import NAMES, alone, everything, measured, spoiled


def looked(end, **fields):
    return dataclasses.replace(end, **fields)


def told(m, width=100):
    return " ".join(" ".join(further(m, width)).split())


def test_what_was_taken_has_a_heading_and_a_sentence_a_layer(end):
    found = list(further(looked(end, **everything("LSTM", 2)), 2000))
    headings = [line for line in found if not line.startswith(" ")]
    assert headings == [HEADINGS[name] for name in NAMES]
    for heading, layers in zip(headings[:5], (2, 2, 2, 3, 2), strict=True):
        after = found[found.index(heading) + 1 :]
        assert [line.startswith("  l") for line in after[:layers]] == [True] * layers


@pytest.mark.parametrize("name", NAMES)
def test_each_measure_is_told_alone_and_nothing_else(name, end):
    found = list(further(looked(end, **{name: everything()[name]}), 80))
    assert [line for line in found if not line.startswith(" ")] == [HEADINGS[name]]
    assert len(found) > 1


def test_nothing_measured_takes_no_line(end):
    assert list(further(end, 80)) == []
    empty = {
        f: dataclasses.replace(it, layers=()) for f, it in everything().items() if f in ("attribution", "lyapunov")
    }
    assert list(further(looked(end, **empty), 80)) == []


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("bad", [None, math.nan, -math.inf])
def test_no_line_is_wider_than_the_terminal(width, bad, end):
    for fields in (everything("LSTM", 9), {n: spoiled(it, bad) for n, it in everything("Elman", 2).items()}):
        found = list(further(looked(end, **fields), width))
        assert max(map(len, found)) <= width


def test_the_sentences_hold_the_numbers(end):
    page = told(looked(end, **everything("Elman", 1)))
    for part in (
        "l0: -0.3 (-0.32 to -0.28) nats per step, a factor of 0.741",
        "The smallest window with a cosine of at least 0.99 in every layer is 24; over 8 losses of 16 sequences.",
        "the largest singular value of one step is 1.2 (1.08 to 1.32 for 80 % of 24 steps",
        "l0: the largest exponent is",
        "halves in 2.31 (2.24 to 2.39) steps",
        "Recurrent depth 1 per step, feedforward depth 1, skip coefficient 1.",
    ):
        assert part in page
    assert "NaN" in told(looked(end, **{n: spoiled(it, math.nan) for n, it in everything("Elman", 1).items()}))


def test_a_window_that_is_never_enough_is_none(end):
    it = everything()["window"]
    poor = dataclasses.replace(it.layers[0].chunks, cosine=(0.5,) * len(it.windows))
    it = dataclasses.replace(it, layers=(dataclasses.replace(it.layers[0], chunks=poor),), anchors=(5,), sequences=1)
    assert "in every layer is none that was tried; over 1 loss of 1 sequence." in told(looked(end, window=it))


def test_a_distance_that_does_not_shrink_has_no_half_life(end):
    said = told(looked(end, forgetting=everything("Elman", 1, 0.02)["forgetting"]))
    assert "the distance of two states does not shrink, 0.02 (0.01 to 0.03) nats per step;" in said
    unknown = dataclasses.replace(everything()["forgetting"], layers=(), not_measured=("own", "other"))
    assert told(looked(end, forgetting=unknown)).endswith("the equation is not known: own, other.")


def custom(*, joined=True):
    own = LayerDepth("own", "Leaky", 1.0, 1.0, None, at_least=True)
    rnn = LayerDepth("rnn.l0", "LSTM", 2.0, 2.0, math.inf, at_least=False)
    return Depth(2.0, 3.0, math.inf, (own, rnn), (("own", "rnn.l0"),), joined=joined, at_least=True)


def test_a_depth_that_may_be_more_is_told_as_at_least(end):
    said = told(looked(end, depth=custom()))
    assert "Recurrent depth at least 2 per step, feedforward depth at least 3, skip coefficient infinite: " in said
    assert said.endswith("because the equation is not known: own (Leaky).")
    assert "every layer is taken alone" in told(looked(end, depth=custom(joined=False)))
    assert "every layer is taken alone" not in said
    alone = dataclasses.replace(custom(), skip=None, layers=custom().layers[:1])
    assert "skip coefficient not known." in told(looked(end, depth=alone))


# tables


def rows(report):
    return {name: list(table.rows) for name, table in tables(report).items()}


def test_the_tables_go_from_the_first_measurement_to_the_last():
    found = rows(measured(examples.full("Elman"), "Elman"))
    assert found == {
        "attribution": [("l0", "0.741 → 0.861", "-0.3 → -0.15", "-0.09 → -0.045", "-0.21 → -0.105")],
        "window": [("start", "24", "8", "16"), ("end", "48", "8", "16")],
        "jacobians": [("l0", "1.2", "2.1·10⁻¹⁷ → 4.6·10⁻⁹ over 128", "1.4·10¹⁰")],
        "lyapunov": [("l0", "-0.354 → -0.204", "-0.234 to -0.174", "0 of 8")],
        "forgetting": [("l0", "2.31 → 4.62", "-0.3 → -0.15", "-0.28 → -0.13", "never")],
        "depth": [("l0, Elman", "1", "1", "1")],
    }


def test_a_table_has_a_cell_under_each_of_its_heads_and_no_empty_column(end):
    for report in (measured(examples.full(layers=2), layers=2), alone(end, **everything("GRU", 9))):
        for table in tables(report).values():
            assert {len(row) for row in table.rows} == {len(table.heads)}
            assert all(any(column) for column in zip(*table.rows, strict=True))
    assert tables(alone(end, **everything("LSTM", 1)))["attribution"].heads == (
        "layer",
        "factor per step",
        "nats per step",
    )


def test_a_layer_of_one_measurement_alone_keeps_its_row():
    report = measured(examples.full("GRU"), "GRU")
    both = everything("GRU", 2)
    looks = report.measurements | {"end": dataclasses.replace(report.measurements["end"], **both)}
    found = rows(dataclasses.replace(report, measurements=looks))
    assert [row[0] for row in found["lyapunov"]] == ["l0", "l1", "l, all layers"]
    assert "→" not in found["forgetting"][1][1]


def test_the_depths_of_all_layers_together_come_last(end):
    assert rows(alone(end, depth=everything("LSTM", 3)["depth"]))["depth"][-1] == ("all together", "2", "6", "infinite")
    assert rows(alone(end, depth=custom()))["depth"] == [
        ("own, Leaky", "at least 1", "at least 1", "not known"),
        ("rnn.l0, LSTM", "2", "2", "infinite"),
        ("all together", "at least 2", "at least 3", "infinite"),
    ]


def test_nothing_measured_has_no_table(end):
    assert tables(examples.empty()) == {}
    assert tables(alone(end, **dict.fromkeys(NAMES))) == {}
    nothing = {name: dataclasses.replace(it, layers=()) for name, it in everything().items() if name != "window"}
    assert tables(alone(end, **nothing)) == {}


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_in_the_tables_by_name(bad, end):
    found = rows(alone(end, **{n: spoiled(it, bad) for n, it in everything("Elman", 2).items()}))
    said = " ".join(cell for table in found.values() for row in table for cell in row)
    assert any(word in said for word in ("NaN", "infinite", "minus infinity"))
