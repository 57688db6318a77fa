"""Signals, kills, a second writer and a full disk, met by the command itself."""

import os
import signal
import subprocess
import time

import pytest

from benchmarks import survival
from retrograd.cli import signals
from retrograd.runs import Run
from retrograd.training import checkpoint
from tests.cli.command import command, retrograd

SLOW = ["--hidden", "16", "--window", "16", "--steps", "100000"]


def training(text, cwd, *arguments) -> subprocess.Popen[str]:
    """A training that has taken its first steps."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command("train", text, *arguments, "--out", "run"), cwd=cwd, **pipes)
    metrics, deadline = cwd / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (begun := metrics.exists() and '"loss"' in metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert begun
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_from_there(text, tmp_path, number, code):
    process = training(text, tmp_path, *SLOW)
    process.send_signal(number)
    shown, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (code, "")
    assert "retrograd train --resume run" in shown
    run = Run(tmp_path / "run")
    [event] = [e for e in run.events() if e["event"] == "preempted"]
    assert run.status() == "preempted"
    assert checkpoint.find(run.checkpoints, "last").step == event["step"] > 0
    assert retrograd("generate", "run", "--length", 5, cwd=tmp_path).returncode == 0
    done = retrograd("train", "--resume", "run", "--steps", event["step"] + 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Goes on from step {event['step']:,}." in done.stdout
    assert run.status() == "finished"


def test_a_second_signal_leaves_at_once_and_loses_nothing_that_was_saved(text, tmp_path):
    wide = ["--hidden", "256", "--window", "256", "--set", "training.batch=64", "--set", "measure.windows=4"]
    process = training(text, tmp_path, *wide, "--minutes", "5", "--set", "training.validate_every=10")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    run = Run(tmp_path / "run")
    assert run.status() == "killed"
    checkpoint.find(run.checkpoints, "last")


def test_a_signal_when_all_is_done_changes_nothing(text, tmp_path, monkeypatch):
    from retrograd.cli import main
    from retrograd.experiments import training as module

    finished = module._finished

    def late(*arguments):
        done = finished(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(module, "_finished", late)
    monkeypatch.setattr("retrograd.experiments.own_process.begin_own_process", lambda: None)
    arguments = ["--hidden", "16", "--window", "16", "--steps", "3", "--out", str(tmp_path / "run"), "--quiet"]
    monkeypatch.setattr("sys.argv", ["retrograd", "train", str(text), *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code, Run(tmp_path / "run").status()) == (0, "finished")


def test_a_terminal_that_closes_may_say_so_twice():
    pressed: list[int] = []
    with signals.noted(pressed):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert pressed[0] == signal.SIGHUP
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143


def test_a_second_process_is_refused_by_name_of_the_first(text, tmp_path):
    process = training(text, tmp_path, *SLOW)
    try:
        done = retrograd("train", "--resume", "run", cwd=tmp_path)
        assert done.returncode == 2
        assert f"is being written by process {process.pid} on the machine" in done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        process.kill()
        process.communicate()
    assert Run(tmp_path / "run").status() == "killed"


def test_five_runs_killed_at_random_moments_end_in_the_same_bits(tmp_path):
    import random

    text = tmp_path / "mat.txt"
    text.write_text(survival.TEXT)
    kills, draw = 0, random.Random(2)
    for i, kind in enumerate([*survival.KINDS, "language"]):
        asked, whole, run = survival.settings(kind, text), Run(tmp_path / f"whole{i}"), Run(tmp_path / f"run{i}")
        seconds = survival.never_killed(asked, whole.path)
        kills += survival.kill_and_resume(asked, run.path, seconds, draw)["kills"]
        assert (run.status(), whole.status()) == ("finished", "finished")
        assert survival.bits(run) == survival.bits(whole)
    assert kills >= 5


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte; skipped where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=750k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_leaves_all_that_was_saved(text, tmp_path, small_disk):
    options = ["--hidden", "48", "--window", "16", "--steps", "60", "--set", "training.validate_every=5"]
    full = retrograd("train", text, *options, "--out", small_disk / "run", cwd=tmp_path)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert "intact" in full.stderr
    assert full.stderr.count("\n") == 1
    run = Run(small_disk / "run")
    for name in checkpoint.pointed(run.checkpoints).newest_first:
        checkpoint.verify(run.checkpoints / name)
    assert checkpoint.find(run.checkpoints, "last").step > 0
    assert run.status() in ("killed", "failed")
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    resumed = retrograd("train", "--resume", run.path, "--quiet", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    whole = retrograd("train", text, *options, "--out", "whole", "--quiet", cwd=tmp_path)
    assert whole.returncode == 0
    assert survival.bits(run) == survival.bits(Run(tmp_path / "whole"))


def test_a_run_folder_that_cannot_be_written_is_one_sentence(text, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    tmp_path.chmod(0o500)
    done = retrograd("train", text, "--out", tmp_path / "run", cwd="/")
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
