"""An n-gram model from the command line: train, ask, write as ARPA."""

import json
import pydoc_data.topics

import pytest

from tests.cli.command import one_sentence, retrograd


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "notes.txt").write_text("\n".join(list(pydoc_data.topics.topics.values())[:12]))
    done = retrograd("train", "notes.txt", "--model", "ngram", "--set", "model.order=3", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "perplexity" in done.stdout
    assert "retrograd diagnose" not in done.stdout
    return folder


def test_what_can_be_asked_of_it(desk):
    told = json.loads(retrograd("evaluate", "run", "notes.txt", "--json", cwd=desk).stdout)["figures"]
    assert 0 < told["bits per character"] < 8
    assert len(retrograd("generate", "run", "--prompt", "The ", "--length", "20", cwd=desk).stdout) >= 20
    shown = retrograd("runs", "show", "run", cwd=desk).stdout
    assert "3-gram, interpolated modified Kneser-Ney" in shown
    assert "adamw" not in shown
    assert "3-gram" in retrograd("runs", "list", ".", cwd=desk).stdout


def test_it_is_written_as_arpa_and_nothing_is_written_over(desk):
    done = retrograd("runs", "arpa", "run", "run.arpa", cwd=desk)
    assert done.stdout.strip() == "Wrote run.arpa."
    assert (desk / "run.arpa").read_text().startswith("\\data\\\nngram 1=")
    again = retrograd("runs", "arpa", "run", "run.arpa", cwd=desk)
    assert again.returncode == 2
    one_sentence(again.stdout, again.stderr)
    assert "--force" in again.stderr
    assert retrograd("runs", "arpa", "run", "run.arpa", "--force", cwd=desk).returncode == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--model", "ngram", "--lr", "0.1"), "training.lr has no effect"),
        (("--model", "ngram", "--cell", "gru"), "model.cell has no effect"),
        (("--model", "ngram", "--set", "model.order=9"), "model.order"),
        (("--model", "ngrams"), "the nearest is 'ngram'"),
        (("--model", "ngram", "--tensorboard"), "--tensorboard"),
    ],
)
def test_flags_that_do_not_fit_are_one_sentence(desk, flags, says):
    done = retrograd("train", "notes.txt", "--out", "bad", *flags, cwd=desk)
    assert done.returncode == 2
    one_sentence(done.stdout, done.stderr)
    assert says in done.stderr
    assert not (desk / "bad").exists()


def test_a_run_that_counts_has_nothing_to_go_on_with(desk):
    for command in (("train", "--resume", "run"), ("diagnose", "run")):
        done = retrograd(*command, cwd=desk)
        assert done.returncode == 2
        one_sentence(done.stdout, done.stderr)
        assert "3-gram model, which counts" in done.stderr
