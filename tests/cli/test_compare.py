"""retrograd compare: its table, its JSON, what it refuses, and what is left when it is stopped or killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from retrograd.experiments.comparing import pool
from retrograd.experiments.comparing.compare import PLACES, Place
from retrograd.runs import Run
from tests.cli.command import command, everything, one_sentence
from tests.cli.test_bad_input import in_process
from tests.experiments.comparing.test_comparing import here as one_after_the_other

SMALL = "--hidden 8 --window 16 --set model.embedding=4 --set training.batch=8 --set measure.every=0"
MODELS = "compare mat.txt --models ngram,rnn"

REFUSED = [
    ("no models", "compare mat.txt", "--models names what is compared"),
    ("models without a name", "compare mat.txt --models ,", "At least one model is needed"),
    ("an unknown model", "compare mat.txt --models rnn,lstn", "the nearest is 'lstm'"),
    ("no text", "compare --models rnn", "No text was given"),
    ("no such text", "compare none.txt --models rnn", "No text file is at"),
    ("no seed", f"{MODELS} --seeds 0", "At least one seed is needed, got --seeds 0"),
    ("both budgets", f"{MODELS} --steps 5 --minutes 1", "give one of minutes, steps and epochs"),
    ("a model that cannot do the task", "compare --task adding --models ngram,rnn", "cannot learn the task 'adding'"),
    ("a key that is a model's own", f"{MODELS} --set model.cell=gru", "models of a comparison differ in model.cell"),
    ("a key misspelt", f"{MODELS} --set model.hiden=3", "the nearest is model.hidden"),
    ("no section", f"{MODELS} --set model=3", "The config key model does not fit"),
    ("a task that is written", "compare --task translation --models bidirectional", "bidirectional reads from the end"),
    ("a start misspelt", "compare mat.txt --models rnn:ortogonal", "the nearest is 'orthogonal'"),
    ("no worker", f"{MODELS} --workers 0", "At least one worker is needed"),
    ("no such place", f"{MODELS} --on moon", "There are: cores, ray"),
    ("an --out that is a run", f"{MODELS} --out run", "already exists and is not empty"),
    ("a run to go on with", "compare --resume run", "is no comparison: it holds no comparison.toml"),
    ("nothing to go on with", "compare --resume none", "is no comparison"),
    ("other models to go on with", "compare --resume folder --models rnn", "leave all but --workers and --on out"),
    ("a text to go on with", "compare mat.txt --resume folder", "leave all but --workers and --on out"),
]


@pytest.mark.parametrize(("arguments", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_input_is_one_sentence_and_nothing_is_begun(here, capsys, monkeypatch, arguments, sentence):
    before = everything(here)
    assert in_process(arguments, monkeypatch) == 2
    shown, errors = capsys.readouterr()
    assert sentence in errors
    one_sentence(shown, errors)
    assert everything(here) == before


def test_ray_is_an_extra(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert in_process(f"{MODELS} --on ray", monkeypatch) == 2
    assert "pip install 'retrograd[ray]'" in capsys.readouterr().err


def test_the_table_the_json_and_the_page(here, capsys, monkeypatch):
    monkeypatch.setitem(PLACES, "cores", Place(one_after_the_other, lambda training: 1))
    monkeypatch.setattr("retrograd.reports.html.page", lambda report, run: "")  # a second for each run
    arguments = f"{MODELS} --seeds 1 --steps 5 {SMALL} --out it"
    assert in_process(f"{arguments} --json", monkeypatch) == 0
    shown, errors = capsys.readouterr()
    assert json.loads(shown) == json.loads((here / "it" / "comparison.json").read_text())
    assert "2 runs, in it" in errors
    assert "rnn-1  finished: test perplexity" in errors
    assert in_process(f"{arguments} --quiet", monkeypatch) == 0  # nothing is trained again
    shown, errors = capsys.readouterr()
    head, *rows = shown.splitlines()[:3]
    assert head.split()[:4] == ["model", "size", "test", "perplexity"]
    assert {row.split()[0] for row in rows} == {"ngram", "rnn"}
    assert "With one seed nothing can be told apart." in shown
    assert errors == ""
    assert (here / "it" / "comparison.html").is_file()
    assert in_process(arguments.replace("--steps 5", "--steps 6"), monkeypatch) == 2
    assert "holds another comparison: training.steps is 5 there and 6 here" in capsys.readouterr().err


def test_it_is_stopped_and_killed_and_every_run_is_saved_each_time(here, capsys, monkeypatch):
    """Ctrl-C; then the comparison is gone on with, and its process vanishes."""
    rnn, gru = (Run(here / "it" / name) for name in ("rnn-1", "gru-1"))
    arguments = f"compare mat.txt --models rnn,gru --seeds 1 --steps 100000 {SMALL} --out it --workers 2"
    with _sent(signal.SIGINT, once=lambda: all(_steps(run, "started") for run in (rnn, gru))):
        assert in_process(arguments, monkeypatch) == 130
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert "Stopping: what is on the way is saved." in shown
    assert "0 of 2 runs have finished. To go on: retrograd compare --resume it" in shown
    assert [rnn.status(), gru.status()] == ["preempted", "preempted"]
    before = _steps(rnn, "started")
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen(command("compare", "--resume", "it", "--workers", "1"), cwd=here, **pipes)
    _until(lambda: _steps(rnn, "resumed") > before)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=120)
    _until(lambda: rnn.status() == "preempted")
    assert [e["event"] for e in rnn.events()] == ["started", "preempted", "resumed", "preempted"]
    assert [e["event"] for e in gru.events()] == ["started", "preempted"]


def test_a_second_signal_leaves_at_once_and_takes_the_runs_with_it(here, monkeypatch):
    """Also one that does not heed that it was let go."""
    monkeypatch.setattr(pool, "MODULE", "tests.experiments.comparing.stubborn")
    number = here / "it" / "rnn-1.pid"
    with _sent(signal.SIGTERM, signal.SIGINT, once=number.exists):
        left = in_process(f"compare mat.txt --models rnn --seeds 1 --steps 5 {SMALL} --out it", monkeypatch)
    assert left in (130, 143)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


@contextmanager
def _sent(*signals, once):
    """This process gets these signals when that is so; one that comes too late is not heard."""
    before = {number: signal.signal(number, lambda *_: None) for number in signals}

    def send():
        try:
            _until(once)
        finally:
            for number in signals:
                os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        for number, was in before.items():
            signal.signal(number, was)


def _steps(run, event) -> int:
    """How many lines tell of steps that the run has taken, once there was such an event."""
    if not run.path.exists() or event not in [e["event"] for e in run.events()]:
        return 0
    return (run.path / "metrics.jsonl").read_bytes().count(b'"loss"')


def _until(met) -> None:
    deadline = time.monotonic() + 120
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)
