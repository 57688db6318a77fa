"""The run that a watch leaves: a folder that the commands read, and what is kept without one."""

import pytest
import torch

from retrograd.errors import RunError
from retrograd.experiments.watching import watch
from tests.experiments.watching.loops import Model, batch, carried, cross_entropy, step


def test_the_folder_is_a_run_that_the_commands_read(tmp_path):
    from retrograd.cli.overview import lines, page
    from retrograd.experiments.archive.catalogue import details, listing
    from retrograd.experiments.inspection import read_report

    torch.manual_seed(0)
    _, w = carried(Model(), tmp_path / "mine", True)
    entry = listing(tmp_path)[0]
    assert (entry.status, entry.model, entry.steps, entry.reason) == ("finished", "lstm 2x8", 7, "")
    found = details(tmp_path / "mine")
    assert [(look.name, look.step) for look in found.horizons] == [("start", 1), ("latest", 6)]
    assert found.config["task"]["name"] == "watched"
    assert list(lines([entry]))
    assert list(page(found))
    report = read_report(tmp_path / "mine")
    assert report.measurements == w.report.measurements
    assert report.curves["horizon"].steps == (1, 2, 4, 6)
    assert report.curves["loss"].unit == "loss"
    assert report.curves["clipped"].values[-1] == w.clipping.share == 1.0
    assert {h.name for h in report.happenings} == {"started", "finished"}
    assert b'name="generator" content="Retrograd"' in (tmp_path / "mine" / "report.html").read_bytes()
    known = (tmp_path / "mine" / "config.toml").read_text()
    assert "window" not in known, "what is not known is not said"


def test_a_run_that_goes_on_says_so_and_one_that_fails_says_why(tmp_path):
    from retrograd.experiments.archive.catalogue import listing
    from retrograd.experiments.inspection import read_report

    w = watch(Model(), out=tmp_path / "mine")
    assert listing(tmp_path)[0].status == "running"
    x, y = batch()
    step(w, cross_entropy(w.model(x)[0], y))
    assert read_report(tmp_path / "mine").status == "running"
    assert not (tmp_path / "mine" / "report.html").exists(), "a page would take more than its share of so short a time"
    with pytest.raises(ValueError, match="of mine"), w:
        raise ValueError("of mine")
    assert listing(tmp_path)[0].status == "failed"
    assert read_report(tmp_path / "mine").happenings[-1].details["reason"] == "ValueError: of mine"


def test_a_folder_that_is_taken_is_refused_before_the_training_begins(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="with out="):
        watch(Model(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, w = carried(Model(), None, True)
    assert not list(tmp_path.iterdir())
    assert w.report.status == "finished"
    assert w.report.curves["loss"].steps == (7,)
    assert len(w._journal.curves()["horizon"].steps) == 4


def test_a_long_training_does_not_fill_the_memory():
    from retrograd.experiments.watching.journal import MOST, Journal

    journal = Journal()
    for i in range(3 * MOST):
        journal.line(i, loss=1.0, **({"horizon": 3} if i == 5 else {}))
    assert len(journal.lines) <= MOST
    assert journal.lines[-1]["step"] == 3 * MOST - 1
    assert any("horizon" in line for line in journal.lines)
