"""What is written from a source: as tokens, and back as sentences, at every level."""

import math

import pytest
import torch

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks import written
from retrograd.tasks.collected import Example

LEVELS = ["word", "char", "byte", pytest.param("bpe", marks=pytest.mark.extra)]
TEXTS = ["J'ai vu 12 chats, n'est-ce pas ?", "Tom said (softly): no.", "Le chat a 30 ans !"]


def data(level="word", **keys):
    return config.make({"data": {"level": level, "vocabulary": 300} | keys}).data


@pytest.mark.parametrize("level", LEVELS)
def test_a_sentence_comes_back_as_it_is_written(level):
    tokenizer = written.fit(TEXTS, data(level))
    for text in TEXTS:
        ids = written.ids(text, tokenizer)
        assert ids[-1] == tokenizer.first
        assert tokenizer.first not in ids[:-1]
        assert written.text_of(ids[:-1], tokenizer) == text


@pytest.mark.parametrize("level", LEVELS)
def test_a_line_end_within_a_text_does_not_end_the_sentence(level):
    tokenizer = written.fit(TEXTS, data(level))
    ids = written.ids("Le\nchat \t\n a", tokenizer)
    assert ids.count(tokenizer.first) == 1
    assert written.text_of(ids[:-1], tokenizer) == "Le chat a"


def test_the_input_is_the_target_one_step_before():
    tokenizer = written.fit(TEXTS, data())
    e = written.example(torch.tensor([7]), TEXTS[0], tokenizer)
    assert e.inputs.tolist() == [tokenizer.first, *e.targets.tolist()[:-1]]
    assert int(e.targets[-1]) == tokenizer.first


def test_the_guess_is_the_entropy_of_the_targets():
    examples = [Example(torch.tensor([0]), torch.tensor(t)) for t in ([1, 2, 1], [1])]
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert written.guess(examples) == pytest.approx(expected, abs=1e-12)


class TestCut:
    def test_the_last_are_tested_and_those_before_them_validated(self):
        train, valid, test = written.cut(range(10), data(), 3)
        assert (train, valid, test) == ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9])

    def test_one_in_twenty_where_nothing_is_said(self):
        assert [len(part) for part in written.cut(range(200), data(), None)] == [180, 10, 10]

    def test_a_split_with_a_file_of_its_own_takes_nothing(self):
        assert written.cut(range(10), data(test="t.tsv"), 3) == ([*range(7)], [7, 8, 9], [])
        assert written.cut(range(10), data(valid="v.tsv", test="t.tsv"), 3) == ([*range(10)], [], [])

    def test_nothing_left_to_train_on_is_refused(self):
        with pytest.raises(DataError, match="There are 6 examples, too few to hold out 3"):
            written.cut(range(6), data(), 3)
