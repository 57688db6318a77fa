"""Signals before there is anything to save, and streams that are closed: met by a process of its own."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

from retrograd.cli import signals
from retrograd.runs import Run
from retrograd.training import checkpoint
from tests.cli.command import command, everything, retrograd

SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 129, "SIGHUP")]
SIGNALLED = """
import os, sys
class Arriving:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), NUMBER)
from retrograd.cli import main, signals
sys.meta_path.insert(0, Arriving())
main()
"""


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
@pytest.mark.parametrize("module", ["typer", "torch"])
def test_a_signal_while_it_starts_leaves_at_once(here, number, code, name, module):
    before = everything(here)
    script = SIGNALLED.replace("MODULE", repr(module)).replace("NUMBER", str(int(number)))
    arguments = [sys.executable, "-c", script, "train", "good.txt", "--out", "new"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"retrograd: Stopped by {name}.\n")
    assert everything(here) == before


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
def test_a_signal_while_the_text_is_read_leaves_at_once(here, number, code, name):
    os.mkfifo(here / "slow.txt")
    arguments = command(*shlex.split("train slow.txt --hidden 16 --out new"))
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with open(here / "slow.txt", "wb"):  # which waits until it is being read
        process.send_signal(number)
        shown, errors = process.communicate(timeout=120)
    assert (process.returncode, shown, errors) == (code, "", f"retrograd: Stopped by {name}.\n")
    assert not list(here.glob("*new*"))


def test_a_signal_that_is_ignored_as_nohup_has_it_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled(signals.leave):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("arguments", ["runs show run", "generate run", "runs --help"])
def test_a_pipe_that_is_closed_early_is_silence(here, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = retrograd(*shlex.split(arguments), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_training_whose_pipe_is_closed_ends_and_can_be_gone_on_with(here):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = shlex.split("train mat.txt --hidden 16 --window 16 --steps 5 --out new")
    done = retrograd(*arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
    assert Run(here / "new").status() == "preempted"
    assert checkpoint.find(here / "new" / "checkpoints", "last").step == 0


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_start_do_no_harm(here, closing):
    before = everything(here)
    for arguments, code in (("runs list .", 0), ("runs rm run", 2)):
        shell = ["sh", "-c", f"{shlex.join(command(*shlex.split(arguments)))} {closing}"]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert everything(here) == before


def test_a_full_disk_behind_stdout_is_one_sentence(here):
    with open("/dev/full", "w") as full:
        done = retrograd("runs", "show", "run", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "retrograd: The system refused a file operation: No space left on device.\n"
