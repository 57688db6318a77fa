"""The list of runs says what is in their folders, and no folder can spoil it."""

import json
import os
import time
from pathlib import Path

import pytest

from retrograd import config, runs
from retrograd.cli import overview
from retrograd.errors import ConfigError, RunError, UsageError
from retrograd.experiments.archive import catalogue
from retrograd.experiments.archive.comparison import comparison
from retrograd.runs import Run


def made(path: Path, *, ended: str = "", data: str = "abc", age: float = 0.0, report: object = None, **sections) -> Run:
    """A run's small files, without a training: started, and ended where `ended` names the event."""
    (path / "checkpoints").mkdir(parents=True)
    run = Run(path)
    settings = config.make(sections or {"model": {"hidden": 32, "layers": 2, "cell": "gru"}, "training": {"steps": 40}})
    (path / "config.toml").write_text(config.dump(settings))
    run.event("started", data=data, environment={"python": "3"})
    for step in (10, 20, 30):
        values = {"epoch": 0.1, "seconds": step / 10, "loss": 3.0, "tokens_per_second": step * 100}
        run.record(step=step, **values)
    run.record(step=30, validation=2.5, accuracy=0.25)
    run.record(step=30, horizon=7, low=6, high=9, beyond=False, decay=0.5)
    if ended:
        run.event(ended, step=33)
    if report is not None:
        (path / "report.json").write_text(json.dumps(report))
    for file in path.iterdir():
        os.utime(file, (time.time() - age,) * 2)
    return run


def measured(step: int, steps: int, longest: int = 48) -> dict[str, object]:
    bounds = {"steps": steps, "longest": longest, "low": 5, "high": 9}
    return {"step": step, "horizon": {**bounds, "decay": 0.5, "profile": [0.0] * (longest + 1)}}


def only(folder: Path) -> catalogue.Entry:
    [entry] = catalogue.listing(folder)
    return entry


def test_runs_are_found_in_a_folder_and_one_deeper_the_last_alive_first(tmp_path):
    made(tmp_path / "old", age=500)
    made(tmp_path / "demo" / "text", age=100)
    made(tmp_path / "new", age=0)
    made(tmp_path / ".draft.17")
    made(tmp_path / "a" / "b" / "too-deep")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.toml").write_text("[somebody]\nelses = 1\n")
    (tmp_path / "file.txt").write_text("no folder")
    assert [entry.name for entry in catalogue.listing(tmp_path)] == ["new", "demo/text", "old"]


def test_of_a_watched_training_what_is_not_known_is_not_said(tmp_path):
    unknown = {"cell": config.UNKNOWN, "init": config.UNKNOWN}
    made(tmp_path / "own", task="watched", model=unknown, training={"optimizer": config.UNKNOWN})
    assert only(tmp_path).model is None
    shown = [*overview.lines([only(tmp_path)]), *overview.page(catalogue.details(tmp_path / "own"))]
    assert not any(config.UNKNOWN in line or "512" in line for line in shown)


def test_an_entry_tells_what_the_files_hold(tmp_path):
    run = made(tmp_path / "run", ended="preempted", age=300)
    (run.checkpoints / "weights").write_bytes(b"x" * 100_000)
    (run.checkpoints / "round").symlink_to(run.path)  # neither counted nor followed
    entry = only(tmp_path)
    assert (entry.status, entry.model, entry.steps) == ("preempted", "gru 2x32", 33)
    assert (entry.best, entry.measure, entry.horizon) == (2.5, "nats", "7")
    assert time.time() - entry.alive == pytest.approx(300, abs=60)
    small = sum(path.stat().st_size for path in run.path.iterdir() if path.is_file())
    assert entry.size == 100_000 + small


def test_the_last_sign_of_life_is_what_was_written_last_and_not_a_lock_that_was_looked_at(tmp_path):
    run = made(tmp_path / "run", age=900)
    written = time.time() - 300
    os.utime(run.path / "metrics.jsonl", (written, written))
    (run.path / ".lock").touch()
    assert only(tmp_path).alive == pytest.approx(written, abs=1)


def test_a_run_that_is_being_written_is_running_and_one_that_was_left_is_killed(tmp_path):
    run = made(tmp_path / "run")
    assert only(tmp_path).status == "killed"
    with run.writing():
        assert only(tmp_path).status == "running"
    assert only(tmp_path).status == "killed"


