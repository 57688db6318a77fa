"""One label for a text, at its end: rows of one's own, or reviews that no count of words can tell apart."""

import math
from collections import Counter

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks import make_task
from retrograd.tasks.collected import Collected
from retrograd.tasks.sentiment import LABELS, encoded, sentiment, spread, words
from retrograd.tasks.tables import Row
from retrograd.tasks.window import IGNORED


@pytest.fixture(scope="module")
def generated():
    return sentiment(config.make({"task": {"name": "sentiment", "examples": 2000}}))


@pytest.fixture
def read(tmp_path):
    def made(*texts, tokenizer=None):
        names = ("train", "valid", "test")
        for name, text in zip(names, texts, strict=False):
            (tmp_path / f"{name}.tsv").write_text(text)
        given = {name: str(tmp_path / f"{name}.tsv") for name in names[: len(texts)]}
        given["train"] = [given["train"]]
        return sentiment(config.make({"task": "sentiment", "data": given}), tokenizer)

    return made


def table(n, labels=("good", "bad")):
    return "".join(f"{labels[i % len(labels)]}\tthis is text {i}\n" for i in range(n))


def bag(example):
    return tuple(sorted(example.inputs.tolist()))


def test_the_label_is_asked_at_the_last_token_and_nowhere_else(generated):
    for example in (*generated.train[:50], *generated.valid[:50], *generated.test[:50]):
        assert (example.targets[:-1] == IGNORED).all()
        assert int(example.targets[-1]) in (0, 1)
        assert int(example.inputs[-1]) == generated.tokenizer.first
        assert len(example.inputs) == len(example.targets)


def test_a_new_sentence_is_read_as_those_that_were_trained_on(generated):
    example = generated.train[0]
    text = generated.tokenizer.decode(example.inputs.tolist()).strip()
    assert torch.equal(encoded(text, generated.tokenizer), example.inputs)
    assert torch.equal(
        encoded("It was GOOD, not boring.", generated.tokenizer),
        encoded("it was good , not boring .", generated.tokenizer),
    )
    assert generated.tokenizer.unknown not in encoded("It was good, not boring.", generated.tokenizer)
    assert generated.labels == LABELS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great movie!", "great movie !"),
        ("I didn't  like it...", "i didn't like it . . ."),
        ("15 minutes (boring)", "15 minutes ( boring )"),
        ("Ça alors: déjà-vu", "ça alors : déjà - vu"),
        ("already spaced .", "already spaced ."),
    ],
)
def test_marks_stand_apart_from_words_and_capitals_do_not_count(text, expected):
    assert words(text) == expected


def test_no_text_that_is_tested_or_validated_is_trained_on(generated):
    texts = [{tuple(e.inputs.tolist()) for e in part} for part in (generated.train, generated.valid, generated.test)]
    assert [len(part) for part in texts] == [2000, 1000, 2000]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_a_count_of_words_is_right_about_one_of_two_where_order_decides(generated):
    """Whatever answers from the bag gives both of a pair the same answer; and a pair lies in one split."""
    ordered = generated.groups["order decides"]
    for one, other in zip(ordered[::2], ordered[1::2], strict=True):
        assert bag(one) == bag(other)
        assert {int(one.targets[-1]), int(other.targets[-1])} == {0, 1}
    for part in (generated.train, generated.valid, generated.test):
        labels = {}
        for example in part:
            labels.setdefault(bag(example), Counter())[int(example.targets[-1])] += 1
        assert sum(min(count[0], count[1]) for count in labels.values()) >= len(part) // 4


def test_groups_tell_the_test_set_apart_by_what_decides(generated):
    groups = generated.groups
    assert list(groups) == ["plain", "contrast", "negation", "contrast and negation", "order decides"]
    assert sum(len(groups[kind]) for kind in list(groups)[:4]) == len(generated.test)
    assert len(groups["plain"]) == len(groups["order decides"]) == 1000


@pytest.mark.extra
def test_naive_bayes_is_at_chance_where_order_decides_and_right_where_words_do(generated):
    from retrograd.models.naive_bayes import NaiveBayes

    def texts(examples):
        return [example.inputs.tolist() for example in examples]

    labels = [int(example.targets[-1]) for example in generated.train]
    model = NaiveBayes.fit(texts(generated.train), labels, vocabulary=generated.sizes.inputs, classes=2)

    def accuracy(examples):
        answers = model.log_probabilities(texts(examples)).argmax(1).tolist()
        return sum(a == int(e.targets[-1]) for a, e in zip(answers, examples, strict=True)) / len(examples)

    assert accuracy(generated.groups["plain"]) > 0.97
    assert 0.45 < accuracy(generated.groups["order decides"]) < 0.55


