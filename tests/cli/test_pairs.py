"""retrograd evaluate RUN --pairs FILE: which of two ways to go on a model takes."""

import json

import pytest
from typer.testing import CliRunner

from retrograd import config
from retrograd.cli.app import app
from retrograd.experiments.training import train


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Two-grams of a text in which `is` follows `writer` and `are` follows `books`."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "text.txt").write_text("the writer is here\nthe books are here\n" * 60)
    values = {"data": {"train": [str(folder / "text.txt")], "level": "word"}, "model": {"kind": "ngram", "order": 2}}
    return train(config.make(values | {"training": {"window": 8}}), out=folder / "run").run.path


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_share_of_pairs_whose_better_one_is_likelier(counts, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("the writer is here\tthe writer are here\nthe books is here\tthe books are here\n")
    told = json.loads(evaluate(counts, "--pairs", pairs, "--json").stdout)
    assert told["figures"]["pair accuracy"] == 0.5
    assert told["figures"]["pairs judged"] == 2
    pairs.write_text("the writer\tis\tare\nthe books\tare\tis\n")
    shown = evaluate(counts, "--pairs", pairs).stdout
    assert "pair accuracy" in shown
    assert json.loads(evaluate(counts, "--pairs", pairs, "--json").stdout)["figures"]["pair accuracy"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give text files, or --pairs"),
        (["notes.txt", "--pairs", "pairs.tsv"], "Give text files, or --pairs"),
        (["notes.txt", "--carry"], "--carry is for minimal pairs"),
        (["--pairs", "nowhere.tsv"], "nowhere.tsv"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(counts, arguments, says):
    done = evaluate(counts, *arguments)
    assert done.exit_code in (1, 2)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_without_a_known_word_is_refused_with_its_name(counts, tmp_path):
    (tmp_path / "pairs.tsv").write_text("le livre\test\tsont\n")
    done = evaluate(counts, "--pairs", tmp_path / "pairs.tsv")
    assert done.exit_code in (1, 2)
    assert "pairs.tsv" in done.stderr
