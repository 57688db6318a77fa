"""retrograd compare: its table, its JSON, what it refuses, and what is left when it is stopped or killed."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from retrograd.runs import Run
from tests.cli.command import command, everything, one_sentence, retrograd
from tests.cli.test_bad_input import in_process

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
    arguments = f"{MODELS} --seeds 1 --steps 5 {SMALL} --out it"
    done = retrograd(*shlex.split(arguments), "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads((here / "it" / "comparison.json").read_text())
    assert "2 runs, in it" in done.stderr
    assert "rnn-1  finished: test perplexity" in done.stderr
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


def test_it_is_stopped_and_killed_and_every_run_is_saved_each_time(here):
    """Ctrl-C; then the comparison is gone on with, and its process vanishes."""
    rnn, gru = (Run(here / "it" / name) for name in ("rnn-1", "gru-1"))
    arguments = f"compare mat.txt --models rnn,gru --seeds 1 --steps 100000 {SMALL} --out it --workers 2"
    stopped = _begun([rnn, gru], "started", *shlex.split(arguments), cwd=here)
    stopped.send_signal(signal.SIGINT)
    shown, errors = stopped.communicate(timeout=120)
    assert (stopped.returncode, errors) == (130, "")
    assert "Stopping: what is on the way is saved." in shown
    assert "0 of 2 runs have finished. To go on: retrograd compare --resume it" in shown
    assert [rnn.status(), gru.status()] == ["preempted", "preempted"]
    killed = _begun([rnn], "resumed", "compare", "--resume", "it", "--workers", "1", cwd=here)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=120)
    _until(lambda: rnn.status() == "preempted")
    assert [e["event"] for e in rnn.events()] == ["started", "preempted", "resumed", "preempted"]
    assert [e["event"] for e in gru.events()] == ["started", "preempted"]


def test_a_second_signal_leaves_at_once_and_takes_the_runs_with_it(here):
    runs = [Run(here / "it" / "rnn-1")]
    arguments = f"compare mat.txt --models rnn --seeds 1 --steps 100000 {SMALL} --out it"
    process = _begun(runs, "started", *shlex.split(arguments), cwd=here)
    process.send_signal(signal.SIGSTOP)  # so that both are there when it looks
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode in (130, 143)
    _until(lambda: runs[0].status() in ("killed", "preempted"))


def _begun(runs, event, *arguments, cwd) -> subprocess.Popen[str]:
    """The command, when each of the runs has taken steps after that event."""
    before = [len(run.path.joinpath("metrics.jsonl").read_bytes()) if run.path.exists() else 0 for run in runs]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(*arguments), cwd=cwd, **pipes)

    def all_on_their_way() -> bool:
        if not all(run.path.exists() and event in [e["event"] for e in run.events()] for run in runs):
            return False
        logs = [run.path.joinpath("metrics.jsonl").read_bytes() for run in runs]
        return all(b'"loss"' in log[size:] for log, size in zip(logs, before, strict=True))

    _until(all_on_their_way)
    return process


def _until(met) -> None:
    deadline = time.monotonic() + 120
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)
