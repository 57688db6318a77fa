"""A tag for every word: rows of one's own, or sentences in which some words are decided by one side alone."""

from collections import Counter

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks import make_task
from retrograd.tasks.namesakes import TAGS
from retrograd.tasks.tagging import encoded, tagging
from retrograd.tasks.window import IGNORED


@pytest.fixture(scope="module")
def generated():
    return tagging(config.make({"task": {"name": "tagging", "examples": 1600}}))


@pytest.fixture
def read(tmp_path):
    def made(*texts, tokenizer=None):
        names = ("train", "valid", "test")
        for name, text in zip(names, texts, strict=False):
            (tmp_path / f"{name}.tsv").write_text(text)
        given = {name: str(tmp_path / f"{name}.tsv") for name in names[: len(texts)]}
        given["train"] = [given["train"]]
        return tagging(config.make({"task": "tagging", "data": given}), tokenizer)

    return made


ROWS = "the dog barks\tDET NOUN VERB\nDogs bark\tNOUN VERB\n" * 10


def asked(example):
    return (example.targets != IGNORED).nonzero().flatten().tolist()


def test_every_word_is_asked(generated):
    for example in (*generated.train, *generated.valid, *generated.test):
        assert example.inputs.shape == example.targets.shape
        assert 0 <= int(example.targets.min()) <= int(example.targets.max()) < len(TAGS)
    assert generated.labels == TAGS
    assert generated.sizes.outputs == 4


def test_no_sentence_that_is_tested_or_validated_is_trained_on(generated):
    parts = [{tuple(e.inputs.tolist()) for e in part} for part in (generated.train, generated.valid, generated.test)]
    assert [len(part) for part in parts] == [1600, 800, 1600]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_whatever_reads_from_the_left_is_right_about_one_of_two_that_the_right_decides(generated):
    examples = generated.groups["right"]
    assert len(examples) == 800
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        (place,) = asked(one)
        assert asked(other) == [place]
        assert torch.equal(one.inputs[: place + 1], other.inputs[: place + 1])
        assert one.targets[place] != other.targets[place]


def test_whatever_reads_from_the_right_is_right_about_one_of_two_that_the_left_decides(generated):
    examples = generated.groups["left"]
    assert len(examples) == 400
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        (place,), (there,) = asked(one), asked(other)
        assert torch.equal(one.inputs[place:], other.inputs[there:])
        assert one.targets[place] != other.targets[there]


def test_the_words_that_need_no_context_are_all_the_others(generated):
    counts = Counter(context for context, examples in generated.groups.items() for e in examples for _ in asked(e))
    assert counts["right"] == 800
    assert counts["left"] == 400
    assert counts.total() == sum(len(example.targets) for example in generated.test)
    tags = {}
    for example in generated.groups["none"]:
        for place in asked(example):
            tags.setdefault(int(example.inputs[place]), set()).add(int(example.targets[place]))
    assert all(len(some) == 1 for some in tags.values())


@pytest.mark.parametrize("length", [1, 4, 20])
def test_the_need_grows_with_the_words_between(length):
    need = tagging(config.make({"task": {"name": "tagging", "examples": 8, "length": length}})).need
    assert length <= need <= length + 4


def test_a_new_sentence_is_read_as_those_that_were_trained_on(generated):
    text = generated.tokenizer.decode(generated.train[0].inputs.tolist())
    assert torch.equal(encoded(text, generated.tokenizer), generated.train[0].inputs)
    ids = encoded("  Teddy   bears are on sale .", generated.tokenizer)
    assert len(ids) == 6
    assert generated.tokenizer.unknown not in ids


def test_rows_of_ones_own_are_words_and_as_many_tags(read):
    found = read(ROWS)
    assert found.labels == ("DET", "NOUN", "VERB")
    assert [len(part) for part in (found.train, found.valid, found.test)] == [18, 1, 1]
    assert found.train[0].targets.tolist() == [0, 1, 2]
    assert found.train[1].targets.tolist() == [1, 2]
    assert found.train[1].inputs.tolist() != found.train[0].inputs.tolist()[1:], "capitals count"
    assert found.tokenizer.decode(found.train[0].inputs.tolist()) == "the dog barks"
    assert found.groups is None
    assert found.need is None


def test_a_tokenizer_that_was_fitted_before_is_used_as_it_is(read, generated):
    assert read(ROWS, tokenizer=generated.tokenizer).sizes.inputs == generated.tokenizer.size
    settings = config.make({"task": {"name": "tagging", "examples": 8}})
    assert make_task(settings, (generated.tokenizer, None)).sizes.inputs == generated.tokenizer.size


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((ROWS + "one two\tA B C\n",), "train.tsv, line 21: expected one tag for each word; got 2 words and 3 tags"),
        ((ROWS, "one two\tNOUN VERB\nthree\tA\n"), "valid.tsv, line 2: no word to train on bears the tag 'A'; got DET"),
        (("one two\tA A\n" * 12,), "expected two tags at least; all words bear 'A'"),
        ((ROWS + "one two\n",), "line 21: expected words and their tags with a tab"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(read, texts, message):
    with pytest.raises(DataError, match=message) as error:
        read(*texts)
    assert "\n" not in str(error.value)


def test_keys_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="multiple of it, got 12"):
        make_task(config.make({"task": {"name": "tagging", "examples": 12}}))
    (tmp_path / "own.tsv").write_text(ROWS)
    data = {"train": [str(tmp_path / "own.tsv")]}
    with pytest.raises(UsageError, match=r"task.length is for the sentences that tagging makes itself"):
        make_task(config.make({"task": {"name": "tagging", "length": 9}, "data": data}))
    with pytest.raises(UsageError, match=r"task.examples is for a set that is generated"):
        make_task(config.make({"task": {"name": "tagging", "examples": 8}, "data": data}))
