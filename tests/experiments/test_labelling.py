"""Texts of one's own are labelled by name, each as if it had been read alone."""

import json
import math
from dataclasses import replace

import pytest

from retrograd import config
from retrograd.errors import DataError, RunError
from retrograd.experiments.archive.verification import verify
from retrograd.experiments.build import load
from retrograd.experiments.labelling import label, labels_of
from retrograd.experiments.training import train

ROWS = [f"{name}\t{word} it was {i}" for i in range(12) for name, word in (("sad", "bad"), ("glad", "good"))]


@pytest.fixture(scope="module")
def moods(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moods")
    (folder / "rows.tsv").write_text("\n".join(ROWS) + "\n")
    return config.make(
        {
            "task": "sentiment",
            "data": {"train": [str(folder / "rows.tsv")]},
            "model": {"hidden": 8, "embedding": 8},
            "training": {"steps": 60, "lr": 0.03},
        }
    )


@pytest.fixture(scope="module")
def run(moods, tmp_path_factory):
    return train(moods, out=tmp_path_factory.mktemp("runs") / "moods").run


def test_a_text_gets_the_label_that_its_words_decide_by_name(run):
    [[sad], [glad]] = label(run.path, ["bad it was 3", "Good, it was 99!"])
    assert (sad.label, glad.label) == ("sad", "glad")
    assert sad.text == "bad it was 3"
    assert min(sad.probability, glad.probability) > 0.5


def test_the_probability_is_the_models_own_at_the_last_word(run):
    from retrograd.experiments.build import tokenizers_of
    from retrograd.tasks.sentiment import encoded

    ids = encoded("good it was 4", tokenizers_of(run)[0])
    p = load(run.path)(ids[:, None])[0][-1, 0].softmax(0)
    [[it]] = label(run.path, ["good it was 4"])
    assert it.probability == pytest.approx(float(p.max().detach()))
    assert it.label == labels_of(run)[int(p.argmax())]


def test_each_word_of_a_tagged_sentence_gets_its_own(tmp_path):
    settings = {"task": {"name": "tagging", "examples": 80}, "model": {"hidden": 4, "bidirectional": True}}
    run = train(config.make(settings | {"training": {"steps": 2}}), out=tmp_path / "run").run
    [tags, one] = label(run.path, ["Teddy bears are on sale", "Teddy"])
    assert [it.text for it in tags] == ["Teddy", "bears", "are", "on", "sale"]
    assert len(one) == 1
    assert {it.label for it in tags} <= set(labels_of(run))


def counted(folder, rows):
    """A run of naive Bayes on rows that it is given for each split."""
    for name, some in rows.items():
        (folder / f"{name}.tsv").write_text("".join(f"{row}\n" for row in some))
    given = {name: str(folder / f"{name}.tsv") for name in rows}
    data = given | {"train": [given["train"]]}
    settings = config.make({"task": "sentiment", "data": data, "model": {"kind": "naive-bayes"}})
    return train(settings, out=folder / "bayes")


UNEVEN = (
    ["glad\tgood film"] * 6 + ["sad\tbad film , bad from its first to its last minute"] * 6 + ["glad\tit was good"] * 4
)


@pytest.mark.extra
@pytest.mark.parametrize("text", ["qux " * 5, "qux", "a b c d e f g h"])
def test_naive_bayes_gives_a_text_of_unknown_words_the_classes_own_shares(tmp_path, text):
    """Sad texts have far more words, so that a word that neither has would speak for glad."""
    run = counted(tmp_path, {"train": UNEVEN, "valid": UNEVEN, "test": UNEVEN}).run
    [[it]] = label(run.path, [text])
    assert it.label == "glad"
    assert it.probability == pytest.approx(10 / 16, rel=1e-12)


@pytest.mark.extra
def test_naive_bayes_asks_the_words_that_it_knows_alone_in_a_run_and_afterwards(tmp_path):
    test = ["sad\tqux bad qux qux", "glad\tgood qux", "sad\tqux qux"]
    result = counted(tmp_path, {"train": UNEVEN, "valid": UNEVEN, "test": test})
    alone = label(result.run.path, ["bad", "good", "qux"])
    assert label(result.run.path, ["qux bad qux", "good qux", "qux qux"]) == [
        [replace(one, text=text)] for [one], text in zip(alone, ["qux bad qux", "good qux", "qux qux"], strict=True)
    ]
    types = 14  # those twelve words, <unk> and <eos>
    words = {"glad": 6 * 2 + 4 * 3, "sad": 6 * 11}
    good = {"glad": 10 / 16 * 11 / (words["glad"] + types), "sad": 6 / 16 * 1 / (words["sad"] + types)}
    assert alone[1][0].probability == pytest.approx(good["glad"] / sum(good.values()), rel=1e-9)
    p = [alone[0][0].probability, alone[1][0].probability, 6 / 16]
    assert result.test.loss == pytest.approx(-sum(map(math.log, p)) / 3, rel=1e-9)


@pytest.mark.extra
def test_naive_bayes_labels_too_and_does_not_mind_the_order(moods, tmp_path):
    model = moods.model.model_copy(update={"kind": "naive-bayes", "hidden": 128, "embedding": None})
    training = moods.training.model_copy(update={"steps": None, "lr": 3e-3})
    run = train(moods.model_copy(update={"model": model, "training": training}), out=tmp_path / "bayes").run
    [[one], [other]] = label(run.path, ["bad it was 3", "3 was it bad"])
    assert one.label == other.label == "sad"
    assert one.probability == pytest.approx(other.probability)
    assert verify(run.path).whole


def test_what_cannot_be_labelled_is_refused(run, trained):
    with pytest.raises(RunError, match="has learned the task language; only sentiment and tagging give labels"):
        label(trained.run.path, ["good"])
    with pytest.raises(DataError, match="no word to be read"):
        label(run.path, ["good", "  "])


def test_labels_that_were_altered_are_refused(moods, tmp_path):
    run = train(moods, out=tmp_path / "run").run
    (run.path / "labels.json").write_text(json.dumps(["sad", "glad"]))
    with pytest.raises(RunError, match="checksum differs"):
        label(run.path, ["good"])
    assert not verify(run.path).whole