def test_a_finished_run_shows_its_reports_figure_and_horizon(tmp_path):
    report = {"figures": {"validation nats": 2.25}, "measurements": {"start": measured(0, 3), "end": measured(20, 48)}}
    made(tmp_path / "run", ended="finished", report=report)
    entry = only(tmp_path)
    assert (entry.best, entry.horizon) == (2.25, ">48")


def test_a_horizon_that_ended_in_nan_is_no_number(tmp_path):
    lost = measured(20, 0)
    lost["horizon"]["profile"][1] = "NaN"
    made(tmp_path / "run", ended="finished", report={"measurements": {"start": measured(0, 3), "end": lost}})
    assert only(tmp_path).horizon == "NaN"


def test_a_run_that_goes_on_shows_the_later_of_report_and_log(tmp_path):
    early = {"figures": {"validation nats": 2.75}, "measurements": {"start": measured(0, 3), "end": measured(20, 11)}}
    late = {"figures": {"validation nats": 2.25}, "measurements": {"start": measured(0, 3), "end": measured(30, 11)}}
    made(tmp_path / "early", report=early)
    made(tmp_path / "late", report=late)
    shown = {entry.name: (entry.best, entry.horizon) for entry in catalogue.listing(tmp_path)}
    assert shown == {"early": (2.5, "7"), "late": (2.25, "11")}


def test_a_task_with_an_accuracy_shows_the_accuracy(tmp_path):
    run = made(tmp_path / "run", task="recall")
    run.record(step=40, validation=2.0, accuracy=0.5)
    assert (only(tmp_path).best, only(tmp_path).measure) == (0.5, "accuracy")


def test_a_figure_that_is_no_number_is_one_by_name(tmp_path):
    made(tmp_path / "run", ended="finished", report={"figures": {"validation nats": "Infinity"}})
    assert only(tmp_path).best == float("inf")


