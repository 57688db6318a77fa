"""Naive Bayes against a table worked by hand, and a plain sum of logarithms over dicts."""

import math
import sys
from collections import Counter

import numpy as np
import pytest

from retrograd.errors import DataError, MissingExtra, RunError, ShapeError
from retrograd.models.naive_bayes import NaiveBayes

pytestmark = pytest.mark.extra

GOOD, BAD, FILM, PLOT = range(4)


def by_hand():
    """Class 0: "good good film", "good plot". Class 1: "bad film". Smoothed by one over four types.

    Class 0 has 5 words: good 3+1, bad 0+1, film 1+1, plot 1+1 over 9. Class 1 has 2: 0+1, 1+1, 1+1, 0+1 over 6.
    """
    texts = [[GOOD, GOOD, FILM], [GOOD, PLOT], [BAD, FILM]]
    return NaiveBayes.fit(texts, [0, 0, 1], vocabulary=4, classes=2)


def drawn(n, vocabulary, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n).tolist()
    texts = [((rng.zipf(1.5, size=rng.integers(0, 9)) + 2 * c) % vocabulary).tolist() for c in labels]
    return texts, labels


def test_a_table_worked_by_hand():
    model = by_hand()
    assert np.exp(model.log_prior) == pytest.approx([2 / 3, 1 / 3], rel=1e-12)
    assert np.exp(model.log_likelihood[0]) == pytest.approx([4 / 9, 1 / 9, 2 / 9, 2 / 9], rel=1e-12)
    assert np.exp(model.log_likelihood[1]) == pytest.approx([1 / 6, 2 / 6, 2 / 6, 1 / 6], rel=1e-12)
    one, other = 2 / 3 * 4 / 9 * 2 / 9, 1 / 3 * 1 / 6 * 2 / 6  # "good film"
    assert np.exp(model.log_probabilities([[GOOD, FILM]])[0]) == pytest.approx(
        [one / (one + other), other / (one + other)], rel=1e-12
    )


@pytest.mark.parametrize("smoothing", [1.0, 0.1, 2.5])
def test_it_is_the_plain_sum_of_logarithms(smoothing):
    texts, labels = drawn(300, 20, 3)
    model = NaiveBayes.fit(texts, labels, vocabulary=20, classes=3, smoothing=smoothing)
    counts = [Counter(w for text, c in zip(texts, labels, strict=True) if c == k for w in text) for k in range(3)]
    asked, _ = drawn(40, 20, 3, seed=1)
    for text, found in zip(asked, model.log_probabilities(asked), strict=True):
        scores = [
            math.log(labels.count(k) / 300)
            + sum(math.log((counts[k][w] + smoothing) / (counts[k].total() + 20 * smoothing)) for w in text)
            for k in range(3)
        ]
        total = math.log(sum(map(math.exp, scores)))
        assert found == pytest.approx([score - total for score in scores], rel=1e-10, abs=1e-10)


def test_the_order_of_the_words_does_not_matter():
    model = by_hand()
    one, other = model.log_probabilities([[GOOD, BAD, FILM, PLOT, BAD], [BAD, PLOT, BAD, FILM, GOOD]])
    assert one == pytest.approx(other, rel=1e-12)


def test_a_word_that_a_class_never_had_is_unlikely_and_not_impossible():
    p = np.exp(by_hand().log_probabilities([[BAD] * 5, [GOOD] * 5]))
    assert p[0, 1] > 0.98
    assert p[1, 0] > 0.98
    assert p.min() > 0


def test_a_text_without_words_has_the_classes_own_shares():
    model = by_hand()
    p = np.exp(model.log_probabilities([[], [GOOD], []]))
    assert p[0] == pytest.approx([2 / 3, 1 / 3], rel=1e-12)
    assert p[2] == pytest.approx([2 / 3, 1 / 3], rel=1e-12)


def test_a_class_without_a_text_is_never_the_answer():
    model = NaiveBayes.fit([[0], [1]], [0, 2], vocabulary=2, classes=3)
    p = np.exp(model.log_probabilities([[0], [1], []]))
    assert p[:, 1] == pytest.approx([0, 0, 0])
    assert p.sum(1) == pytest.approx([1, 1, 1], rel=1e-12)


def test_what_was_stored_is_the_same_model_and_needs_no_other_package(monkeypatch):
    model, (texts, _) = by_hand(), drawn(20, 4, 2)
    monkeypatch.setitem(sys.modules, "sklearn.naive_bayes", None)
    again = NaiveBayes.restore(model.state())
    assert again.log_probabilities(texts).tolist() == model.log_probabilities(texts).tolist()
    assert (again.vocabulary, again.classes, again.size) == (4, 2, 2 * 8 + 8 * 8)


@pytest.mark.parametrize(
    "spoil",
    [{"log_prior": None}, {"log_likelihood": None}, {"log_prior": np.zeros(3)}, {"log_likelihood": np.zeros(2)}],
)
def test_tables_of_something_else_are_refused(spoil):
    tables = by_hand().state() | spoil
    with pytest.raises(RunError, match="no naive Bayes model's"):
        NaiveBayes.restore({name: table for name, table in tables.items() if table is not None})


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(DataError, match="no text"):
        NaiveBayes.fit([], [], vocabulary=2, classes=2)
    with pytest.raises(ShapeError, match="2 texts and 1 labels"):
        NaiveBayes.fit([[0], [1]], [0], vocabulary=2, classes=2)
    with pytest.raises(ShapeError, match="labels must be from 0 to 1; got 2"):
        NaiveBayes.fit([[0], [1]], [0, 2], vocabulary=2, classes=2)
    with pytest.raises(ShapeError, match="token ids must be from 0 to 1; got 5"):
        NaiveBayes.fit([[0], [5]], [0, 1], vocabulary=2, classes=2)
    with pytest.raises(ShapeError, match="token ids must be from 0 to 3; got -1"):
        by_hand().log_probabilities([[0, -1]])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.naive_bayes", None)
    with pytest.raises(MissingExtra, match=r"retrograd\[sklearn\]"):
        by_hand()