def test_the_need_is_the_way_from_the_end_to_the_first_word_that_differs(generated):
    pairs = zip(generated.groups["order decides"][::2], generated.groups["order decides"][1::2], strict=True)
    ways = []
    for one, other in pairs:
        first = next(t for t in range(len(one.inputs)) if one.inputs[t] != other.inputs[t])
        ways.append(len(one.inputs) - 1 - first)
    assert generated.need == max(ways) > 20
    assert generated.guess == pytest.approx(math.log(2))


def test_the_test_set_is_the_same_whatever_the_number_of_examples():
    """In words: a vocabulary is that of the examples."""
    few, more = (make_task(config.make({"task": {"name": "sentiment", "examples": n}})).collection for n in (400, 800))
    assert len(few.train) == 400
    for name in ("test", "valid"):
        one, other = (
            [c.tokenizer.decode(example.inputs.tolist()) for example in getattr(c, name)] for c in (few, more)
        )
        assert sum(a != b for a, b in zip(one, other, strict=True)) < 20  # a rare word may be unknown to the few


def test_rows_of_ones_own_are_split_with_about_the_same_share_of_each_label_though_sorted(read):
    text = table(60, ["good"]) + table(30, ["bad"]) + table(10, ["odd"])
    found = read(text)
    assert found.labels == ("bad", "good", "odd")
    assert [len(part) for part in (found.train, found.valid, found.test)] == [90, 5, 5]
    train = Counter(int(example.targets[-1]) for example in found.train)
    assert [train[i] for i in range(3)] == [27, 54, 9]
    assert found.guess == pytest.approx(-sum(p * math.log(p) for p in (0.3, 0.6, 0.1)))
    assert found.groups is None
    assert found.need is None


def test_every_label_is_trained_on_however_few_rows_bear_it():
    rows = [Row(i, label, "text") for i, label in enumerate("aaaaaaaabbccdd")]
    spread_out = spread(rows)
    assert sorted(row.line for row in spread_out) == list(range(14))
    assert {row.left for row in spread_out[:12]} == set("abcd")


def test_files_for_validation_and_test_are_taken_whole(read):
    found = read(table(30), table(4), table(7))
    assert [len(part) for part in (found.train, found.valid, found.test)] == [30, 4, 7]
    assert Collected(config.make({"task": "sentiment"}), found).test_tokens == 7


def test_a_tokenizer_that_was_fitted_before_is_used_as_it_is(read):
    kept = read(table(30)).tokenizer
    again = read("good\tnew words here\n" * 20 + "bad\tthis is text\n" * 20, tokenizer=kept)
    assert again.tokenizer is kept
    assert again.sizes.inputs == kept.size
    assert again.train[0].inputs.tolist() == [kept.unknown] * 3 + [kept.first]
    settings = config.make({"task": {"name": "sentiment", "examples": 400}})
    assert make_task(settings, (kept, None)).sizes.inputs == kept.size


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((table(20) + "odd\ta text\n",), "train.tsv, line 21: .*'odd' stands here alone"),
        ((table(20, ["good"]),), "expected two labels at least; all 20 rows bear 'good'"),
        ((table(20), "odd\ta text\n"), "valid.tsv, line 1: no row to train on bears the label 'odd'; got bad, good"),
        ((table(20) + "good text\n",), "line 21: expected a label and a text with a tab"),
        ((table(8),), "There are 8 examples"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(read, texts, message):
    with pytest.raises(DataError, match=message) as error:
        read(*texts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"task": {"name": "sentiment", "length": 9}}, ConfigError, "leave task.length out"),
        ({"task": {"name": "sentiment", "examples": 10}}, ConfigError, "must be a multiple of 4, got 10"),
        ({"task": "sentiment", "data": {"test": "x.tsv"}}, UsageError, "none to train on"),
        ({"task": {"name": "sentiment", "examples": 8}, "data": {"train": ["x"]}}, UsageError, "leave it out, or the"),
    ],
)
def test_keys_that_do_not_fit_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        make_task(config.make(settings))
