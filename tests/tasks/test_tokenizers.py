"""Every level: text to ids and back, unknown types, and what is written to a run."""

import pytest

from retrograd.errors import RunError, UnknownName
from retrograd.tasks.tokenizers import END, LEVELS, UNKNOWN, Byte, Char, Word, dump, level, load

TEXT = "the cat sat\non the mat\n\nthe end\n"
PLAIN = [name for name in LEVELS if name != "bpe"]
BATTERY = [*PLAIN, pytest.param("bpe", marks=pytest.mark.extra)]


@pytest.mark.parametrize("name", BATTERY)
def test_the_training_text_comes_back_and_survives_a_file(name, tmp_path):
    tokenizer = level(name).fit([TEXT], 400)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert 0 <= min(ids) <= max(ids) < tokenizer.size
    assert 0 <= tokenizer.first < tokenizer.size
    (tmp_path / "tokenizer.json").write_text(dump(tokenizer))
    back = load(tmp_path / "tokenizer.json")
    assert (back.level, back.size, back.encode(TEXT)) == (name, tokenizer.size, ids)


@pytest.mark.parametrize("name", BATTERY)
def test_unicode_of_several_bytes_comes_back_in_any_piece(name):
    text = "\u00e9t\u00e9 \U0001f600 z\n"
    tokenizer = level(name).fit([text], 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_characters_outside_the_vocabulary_become_unknown():
    tokenizer = Char.fit(["abc"], 0)
    assert tokenizer.size == 4
    assert tokenizer.encode("axb") == [1, tokenizer.unknown, 2]
    assert tokenizer.decode([1, tokenizer.unknown]) == "a\ufffd"
    assert tokenizer.never == (tokenizer.unknown,)


def test_words_are_split_on_white_space_and_each_line_ends():
    tokenizer = Word.fit(["a  b\tc\na"], 100)
    assert [tokenizer.types[i] for i in tokenizer.encode("a  b\tc\na")] == ["a", "b", "c", END, "a", END]


def test_a_word_vocabulary_keeps_the_most_frequent_types():
    tokenizer = Word.fit(["b b b a a c\n"], 4)
    assert tokenizer.types == [UNKNOWN, END, "b", "a"]
    assert tokenizer.encode("c\n")[0] == tokenizer.unknown


def test_an_unknown_mark_in_the_text_is_the_unknown_type():
    tokenizer = Word.fit(["a <unk> b\n"], 100)
    assert tokenizer.types.count(UNKNOWN) == 1
    assert tokenizer.encode("<unk>")[0] == tokenizer.unknown


def test_a_prompt_of_words_is_left_open_unless_its_line_is_closed():
    tokenizer = Word.fit(["a b\n"], 100)
    assert tokenizer.prompt("a b") == tokenizer.encode("a b")[:-1]
    assert tokenizer.prompt("a b\n") == tokenizer.encode("a b\n")
    assert tokenizer.prompt("") == []


def test_bytes_that_are_not_utf8_are_kept():
    tokenizer = Byte.fit([""], 0)
    raw = b"\xff\xfeab"
    assert bytes(tokenizer.encode(raw.decode("utf-8", "surrogateescape"))) == raw


def test_an_unknown_level_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"the nearest is 'char'\. There are: char, word, byte, bpe"):
        level("chars")


@pytest.mark.parametrize("text", ["", "[]", '{"level": "char"}', '{"level": "chr", "types": []}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises((RunError, UnknownName)):
        load(tmp_path / "tokenizer.json")
    with pytest.raises(RunError, match="was not trained on text"):
        load(tmp_path / "none.json")


def test_words_of_two_documents_are_never_glued():
    tokenizer = Word.fit(["a lastword", "firstword b\n"], 100)
    assert "lastword" in tokenizer.types
    assert "firstword" in tokenizer.types


@pytest.mark.parametrize("character", ["\x0c", "\x1d", "\x85", "\u2028"])
def test_only_a_newline_ends_a_line(character):
    tokenizer = Word.fit([f"a{character}b\n"], 100)
    assert tokenizer.encode(f"a{character}b\n").count(tokenizer.first) == 1