BROKEN = {
    "config.toml": ("[model\n", "is not valid TOML"),
    "events.jsonl": ('{"event": "started", "time": 1}\nnonsense\n{"event": "finished", "time": 2}\n', "Line 2 of"),
    "metrics.jsonl": ('{"step": 1}\nnonsense\n{"step": 2}\n', "is not a JSON object"),
    "report.json": ('{"figures": {', "is not JSON"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_file_is_a_reason_and_the_other_runs_are_listed(tmp_path, file):
    made(tmp_path / "good", ended="finished")
    made(tmp_path / "bad", ended="finished")
    text, reason = BROKEN[file]
    (tmp_path / "bad" / file).write_text(text)
    shown = {entry.name: entry for entry in catalogue.listing(tmp_path)}
    assert shown["good"].status == "finished"
    assert shown["bad"].status == "unreadable"
    assert reason in shown["bad"].reason
    assert file in shown["bad"].reason
    with pytest.raises((RunError, ConfigError), match=file.replace(".", r"\.")):
        catalogue.details(tmp_path / "bad")


SURPRISING = {
    "report.json": ["[1, 2]", '{"figures": 3}', '{"measurements": {"end": {"step": 1}}}', '{"figures": {"a": null}}'],
    "events.jsonl": ['{"time": 3}\n', '{"event": ["started"], "time": 3}\n'],
    "metrics.jsonl": [
        "[1]\n[2]\n",
        '{"step": "ten"}\n',
        '{"step": 1, "horizon": 3}\n',
        '{"step": 1}\n{"back": "ten"}\n',
    ],
    "config.toml": ["model = 3\n", "[model]\nhidden = -1\n"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in SURPRISING.items() for text in texts])
def test_json_that_no_run_writes_is_a_reason_too(tmp_path, file, text):
    made(tmp_path / "run", ended="finished" if file == "report.json" else "")
    (tmp_path / "run" / file).write_text(text)
    if text != '{"figures": {"a": null}}':
        assert only(tmp_path).status == "unreadable"
        assert only(tmp_path).reason.endswith(".")
    with pytest.raises((RunError, ConfigError)):
        catalogue.details(tmp_path / "run")


def test_a_run_that_lost_its_config_is_listed_as_unreadable(tmp_path):
    made(tmp_path / "run")
    (tmp_path / "run" / "config.toml").unlink()
    assert only(tmp_path).status == "unreadable"
    assert "no config.toml" in only(tmp_path).reason


@pytest.mark.parametrize("tail", ['{"step": 99999, "lo', '{"step": 99999, "loss": 1.0}'])
@pytest.mark.parametrize("lines", [0, 1, 3, 4000])
def test_the_end_of_a_log_is_read_as_the_whole_of_it_is(tmp_path, lines, tail):
    run = made(tmp_path / "run")
    for step in range(lines):
        run.record(step=step + 40, loss=1.0)
    run.back(lines + 35)
    run.record(step=lines + 36, validation=1.5)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write(tail)
    whole, recent = run.metrics(), catalogue._recent(run.path / "metrics.jsonl")
    assert recent == whole[-len(recent) :]
    assert len(recent) == len(whole) if lines < 10 else 100 < len(recent) < 1500


def test_details_are_those_of_the_run(trained):
    found, report = catalogue.details(trained.run.path), trained.report
    assert found.entry.status == "finished"
    assert found.entry.steps == trained.steps == 30
    assert found.figures == pytest.approx(report.figures)
    assert [look.horizon for look in found.horizons] == [m.horizon.display for m in report.measurements.values()]
    assert [look.step for look in found.horizons] == [m.step for m in report.measurements.values()]
    assert found.progress == 1
    assert {role for saved in found.checkpoints for role in saved.roles} >= {"last", "best"}
    assert found.environment["torch"]
    assert found.config["model"]["hidden"] == 16
    assert found.data == trained.run.events()[0]["data"]


def test_a_run_is_found_by_path_or_by_its_name_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs" / "tuesday")
    made(tmp_path / "runs" / "demo" / "text")
    made(tmp_path / "elsewhere")
    assert catalogue.find("tuesday") == Path("runs/tuesday")
    assert catalogue.find("demo/text") == Path("runs/demo/text")
    assert catalogue.find("elsewhere") == Path("elsewhere")
    with pytest.raises(RunError, match="the nearest there is tuesday"):
        catalogue.find("tusday")
    with pytest.raises(RunError, match="retrograd runs lists what there is"):
        catalogue.find("qqqq")


def test_where_a_run_stands_is_told_from_its_log(tmp_path):
    found = catalogue.details(made(tmp_path / "run").path)
    assert (found.seconds, found.speed, found.progress) == (3.0, 2000, 0.75)


def test_a_comparison_shows_what_differs_and_nothing_else(tmp_path):
    for name, hidden in (("a", 32), ("b", 64)):
        made(tmp_path / name, model={"hidden": hidden}, training={"steps": 40})
    found = comparison([tmp_path / "a", tmp_path / "b"])
    assert found.settings == {"model.hidden": (32, 64)}
    assert found.results["steps"] == (30, 30)
    assert found.results["horizon at the start"] == (None, None)
    assert found.results["horizon at the end"] == ("7 (6 to 9)", "7 (6 to 9)")
    assert not found.caveats
    with pytest.raises(UsageError, match="two runs at least"):
        comparison([tmp_path / "a"])


def test_a_key_that_only_one_config_has_differs_from_none(tmp_path):
    made(tmp_path / "a", training={"steps": 40})
    made(tmp_path / "b", training={"minutes": 1.5})
    found = comparison([tmp_path / "a", tmp_path / "b"])
    assert found.settings == {"training.steps": (40, None), "training.minutes": (None, 1.5)}


@pytest.mark.parametrize(
    ("first", "second", "caveat"),
    [
        ({"data": "abc"}, {"data": "abd"}, "did not see the same data"),
        ({"data": "abc"}, {"data": None}, "it is not known"),
        ({"training": {"seed": 1}}, {"data": "abc", "training": {"seed": 1}, "task": "language"}, ""),
    ],
)
def test_figures_of_other_data_are_said_not_to_be_comparable(tmp_path, first, second, caveat):
    made(tmp_path / "a", **first)
    made(tmp_path / "b", **second)
    caveats = comparison([tmp_path / "a", tmp_path / "b"]).caveats
    assert [caveat in shown for shown in caveats] == ([True] if caveat else [])


def test_figures_per_token_of_other_tokens_are_not_comparable(tmp_path, monkeypatch):
    for name, level in (("a", "char"), ("b", "byte")):
        settings = config.merge({"training": {"steps": 40}}, {"data": {"level": level}})
        run = made(tmp_path / name)
        (run.path / "config.toml").write_text(config.dump(config.make(settings)))
    [caveat] = comparison([tmp_path / "a", tmp_path / "b"]).caveats
    assert "data.level differs" in caveat


def test_an_entry_survives_json(tmp_path):
    from dataclasses import asdict

    made(tmp_path / "run", ended="finished", report={"figures": {"validation nats": "NaN"}})
    assert runs.from_json(runs.to_json(asdict(catalogue.details(tmp_path / "run"))))["entry"]["steps"] == 33
