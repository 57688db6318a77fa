"""One page that needs nothing else: no script, nothing fetched, everything escaped, sensible with nothing in it."""

import dataclasses
import html.parser
import math
import re

import pytest

from retrograd.diagnosis import Remedy
from retrograd.errors import UsageError
from retrograd.reports import Happening, Report, Sample
from retrograd.reports.html import page, shown, write
from retrograd.reports.plots import FIGURES, names
from retrograd.reports.sentences import HEADINGS
from retrograd.reports.words import visible
from tests.reports import examples
from tests.reports.examples import REPORTS
from tests.reports.measured import NAMES, measured
from tests.reports.test_report import same

NOW = 1_795_281_600.0  # 2026-11-21 17:20 UTC
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and the text; fails where an element is closed that is not open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def pages():
    return {name: page(make(), run="runs/first try", now=NOW) for name, make in REPORTS.items()}


@pytest.mark.parametrize("kind", REPORTS)
def test_nothing_runs_and_nothing_is_fetched(kind, pages):
    reader = Reader(pages[kind])
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "animate", "foreignobject")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "xlink:href", "src", "srcset", "action", "data", "poster"):
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    in_tags = " ".join(re.findall(r"<[^>]*>", pages[kind]))
    assert not re.search(r"https?://", re.sub(r'(aria-label|xmlns(:\w+)?)="[^"]*"', "", in_tags))
    [style] = re.findall(r"<style>(.*?)</style>", pages[kind], re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("kind", REPORTS)
def test_ids_are_unique_and_every_reference_is_answered(kind, pages):
    attributes = [a for _, a in Reader(pages[kind]).tags]
    ids = [a["id"] for a in attributes if "id" in a]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', pages[kind])) <= set(ids)


@pytest.mark.parametrize("kind", REPORTS)
def test_the_page_says_what_it_is(kind, pages):
    reader = Reader(pages[kind])
    tags = dict(reader.tags)
    assert tags["html"]["lang"] == "en"
    metas = {a.get("name") or a.get("http-equiv"): a.get("content") for tag, a in reader.tags if tag == "meta"}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "title" in tags
    assert pages[kind].startswith("<!doctype html>")


def test_every_figure_has_words_for_who_cannot_see_it(pages):
    figures = [a for tag, a in Reader(pages["full"]).tags if tag == "figure"]
    assert len(figures) == len(names(REPORTS["full"]()))
    for attributes in figures:
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"])
    assert pages["full"].count("<figcaption>") == len(figures)


def test_the_further_measures_are_shown_where_they_were_taken_and_not_missed_elsewhere(pages):
    report = measured(REPORTS["full"](), layers=2)
    shown = page(dataclasses.replace(report, notes=("Something was <set> aside.",)))
    assert shown.count("<figcaption>") == len(FIGURES)
    for name, heading in HEADINGS.items():
        assert (f"<h2>{heading}</h2>" in shown) == (name in NAMES)
        assert heading not in pages["full"]
    assert "Something was &lt;set&gt; aside." in shown
    assert "How it was measured" not in pages["full"]


def test_somebody_else_s_text_is_escaped(pages):
    assert "alert(1)" in pages["hostile"]
    assert "<script" not in pages["hostile"].lower()
    assert "</svg><" not in pages["hostile"].replace("</svg>\n<figcaption", "")
    for bad in ("\x00", "\x1b", "\x07", "\u202e"):
        assert bad not in pages["hostile"]
    pages["hostile"].encode("utf-8")
    assert "\\ud800" in pages["hostile"]
    assert "␛[31m\\u202e" in pages["hostile"]


def test_what_acts_on_a_page_is_written_out():
    assert visible("a\x00\x7f\x85\u202e\ud800b\r\nc\td") == "a␀␡\\x85\\u202e\\ud800b\nc\td"
    assert visible("Ünïcode 層 🎵") == "Ünïcode 層 🎵"


def test_the_verdict_comes_first_and_names_the_commands_that_prove_it(pages):
    text = Reader(pages["full"]).text
    assert text.index("the task needs 150") < text.index("How far back the gradient reaches")
    assert "retrograd train --config 'runs/first try/config.toml' --init forget_bias=5.1 --out" in text
    assert "--out 'runs/first try-forget-bias' retrograd runs compare 'runs/first try' 'runs/first try-forget" in text
    assert "error · vanishing" in text
    facts = text[text.index("the task needs 150") :]
    for part in ("where l0, state h and c", "why Per step the gradient", "is not No norm of", "assumes The task needs"):
        assert part in facts
    assert "--init forget_bias=5.1 start; expected to reach about 1,136 steps" in text
    assert "--init chrono=150 start; expected to reach about 521 steps" in text
    assert "--clip 1 training; no reach predicted" in text


def test_somebody_s_own_model_is_told_its_remedies_in_python():
    report = examples.foreign()
    text = Reader(page(report)).text
    assert 'rg.fix(model, loss, "calibrated", need=150) start; expected to reach any lag' in text
    assert 'rg.fix(model, loss, "irnn"' in text
    assert 'rg.fix(model, loss, "orthogonal", need=150) start; expected to reach about 38 steps' in text
    assert "To prove it, measure it with the remedy and without; keep=True then leaves it in the model:" in text
    assert "retrograd train" not in text
    told = Reader(page(report, run="my model.py:make")).text
    assert "retrograd fix 'my model.py:make' --need 150 --apply calibrated" in told
    assert "retrograd fix" not in Reader(page(report, run="runs/of-a-watched-loop")).text


def test_a_folder_s_name_is_quoted_for_the_shell():
    text = Reader(page(examples.full(), run="a; rm -rf $HOME/")).text
    assert "retrograd runs compare 'a; rm -rf $HOME' 'a; rm -rf $HOME-forget-bias'" in text
    assert "--config ./-x/config.toml" in Reader(page(examples.full(), run="-x")).text
    assert "--config RUN/config.toml" in Reader(page(examples.full())).text


def test_a_remedy_that_this_version_does_not_know_has_no_commands():
    finding = dataclasses.replace(examples.VANISHING, remedies=(Remedy("of tomorrow"),))
    text = page(dataclasses.replace(examples.full(), findings=(finding,)))
    assert "the task needs 150" in text
    assert "retrograd train" not in text


def test_a_run_that_goes_on_is_read_again_and_says_its_step(pages):
    for kind, step in (("one point", "step 1"), ("empty", "step 0")):
        assert '<meta http-equiv="refresh" content="60">' in pages[kind]
        assert step in Reader(pages[kind]).text
    assert 'http-equiv="refresh"' not in pages["full"]


def test_almost_nothing_still_gives_a_page(pages):
    text = Reader(pages["empty"]).text
    for part in ("notes lstm", "running", "nothing has been measured", "Gradient reach: not measured."):
        assert part in text
    assert "<figure" not in pages["empty"]
    assert len(pages["empty"]) < 20_000


def test_no_finding_is_said_where_something_was_measured(pages):
    assert "nothing vanishes or explodes" in pages["censored"]
    assert "nothing vanishes or explodes" not in pages["empty"]


def told(report, **changes):
    """The text of the page of a report with some of it changed."""
    return Reader(page(dataclasses.replace(report, **changes), run="runs/first", now=NOW)).text


def test_without_a_finding_the_page_says_when_and_whether_that_was_measured():
    report = examples.one_point()
    assert "None at step 0, before training: nothing vanishes" in told(report)
    assert "Measured at step 0, before training." in told(report, status="preempted")
    assert "Measured at" not in told(examples.full())
    end = examples.full().measurements["end"]
    assert "Measured at step 3,777. error" in told(examples.full(), status="failed")
    assert "None: nothing vanishes" in told(examples.full(), findings=())
    broken = dataclasses.replace(end, horizon=dataclasses.replace(end.horizon, profile=(math.nan,) * 193))
    text = told(examples.full(), findings=(), measurements={"end": broken})
    assert "nothing vanishes" not in text
    assert "None, but the gradient is not finite." in text


def test_what_has_become_of_the_run_is_said_with_its_step_and_reason():
    failed = Happening("failed", 0.0, {"step": 3, "reason": "The loss stopped being finite {at} <step> 3."})
    report = dataclasses.replace(examples.empty(), status="failed", happenings=(failed,))
    assert "Training failed at step 3. The loss stopped being finite {at} <step> 3." in told(report)
    again = (Happening("finished", 0.0, {"step": 9}), Happening("resumed", 1.0, {"step": 9}))
    assert "Training has finished, after 3,777 steps." in told(examples.full(), happenings=again)
    assert "Training goes on, as of 2026-11-21 17:20 UTC, step 1;" in told(examples.one_point())
    killed = page(examples.one_point(), run="a run", now=NOW).replace("running", "killed")
    assert "Its process was ended" not in killed
    killed = page(dataclasses.replace(examples.one_point(), status="killed"), run="a run", now=NOW)
    assert 'http-equiv="refresh"' not in killed
    text = Reader(killed).text
    assert "at step 1, is here. retrograd train --resume 'a run' goes on from its last checkpoint." in text


def test_a_note_does_not_ask_for_a_proof():
    note = dataclasses.replace(examples.VANISHING, severity="note")
    assert "If the task needs it, train again with it and compare:" in told(examples.full(), findings=(note,))
    assert "To prove it, train again with it and compare:" in told(examples.full(), findings=(examples.VANISHING,))


def test_the_tiles_say_what_was_assumed_and_when_it_was_measured():
    assert "150 steps back, for the task" in told(examples.full())
    assert "46 steps back (43 to 50), at step 3,777" in told(examples.full())
    assumed = examples.full().subject | {"need": 128, "need is": "assumed: the window"}
    text = told(examples.full(), subject=assumed)
    assert "128 steps back, assumed: the window" in text
    assert "128 time steps, where the gradient is cut" in text


def test_the_end_that_is_not_the_last_step_is_the_best(pages):
    report = examples.full()
    assert "best by validation" not in Reader(pages["full"]).text
    end = dataclasses.replace(report.measurements["end"], step=3000)
    text = told(report, measurements=report.measurements | {"end": end})
    assert "The end is step 3,000 of 3,777: the weights that are best by validation are those that are kept" in text


def test_a_horizon_that_is_no_number_is_never_shown_as_one(pages):
    text = Reader(pages["lost"]).text
    assert "horizon NaN not a number, at step 60 decay not measured need" in text
    assert "(0 to 0)" not in text
    assert "start 0 NaN decay not measured end 60 NaN" in text
    assert "lags 0 to 0" not in text
    assert "skipped steps 30, from 2, to 60" in text


def test_samples_fold_and_the_last_is_open(pages):
    folds = [a for tag, a in Reader(pages["full"]).tags if tag == "details"]
    assert ["open" in a for a in folds] == [False, False, False, True, False, False]


def test_the_contents_come_in_their_order(pages):
    heads = re.findall(r"<h2>(.*?)</h2>", pages["full"])
    assert heads == [
        "Verdicts",
        "How far back the gradient reaches",
        "Training",
        "Each loss, each state",
        "Gates and memory",
        "Recurrent weights",
        "What it wrote",
        "What befell the run",
        "To repeat it",
        "How the numbers are defined",
    ]


def test_what_befell_config_and_environment_are_told(pages):
    text = Reader(pages["full"]).text
    for part in ("2025-10-09 08:55:50 UTC preempted step 1490, signal SIGTERM", "model.hidden 256", "torch 2.13.0"):
        assert part in text


def test_settings_are_written_as_a_person_would():
    values = [None, (), [1, 2.5], True, math.nan, 345_921, "x"]
    assert list(map(shown, values)) == ["not set", "empty", "1, 2.5", "yes", "NaN", "345,921", "x"]


def test_the_big_page_is_small(pages):
    assert len(pages["big"].encode()) < 3_000_000


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind != "hostile"])
def test_a_report_from_json_gives_the_same_page(kind, pages):
    report = REPORTS[kind]()
    again = Report.from_json(report.to_json())
    assert same(again.curves, report.curves)
    assert same(again.measurements, report.measurements)
    assert same(again.samples, report.samples)
    assert same(again.happenings, report.happenings)
    assert (again.status, again.config, again.environment) == (report.status, report.config, report.environment)
    assert page(again, run="runs/first try", now=NOW) == pages[kind]


def test_a_sample_that_reads_like_a_number_stays_a_text():
    report = dataclasses.replace(examples.full(), samples=(Sample(1, "NaN"),))
    assert Report.from_json(report.to_json()).samples == (Sample(1, "NaN"),)


def test_a_page_is_written_over_a_page_only(tmp_path):
    report, file = examples.one_point(), tmp_path / "new" / "report.html"
    assert write(report, file) == file
    write(report, file)
    other = tmp_path / "thesis.html"
    other.write_text("<!doctype html><p>mine")
    with pytest.raises(UsageError, match=r"is no page of Retrograd's.*--force"):
        write(report, other)
    assert other.read_text() == "<!doctype html><p>mine"
    write(report, other, force=True)
    assert "Retrograd" in other.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="is a folder"):
        write(report, tmp_path)
