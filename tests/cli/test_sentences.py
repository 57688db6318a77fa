"""retrograd translate and caption: what they print, what they read, and one sentence for what cannot be."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retrograd import config
from retrograd.cli.app import app
from retrograd.experiments.sentences import caption, translate
from retrograd.experiments.training import train
from retrograd.tasks.captioning import captioned, write
from tests.cli.command import one_sentence

TINY = {"model": {"hidden": 8, "embedding": 4}, "training": {"steps": 2, "batch": 8}, "measure": {"every": 0}}
TASKS = {name: {"name": name, "examples": 60, "held_out": 6} for name in ("translation", "captioning")}
TEXTS = ["3 May 1990", "one hundred six"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each task, and two pictures."""
    folder = tmp_path_factory.mktemp("sentences")
    for name, task in TASKS.items():
        train(config.make(TINY | {"task": task}), out=folder / name)
    write(folder / "set", captioned(config.make({"task": TASKS["captioning"]}))[2][:2])
    return folder


def retrograd(*arguments, **options):
    return CliRunner().invoke(app, list(map(str, arguments)), **options)


def test_each_text_gives_a_line(runs):
    done = retrograd("translate", runs / "translation", *TEXTS)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == translate(runs / "translation", TEXTS)


def test_without_a_text_the_lines_of_stdin_are_translated_in_their_places(runs):
    done = retrograd("translate", runs / "translation", input=f"{TEXTS[0]}\r\n\n{TEXTS[1]}\n")
    first, second = translate(runs / "translation", TEXTS)
    assert done.stdout == f"{first}\n\n{second}\n"


def test_json_names_run_source_and_translation(runs):
    done = retrograd("translate", runs / "translation", *TEXTS, "--beam", "3", "--json")
    told = json.loads(done.stdout)
    assert (told["run"], told["beam"]) == (str(runs / "translation"), 3)
    assert [each["source"] for each in told["sentences"]] == TEXTS
    assert [each["translation"] for each in told["sentences"]] == translate(runs / "translation", TEXTS, beam=3)


@pytest.mark.parametrize(
    ("task", "verb"), [("translation", 'translate out "a sentence"'), ("captioning", "caption out PIC")]
)
def test_a_training_ends_with_the_verb_that_its_model_is_for(tmp_path, monkeypatch, task, verb):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(config.dump(config.make(TINY | {"task": TASKS[task]})))
    done = retrograd("train", "--config", "tiny.toml", "--out", "out")
    assert f"retrograd {verb}" in done.output
    assert "retrograd generate" not in done.output


def test_one_picture_gives_its_caption_and_several_their_names_too(runs):
    pictures = sorted((runs / "set").glob("*.png"))
    said = caption(runs / "captioning", pictures)
    assert retrograd("caption", runs / "captioning", pictures[0]).stdout == f"{said[0]}\n"
    expected = "".join(f"{file}\t{text}\n" for file, text in zip(pictures, said, strict=True))
    assert retrograd("caption", runs / "captioning", *pictures).stdout == expected


def test_json_names_run_picture_and_caption(runs):
    picture = runs / "set" / "00001.png"
    told = json.loads(retrograd("caption", runs / "captioning", picture, "--beam", "2", "--json").stdout)
    [said] = caption(runs / "captioning", [picture], beam=2)
    pictures = [{"picture": str(picture), "caption": said}]
    assert told == {"run": str(runs / "captioning"), "beam": 2, "pictures": pictures}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("translate none a", "none"),
        ("translate captioning a", "trained on the task 'captioning'; expected a run of translation"),
        ("translate translation a --beam 0", "A beam is from 1 to 100 wide; got 0"),
        ("caption translation set/00001.png", "trained on the task 'translation'; expected a run of captioning"),
        ("caption captioning none.png", "No picture is at none.png"),
        ("caption captioning set", "set is a directory, no picture"),
        ("caption captioning set/captions.tsv", "set/captions.tsv is no picture that can be read"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_two(runs, monkeypatch, arguments, sentence):
    monkeypatch.chdir(runs)
    done = retrograd(*arguments.split())
    assert done.exit_code == 2
    assert sentence in done.stderr
    one_sentence(done.stdout, done.stderr)


def test_lines_that_are_not_utf8_are_refused_with_their_number(runs):
    done = retrograd("translate", runs / "translation", input=b"3 May 1990\ncaf\xe9\n")
    assert done.exit_code == 2
    assert "stdin, line 2: expected UTF-8 text" in done.stderr
    one_sentence(done.stdout, done.stderr)
