"""The page and the table of a comparison: self-contained, escaped, and with the numbers that were found."""

import json
import math
import re
from pathlib import Path

import pytest

from retrograd.reports import comparison_page
from retrograd.reports.comparison_page import PLOTS, page, standings, status
from retrograd.reports.plots.colours import LIGHT
from retrograd.reports.plots.comparison import written
from retrograd.reports.plots.frame import Frame
from tests.reports.browser import browser, executable
from tests.reports.compared import COMPARISONS, answers, begun, broken, hostile, many, whole
from tests.reports.test_html import Reader


@pytest.fixture(scope="module")
def pages():
    return {name: page(make()) for name, make in COMPARISONS.items()}


@pytest.mark.parametrize("kind", COMPARISONS)
def test_nothing_runs_and_nothing_is_fetched(kind, pages):
    reader = Reader(pages[kind])
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name == "href":
                assert re.fullmatch(r"#[\w.-]+|[\w.=+-]+/report\.html", value), "only to its own runs"
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', pages[kind])) <= set(ids)


def test_the_table_has_the_figures_of_every_model_the_best_first(pages):
    table = standings(whole())
    assert table.heads[:3] == ("model", "size", "test perplexity")
    rows = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    assert list(rows) == ["lstm", "irnn", "ngram"]
    assert rows["ngram"]["size"] == "670,524 n-grams"
    assert rows["lstm"]["test perplexity"] == "7.029 (6.36 to 7.768)"
    assert (rows["irnn"]["not finite"], rows["irnn"]["finished"]) == ("step 31", "1 of 2")
    assert (rows["ngram"]["finished"], rows["lstm"]["finished"]) == ("1 of 1", "2 of 2")
    assert "finished" not in standings(answers()).heads
    assert rows["lstm"]["horizon"] == "9 (8 to 11)"
    assert rows["lstm"]["at the end"] == "23 (20 to >192)"
    assert rows["lstm"]["context"] == "12"
    assert rows["lstm"]["tokens/s"] == "6,543"
    text = Reader(pages["whole"]).text
    for cell in [cell for row in table.rows for cell in row]:
        assert cell in text


def test_a_run_leads_to_its_page_where_it_has_one(pages):
    assert re.findall(r'<td><a href="([^"]*)">([^<]*)</a></td>', pages["whole"]) == [
        (f"{name}/report.html", name) for name in ("ngram-1", "irnn-1", "irnn-2", "lstm-1", "lstm-2")
    ]
    assert "<td>lstm-1</td>" in pages["begun"]
    assert "<a " not in pages["begun"]


def test_every_table_of_numbers_is_written_in_one_place():
    written = Path(comparison_page.__file__).with_name("comparison.html.j2").read_text(encoding="utf-8")
    assert written.count('<table class="numbers">') == 1
    assert written.count("{{ table(") == 3


def test_accuracies_are_shares_and_end_at_all():
    assert standings(answers()).rows[0][2] == "99.0 % (86.3 to 100.0 %)"


def test_what_is_not_distinguishable_and_the_pairs_are_said(pages):
    text = Reader(pages["whole"]).text
    assert "irnn cannot be told apart from it." in text
    assert "ngram lstm +0.55 +0.21 to +0.89 2 yes" in text
    assert "ngram irnn +0.3 - 1 no" in text
    assert "irnn-2 : The loss stopped being finite." in text


def test_one_that_was_stopped_says_how_to_go_on(pages):
    assert "retrograd compare --resume runs/20261122-compare-notes" in status(whole())
    assert "No run has finished yet" not in pages["whole"]
    assert "<figure" not in pages["begun"]
    assert "0 of 2" in Reader(pages["begun"]).text
    assert "--resume" not in status(answers())


def test_every_picture_has_words_with_its_numbers(pages):
    figures = [a for tag, a in Reader(pages["whole"]).tags if tag == "figure"]
    assert len(figures) == len(PLOTS)
    assert all(re.search(r"\d", a["aria-label"]) for a in figures)


def test_somebody_else_s_text_is_escaped(pages):
    assert "<script" not in pages["hostile"].lower()
    assert "alert(1)" in pages["hostile"]
    assert not {"\x00", "\u202e"} & set(pages["hostile"])
    assert hostile().title in json.loads(hostile().to_json())["title"]


def test_the_pictures_show_the_numbers_that_were_found(monkeypatch):
    dots = []
    monkeypatch.setattr(Frame, "dots", lambda self, points, *_, **__: dots.extend(points))
    PLOTS["figures"].draw(whole(), LIGHT)
    assert [x for x, i in dots if i == 0][-1] == pytest.approx(math.exp(1.95))
    assert {i for _, i in dots} == {0, 1, 2}
    dots.clear()
    PLOTS["horizons"].draw(whole(), LIGHT)
    assert {round(2**x) for x, _ in dots} == {9, 23, 12}


def test_a_figure_beyond_every_number_is_a_mark_and_a_word(calls):
    PLOTS["figures"].draw(broken(), LIGHT)
    assert len([args for kind, args, _ in calls if kind == "triangles" and args[0]]) == 2, "on its line, in the key"
    assert standings(broken()).rows[-1][2] == "infinite"


@pytest.mark.parametrize("kind", COMPARISONS)
@pytest.mark.parametrize("name", PLOTS)
def test_every_picture_can_be_drawn_and_told_of_whatever_there_is(name, kind):
    it = COMPARISONS[kind]()
    assert PLOTS[name].draw(it, LIGHT) is not None
    assert PLOTS[name].alt(it)
    heads, *rows = PLOTS[name].rows(it)
    assert all(len(row) == len(heads) for row in rows)


def test_json_holds_all_of_it_with_nan_and_infinity_by_name():
    told = json.loads(broken().to_json())
    assert told["standings"][0]["test"]["value"] == "Infinity"
    assert told["standings"][1]["outcomes"][0]["context"] == {"steps": 12, "more": False, "why": ""}
    assert json.loads(begun().to_json())["pairs"] == []


def test_a_middle_of_nothing_is_a_dash():
    assert written(None) == "-"


def test_more_models_than_colours_are_told_apart_by_dashes():
    from retrograd.reports.plots.comparison import _entry

    styles = [(_entry(s.model, i).colour, _entry(s.model, i).kind) for i, s in enumerate(many().standings[:15])]
    assert len(set(styles)) == 15


@pytest.mark.skipif(executable() is None, reason="no browser is installed")
def test_a_page_is_quiet_fetches_nothing_and_fits(pages, tmp_path):
    with browser() as it:
        for kind in ("whole", "many", "hostile"):
            (tmp_path / f"{kind}.html").write_text(pages[kind], encoding="utf-8")
            for width, dark in ((1280, False), (360, True)):
                it.open(tmp_path / f"{kind}.html", width=width, dark=dark)
                assert it.complaints() == []
                assert it.requests() == []
                assert it.value("document.documentElement.scrollWidth") <= width
