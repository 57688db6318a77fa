"""A run is a folder; its small files are whole or absent, and its numbers survive JSON."""

import math
import os
from contextlib import ExitStack

import pytest

from retrograd import config, runs
from retrograd.errors import RunError, SaveFailed


def test_numbers_that_json_lacks_are_written_by_name_and_read_back():
    text = runs.to_json({"a": math.nan, "b": [math.inf, -math.inf], "c": 1.5})
    assert text == '{"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 1.5}'
    back = runs.from_json(text)
    assert math.isnan(back["a"])
    assert back["b"] == [math.inf, -math.inf]


def create(path, name="x"):
    with runs.creating(path, name=name) as (draft, run):
        (draft.path / "config.toml").write_text(config.dump(config.make({})))
    return run


def test_a_run_is_never_written_over(tmp_path):
    create(tmp_path / "run")
    with pytest.raises(RunError, match="already exists and is not empty"):
        create(tmp_path / "run")


def test_a_run_is_there_whole_or_not_at_all(tmp_path):
    with runs.creating(tmp_path / "run", name="x") as (draft, run):
        draft.event("started")
        assert not run.path.exists()
    assert [e["event"] for e in run.events()] == ["started"]

    def fill():
        with runs.creating(tmp_path / "other", name="x") as (draft, _):
            draft.event("started")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_of_two_runs_that_begin_under_one_name_the_second_is_refused(tmp_path):
    with ExitStack() as first:
        first.enter_context(pytest.raises(RunError, match="already exists"))
        first.enter_context(runs.creating(tmp_path / "run", name="x"))
        create(tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").is_file()


def test_two_runs_of_one_second_get_two_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        runs.creating(None, name="Moby Dick lstm") as (_, first),
        runs.creating(None, name="Moby Dick lstm") as (_, second),
    ):
        pass
    assert first.path != second.path
    assert first.path.name.endswith("moby-dick-lstm") or second.path.name.endswith("moby-dick-lstm")


def test_one_process_writes_a_run_and_a_second_is_refused_by_its_name(tmp_path):
    run = create(tmp_path / "run")
    run.event("started", by=runs.this_process())
    assert run.status() == "killed", "it began, and nobody writes it"
    with run.writing():
        assert run.status() == "running"
        with (
            pytest.raises(RunError, match=rf"is being written by process {os.getpid()} on the machine .*, since "),
            run.writing(),
        ):
            pass
    assert run.status() == "killed"
    run.event("finished")
    assert run.status() == "finished"


def test_going_back_makes_later_lines_void_and_keeps_them_in_the_file(tmp_path):
    run = create(tmp_path / "run")
    for step in (10, 20, 30):
        run.record(step=step, loss=1.0)
    run.back(20)
    run.record(step=30, loss=2.0)
    assert [(line["step"], line["loss"]) for line in run.metrics()] == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert (run.path / "metrics.jsonl").read_text().count("\n") == 5


@pytest.mark.parametrize(
    "tail", [b'{"step": 2, "lo', b'{"step": 2, "loss": 1.0}', b"\xc3", b"\0\0\0\n", b'{"step": 2\n']
)
def test_a_torn_last_line_is_passed_over_and_mended_with_a_note(tmp_path, tail):
    run = create(tmp_path / "run")
    run.record(step=1, loss=2.0)
    whole = (run.path / "metrics.jsonl").read_bytes()
    (run.path / "metrics.jsonl").write_bytes(whole + tail)
    assert [line["step"] for line in run.metrics()] == [1]
    assert runs.torn(run.path / "metrics.jsonl") == tail
    [note] = run.mend()
    assert f"The last line of metrics.jsonl was cut ({len(tail)} bytes) and is dropped" in note
    assert (run.path / "metrics.jsonl").read_bytes() == whole
    assert run.mend() == []


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path):
    run = create(tmp_path / "run")
    runs.half(run.checkpoints / "step-000003").mkdir()
    runs.half(run.path / "report.json").write_text("{")
    (run.path / ".notes.2024").write_text("somebody's own")
    with run.writing():
        run.mend()
        assert sorted(p.name for p in run.path.glob("[!.]*")) == ["checkpoints", "config.toml"]
    assert sorted(p.name for p in run.path.glob(".*")) == [".lock", ".notes.2024"]
    assert not list(run.checkpoints.iterdir())


def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch):
    run = create(tmp_path / "run")
    run.record(step=1)
    (run.path / "metrics.jsonl").chmod(0o400)
    monkeypatch.setattr("builtins.open", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SaveFailed, match=r"metrics\.jsonl could not be written: No space left"):
        run.record(step=2)


def test_what_is_not_a_run_is_said_to_be_none(tmp_path):
    with pytest.raises(RunError, match="No run is at"):
        runs.open_run(tmp_path / "none")
    with pytest.raises(RunError, match=r"is not a run: it holds no config\.toml"):
        runs.open_run(tmp_path)


def test_the_last_event_that_says_so_is_the_status(tmp_path):
    run = create(tmp_path / "run")
    assert run.status() == "killed"
    for name in ("started", "saved", "preempted"):
        run.event(name)
    assert runs.open_run(run.path).status() == "preempted"


@pytest.mark.parametrize("line", ['{"step": 2, "lo', "[1]", '{"loss": 2}'])
def test_a_line_in_the_middle_that_is_no_line_of_a_log_is_named(tmp_path, line):
    run = create(tmp_path / "run")
    run.record(step=1, loss=2.0)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    run.record(step=3, loss=2.0)
    with pytest.raises(RunError, match="Line 2 of"):
        run.metrics()


def test_a_failed_write_leaves_the_old_text(tmp_path):
    path = tmp_path / "small.json"
    runs.write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        runs.write(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
