"""A run is a folder; its small files are whole or absent, and its numbers survive JSON."""

import math

import pytest

from retrograd import config, runs
from retrograd.errors import RunError


def test_numbers_that_json_lacks_are_written_by_name_and_read_back():
    text = runs.to_json({"a": math.nan, "b": [math.inf, -math.inf], "c": 1.5})
    assert text == '{"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 1.5}'
    back = runs.from_json(text)
    assert math.isnan(back["a"])
    assert back["b"] == [math.inf, -math.inf]


def test_a_run_is_never_written_over(tmp_path):
    runs.create(tmp_path / "run", name="x")
    with pytest.raises(RunError, match="already exists and is not empty"):
        runs.create(tmp_path / "run", name="x")


def test_two_runs_of_one_second_get_two_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (runs.create(None, name="Moby Dick lstm") for _ in range(2))
    assert first.path != second.path
    assert first.path.name.endswith("moby-dick-lstm") or second.path.name.endswith("moby-dick-lstm")


def test_what_is_not_a_run_is_said_to_be_none(tmp_path):
    with pytest.raises(RunError, match="No run is at"):
        runs.open_run(tmp_path / "none")
    with pytest.raises(RunError, match=r"is not a run: it holds no config\.toml"):
        runs.open_run(tmp_path)


def test_the_last_event_that_says_so_is_the_status(tmp_path):
    run = runs.create(tmp_path / "run", name="x")
    (run.path / "config.toml").write_text(config.dump(config.make({})))
    assert run.status() == "running"
    for name in ("started", "saved", "interrupted"):
        run.event(name)
    assert runs.open_run(run.path).status() == "interrupted"


def test_a_line_that_is_not_json_is_named(tmp_path):
    run = runs.create(tmp_path / "run", name="x")
    run.record(step=1, loss=2.0)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo\n')
    with pytest.raises(RunError, match="Line 2 of"):
        list(run.metrics())


def test_a_failed_write_leaves_the_old_text(tmp_path):
    path = tmp_path / "small.json"
    runs.write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        runs.write(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
