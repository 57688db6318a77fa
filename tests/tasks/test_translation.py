"""Pairs of sentences: from a file, or dates and numbers written out."""

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks import make_task, numerals, written
from retrograd.tasks.tokenizers import dump, load
from retrograd.tasks.translation import pairs, source_ids


def settings(tmp_path=None, lines=None, *, task=None, **data):
    if lines is not None:
        (tmp_path / "pairs.tsv").write_text("".join(f"{line}\n" for line in lines))
        data["train"] = [str(tmp_path / "pairs.tsv")]
    return config.make({"task": {"name": "translation"} | (task or {}), "data": data})


def numbered(n):
    return [f"word {i}\tmot {i} !" for i in range(n)]


class TestNumerals:
    @pytest.mark.parametrize(
        ("n", "words"),
        [
            (1, "one"),
            (14, "fourteen"),
            (40, "forty"),
            (99, "ninety nine"),
            (100, "one hundred"),
            (342_106, "three hundred forty two thousand one hundred six"),
            (1_000, "one thousand"),
            (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
        ],
    )
    def test_numbers_in_words(self, n, words):
        assert numerals.in_words(n) == words

    @pytest.mark.parametrize(
        ("n", "words"),
        [
            (1, "first"),
            (2, "second"),
            (9, "ninth"),
            (12, "twelfth"),
            (15, "fifteenth"),
            (20, "twentieth"),
            (28, "twenty eighth"),
        ],
    )
    def test_ordinals(self, n, words):
        assert numerals.ordinal(n) == words

    @pytest.mark.parametrize(
        ("n", "words"),
        [
            (1952, "nineteen fifty two"),
            (1905, "nineteen oh five"),
            (1900, "nineteen hundred"),
            (2000, "two thousand"),
            (2008, "two thousand eight"),
            (2021, "twenty twenty one"),
            (1066, "ten sixty six"),
        ],
    )
    def test_years(self, n, words):
        assert numerals.year(n) == words

    def test_words_tell_numbers_apart(self):
        assert len({numerals.in_words(n) for n in range(1, 20_000)}) == 19_999
        assert len({numerals.year(n) for n in range(1000, 2100)}) == 1100

    def test_dates_and_numbers_come_by_turns_and_none_twice(self):
        made = numerals.pairs(3000, torch.Generator().manual_seed(0))
        assert len({source for source, _ in made}) == 3000
        assert all(source[0].isdigit() for source, _ in made[::2])
        assert all(target[0].isdigit() for _, target in made[1::2])

    def test_every_number_is_written_with_its_words(self):
        for words, digits in numerals.pairs(500, torch.Generator().manual_seed(1))[1::2]:
            assert numerals.in_words(int(digits.replace(",", ""))) == words


class TestGenerated:
    def test_no_source_of_the_test_is_trained_on(self):
        splits = pairs(settings(task={"examples": 2000}))
        train, valid, test = ({row.left for row in split} for split in splits)
        assert (len(train), len(valid), len(test)) == (2000, 500, 500)
        assert not train & test
        assert not train & valid
        assert not valid & test

    def test_the_test_set_is_the_same_however_much_is_trained_on(self):
        assert pairs(settings(task={"examples": 30})).test == pairs(settings(task={"examples": 60})).test

    def test_no_word_of_the_test_is_unknown(self):
        c = make_task(settings(task={"examples": 2000})).collection
        for e in c.test:
            assert 0 not in e.targets
            assert 0 not in e.source

    def test_a_pair_can_be_read_back(self):
        c = make_task(settings(task={"examples": 2000})).collection
        rows = pairs(settings(task={"examples": 2000})).test
        for e, row in zip(c.test[:50], rows, strict=False):
            assert written.text_of(e.targets.tolist()[:-1], c.tokenizer) == row.right
            assert written.text_of(e.source.tolist()[:-1], c.source_tokenizer) == row.left


class TestFromAFile:
    def test_the_last_rows_test_and_those_before_them_validate(self, tmp_path):
        splits = pairs(settings(tmp_path, numbered(20), task={"held_out": 4}))
        assert [row.left for row in splits.test] == [f"word {i}" for i in range(16, 20)]
        assert [row.left for row in splits.valid] == [f"word {i}" for i in range(12, 16)]
        assert len(splits.train) == 12

    def test_files_of_their_own_go_first(self, tmp_path):
        for name in ("v", "t"):
            (tmp_path / name).write_text(f"{name}\t{name}\n")
        splits = pairs(settings(tmp_path, numbered(20), valid=str(tmp_path / "v"), test=str(tmp_path / "t")))
        assert [len(split) for split in splits] == [20, 1, 1]
        assert splits.test[0].left == "t"

    def test_each_side_has_a_vocabulary_of_its_own(self, tmp_path):
        task = make_task(settings(tmp_path, numbered(20)))
        assert "word" in task.source_tokenizer.types
        assert "mot" not in task.source_tokenizer.types
        assert (task.sizes.source, task.sizes.outputs) == (task.source_tokenizer.size, task.tokenizer.size)

    def test_what_was_fitted_before_is_used_again(self, tmp_path):
        first = make_task(settings(tmp_path, numbered(20)))
        fitted = []
        for i, tokenizer in enumerate((first.tokenizer, first.source_tokenizer)):
            (tmp_path / f"{i}.json").write_text(dump(tokenizer))
            fitted.append(load(tmp_path / f"{i}.json"))
        again = make_task(settings(tmp_path, numbered(40)[20:]), tuple(fitted))
        assert again.tokenizer.types == first.tokenizer.types
        assert again.source_tokenizer.types == first.source_tokenizer.types

    def test_the_need_is_the_middle_sources_length(self, tmp_path):
        lines = [f"{'a ' * n}\tb" for n in [2] * 9 + [30] * 5 + [4] * 9 + [1] * 10]
        assert make_task(settings(tmp_path, lines, task={"held_out": 5})).need == 5  # four words and the end

    def test_characters_are_a_level_too(self, tmp_path):
        task = make_task(settings(tmp_path, numbered(20), level="char"))
        assert task.unit == "character"
        assert written.text_of(task.collection.test[0].targets.tolist()[:-1], task.tokenizer) == "mot 19 !"


class TestBadInput:
    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("no tab here", r"pairs\.tsv, line 12: expected a sentence and its translation .* got no tab"),
            ("a\tb\tc", r"pairs\.tsv, line 12: .* got 2 tabs"),
            ("\tb", r"pairs\.tsv, line 12: .* got nothing before the tab"),
            ("a\t ", r"pairs\.tsv, line 12: .* got nothing behind the tab"),
        ],
    )
    def test_a_row_that_is_no_pair(self, tmp_path, line, sentence):
        with pytest.raises(DataError, match=sentence):
            make_task(settings(tmp_path, [*numbered(11), line, *numbered(11)]))

    def test_too_few_pairs(self, tmp_path):
        with pytest.raises(DataError, match="There are 8 examples, too few to hold out 4"):
            make_task(settings(tmp_path, numbered(8), task={"held_out": 4}))

    def test_a_length(self):
        with pytest.raises(ConfigError, match=r"leave task\.length out"):
            make_task(settings(task={"length": 9}))

    def test_a_number_of_examples_for_a_file(self, tmp_path):
        with pytest.raises(UsageError, match="for a set that is generated"):
            make_task(settings(tmp_path, numbered(20), task={"examples": 9}))

    def test_nothing_to_translate(self):
        with pytest.raises(DataError, match="got an empty one"):
            source_ids(" \n", make_task(settings(task={"examples": 30})).source_tokenizer)
