"""retrograd report: in the terminal, as JSON, as a page and as figures, and what it will not write over."""

import json

import pytest
from typer.testing import CliRunner

from retrograd.cli.app import app
from tests.reports.examples import full


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "first run"
    folder.mkdir()
    (folder / "config.toml").write_text('task = "language"\n')
    (folder / "report.json").write_text(full().to_json(), encoding="utf-8")
    return folder


def retrograd(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_without_options_it_is_a_page_for_the_terminal(run):
    done = retrograd(run)
    assert done.exit_code == 0, done.output
    assert "How far back the gradient reaches" in done.stdout


def test_the_page_is_drawn_anew_and_names_the_run(run, tmp_path):
    done = retrograd(run, "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["Wrote", f"{tmp_path / 'page.html'}."]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "first run-forget-bias&#39;" in text
    assert retrograd(run, "--html", tmp_path / "page.html").exit_code == 0, "a page of ours is written over"


def test_the_figures_are_files_and_it_says_which(run, tmp_path):
    done = retrograd(run, "--figures", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    assert "reach, horizon, loss" in done.stdout
    assert len(list((tmp_path / "figures").iterdir())) == 24


@pytest.mark.parametrize("option", ["--html", "--figures"])
def test_what_is_there_stays_unless_forced(run, tmp_path, option):
    place = tmp_path / "thesis"
    mine = place if option == "--html" else place / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    done = retrograd(run, option, place)
    assert done.exit_code == 2
    assert done.stderr.startswith("retrograd: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert mine.read_text() == "mine"
    assert retrograd(run, option, place, "--force").exit_code == 0
    if option == "--figures":
        assert mine.read_text() == "mine"


def test_json_stays_alone_on_stdout(run, tmp_path):
    done = retrograd(run, "--json", "--html", tmp_path / "page.html")
    assert json.loads(done.stdout)["title"] == full().title
    assert "Wrote" in done.stderr


def test_a_run_without_a_report_is_one_sentence(run):
    (run / "report.json").unlink()
    done = retrograd(run, "--html", run / "page.html")
    assert done.exit_code == 2
    assert "has no report yet" in done.stderr
    assert not (run / "page.html").exists()
