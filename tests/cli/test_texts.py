"""retrograd label and translate read the same way: their arguments, or else the lines of stdin, in UTF-8."""

import json
import os
import subprocess

import pytest
from typer.testing import CliRunner

from retrograd import config
from retrograd.cli.app import app
from retrograd.cli.texts import texts
from retrograd.errors import DataError
from retrograd.experiments.labelling import label
from retrograd.experiments.training import train
from tests.cli.command import command, one_sentence

TINY = {"model": {"hidden": 8, "embedding": 4}, "training": {"steps": 2, "batch": 8}, "measure": {"every": 0}}
RUNS = {
    "label": {"name": "sentiment", "examples": 80},
    "translate": {"name": "translation", "examples": 60, "held_out": 6},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for verb, task in RUNS.items():
        train(config.make(TINY | {"task": task}), out=folder / verb)
    return folder


def retrograd(verb, runs, *arguments, **options):
    return CliRunner().invoke(app, [verb, str(runs / verb), *arguments], **options)


@pytest.mark.parametrize("verb", RUNS)
@pytest.mark.parametrize("empty", ["", "\n", "  \r\n\n\t"])
def test_no_text_at_all_is_refused_in_one_sentence(runs, verb, empty):
    for done in (retrograd(verb, runs, input=empty), retrograd(verb, runs, empty, input="a text that is not asked")):
        assert done.exit_code == 2
        assert f"Expected a text to {verb}, on the command line or on stdin; got none." in done.stderr
        one_sentence(done.stdout, done.stderr)


@pytest.mark.parametrize("verb", RUNS)
def test_lines_that_are_not_utf8_are_refused_with_their_number(runs, verb):
    done = retrograd(verb, runs, input=b"good\n\xff\xfe\n")
    assert done.exit_code == 2
    assert "stdin, line 2: expected UTF-8 text; convert it." in done.stderr
    one_sentence(done.stdout, done.stderr)


def test_the_lines_of_stdin_are_labelled_and_blank_ones_left_out(runs):
    done = retrograd("label", runs, "--json", input="\ufeffgood film\r\n\n  it was caf\u00e9 \n".encode())
    found = json.loads(done.stdout)["texts"]
    assert [it["text"] for [it] in found] == ["good film", "it was caf\u00e9"]
    expected = label(runs / "label", ["good film", "it was caf\u00e9"])
    assert [it["label"] for [it] in found] == [it.label for [it] in expected]


def test_a_blank_argument_beside_others_is_refused(runs):
    done = retrograd("label", runs, "good", " ")
    assert done.exit_code == 2
    assert "There is no word to be read in ' '" in done.stderr


def test_stdin_is_utf8_whatever_the_locale(runs):
    """In a process of its own: the locale is read when Python starts."""
    ascii_only = os.environ | {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "latin-1",
    }
    asked = command("label", runs / "label", "--json")
    done = subprocess.run(asked, input="caf\u00e9\n".encode(), capture_output=True, env=ascii_only, check=True)
    assert json.loads(done.stdout.decode("latin-1"))["texts"][0][0]["text"] == "caf\u00e9"


def test_an_argument_that_is_not_utf8_is_refused_with_its_number():
    assert texts(["caf\u00e9", ""], verb="label") == ["caf\u00e9", ""]
    with pytest.raises(DataError, match="Text 2 of the command line: expected UTF-8 text"):
        texts(["caf\u00e9", os.fsdecode(b"caf\xe9")], verb="label")
