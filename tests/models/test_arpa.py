"""The file read back by a plain reader of the format, which backs off as the format says."""

import math

import numpy as np
import pytest

from retrograd.errors import UsageError
from retrograd.models import NGram
from retrograd.models.arpa import lines
from tests.models.test_ngram import drawn, text

NAMES = ["<unk>", "\n", " ", "\u00e9", *(f"w{i}" for i in range(16))]


def tables(written):
    """By order {words: (log10 p, log10 backoff)}, and the counts of the head."""
    head, found, n = {}, {}, 0
    for line in written:
        if line.startswith("ngram "):
            order, count = line.removeprefix("ngram ").split("=")
            head[int(order)] = int(count)
        elif line.endswith("-grams:"):
            n = int(line[1 : line.index("-")])
        elif "\t" in line:
            p, words, *backoff = line.split("\t")
            found.setdefault(n, {})[tuple(words.split(" "))] = (float(p), float(backoff[0]) if backoff else 0.0)
    return head, found


def score(found, history, word):
    """log10 p(word | history)."""
    gram = (*history, word)
    if gram in found.get(len(gram), {}):
        return found[len(gram)][gram][0]
    return found[len(history)].get(tuple(history), (0, 0.0))[1] + score(found, history[1:], word)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_who_reads_the_file_finds_the_same_probabilities(order):
    ids = drawn(1500, 20)
    model = NGram.fit(*text(ids), order=order, vocabulary=20)
    head, found = tables(lines(model, NAMES))
    assert head == {n: len(grams) for n, grams in found.items()}
    words = ["<unk>", "\\u000a", "\\u0020", "\u00e9", *NAMES[4:]]
    other = drawn(200, 20, seed=3)
    history, truth = ["<s>"], []
    for word in other:
        kept = history[-(order - 1) :] if order > 1 else []
        truth.append(score(found, kept, words[word]) * math.log(10))
        history.append(words[word])
    assert model.log_probabilities(*text(other)) == pytest.approx(truth, abs=1e-6)


def test_the_marks_are_there_and_the_order_of_its_parts_is_the_formats():
    model = NGram.fit(*text(drawn(300, 20)), order=2, vocabulary=20)
    written = list(lines(model, NAMES))
    assert [line for line in written if line.startswith("\\") and "\t" not in line] == [
        "\\data\\",
        "\\1-grams:",
        "\\2-grams:",
        "\\end\\",
    ]
    _, found = tables(written)
    assert found[1][("<s>",)][0] == found[1][("</s>",)][0] == -99
    assert sum(10**p for p, _ in found[1].values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    "names", [["a", "a", "b"], ["a", "<s>", "b"], ["a", "</s>", "b"], [" ", "\\u0020", "b"], ["<unk>", "<UNK>", "b"]]
)
def test_two_types_of_one_name_are_refused(names):
    model = NGram.fit(np.array([0, 1, 2]), np.zeros(3, dtype=bool), order=2, vocabulary=3)
    with pytest.raises(UsageError, match="would stand twice"):
        list(lines(model, names))
