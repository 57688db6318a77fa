"""Bad input, one table: one clear sentence on stderr, the right exit code, no traceback, nothing lost, nothing left."""

import io
import shlex
import sys

import pytest

from retrograd.cli import main
from retrograd.runs import Run
from tests.cli.bad_inputs import MODEL, RESUME, TABLE
from tests.cli.command import everything, one_sentence, retrograd
from tests.cli.damage import cut, line


def in_process(arguments: str, monkeypatch) -> object:
    """The command in this process, asked by nobody: what it leaves with."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    monkeypatch.setattr(sys, "argv", ["retrograd", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]}-{row[2].split()[0]}" for row in TABLE])
def test_bad_input_is_one_sentence_and_an_exit_code(here, capsys, monkeypatch, row):
    _, damage, arguments, code, sentence = row
    if damage:
        damage(here)
    before = everything(here)
    left = in_process(arguments, monkeypatch)
    shown, errors = capsys.readouterr()
    assert sentence in errors
    assert left == code
    one_sentence(shown, errors)
    assert everything(here) == before


REAL = ["no text", "a pickle that runs code", "show nothing", "checkpoint.json cut"]


@pytest.mark.parametrize("row", [row for row in TABLE if row[0] in REAL], ids=lambda row: row[0])
def test_a_process_of_its_own_says_the_same(here, row):
    _, damage, arguments, code, sentence = row
    if damage:
        damage(here)
    before = everything(here)
    done = retrograd(*shlex.split(arguments))
    assert sentence in done.stderr
    assert done.returncode == code
    one_sentence(done.stdout, done.stderr)
    assert everything(here) == before


@pytest.mark.parametrize("arguments", [RESUME, "runs rm run stopped --yes"])
def test_a_run_that_another_process_writes_is_left_alone(here, capsys, monkeypatch, arguments):
    before = everything(here)
    with Run(here / "stopped").writing():
        assert in_process(arguments, monkeypatch) == 2
    shown, errors = capsys.readouterr()
    assert "stopped is being written" in errors
    one_sentence(shown, errors)
    assert everything(here) == before


def test_verify_finds_all_that_is_damaged_and_changes_nothing(here, capsys, monkeypatch):
    for damage in (cut(MODEL), cut("*/tokenizer.json"), cut("*/report.json"), line("events.jsonl", 1, "[]")):
        damage(here)
    before = everything(here)
    assert in_process("runs verify run", monkeypatch) == 1
    shown, errors = capsys.readouterr()
    assert not errors
    for name in ("checkpoints/step-000030", "tokenizer.json", "report.json", "events.jsonl"):
        assert any(said.split()[0] == name and not said.endswith("ok") for said in shown.splitlines()[1:])
    assert everything(here) == before


def test_characters_that_the_model_never_saw_can_be_asked_for(here, capsys, monkeypatch):
    assert in_process("generate run --prompt 'the \u20ac' --length 5", monkeypatch) == 0
    assert capsys.readouterr().out.startswith("the \ufffd")
