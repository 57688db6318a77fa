"""Files of minimal pairs: what is read, what is refused with its line, and what a vocabulary can judge."""

import json

import pytest

from retrograd.errors import DataError
from retrograd.tasks.pairs import Encoded, Pair, coverage, encoded, is_known, read, refuse_unknown
from retrograd.tasks.tokenizers import Bpe, Byte, Char, Word

TEXT = "the writer of the books is old .\nthe writers of the book are old .\n"
WORDS, LETTERS = Word.fit([TEXT], 100), Char.fit([TEXT], 0)


@pytest.fixture
def file(tmp_path):
    def write(content, name="pairs.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def blimp(good, bad, **more):
    return json.dumps({"sentence_good": good, "sentence_bad": bad, **more}) + "\n"


def test_blimp_lines_are_sentences_with_their_paradigm(file):
    content = blimp("Who should Derek hug?", "Whom should Derek hug?", field="syntax", UID="wh_island", pair_id="0")
    content += "\n" + blimp("The cats run .", "The cats runs .", field="morphology", attractors=0, distance=1)
    first, second = read(file(content, "x.jsonl"))
    assert first == Pair("", "Who should Derek hug?\n", "Whom should Derek hug?\n", "wh_island")
    assert second == Pair("The cats", "run .\n", "runs .\n", "morphology", distance=1, attractors=0)
    assert read(file(content, "x.txt")) == (first, second)


@pytest.mark.parametrize("head", ["", "good\tbad\n", "sentence_good\tsentence_bad\n"])
def test_two_columns_are_a_good_and_a_bad_sentence(file, head):
    [pair] = read(file(f"{head}the author laughs .\tthe author laugh .\n", "simple.tsv"))
    assert pair == Pair("the author", "laughs .\n", "laugh .\n", "simple")


@pytest.mark.parametrize("head", ["", "prefix\tright\twrong\n"])
def test_three_columns_are_a_beginning_and_two_forms(file, head):
    content = head + "the writer of the books\tis\tare\n\n\tit\tthey\n"
    assert read(file(content)) == (
        Pair("the writer of the books", "is", "are", "pairs"),
        Pair("", "it", "they", "pairs"),
    )


def test_what_other_programs_write_is_read(file):
    for content in (b"\xef\xbb\xbfa b\ta c\r\n", b"a b\ta c", b" a  b \ta c\n\n"):
        assert read(file(content)) == (Pair("a", "b\n", "c\n", "pairs"),)


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ("", "x.tsv", "is empty; expected one pair a line"),
        (" \n\n", "x.tsv", "is empty"),
        ("good\tbad\n", "x.tsv", "holds a heading and no pairs"),
        (
            "one column\n",
            "x.tsv",
            "line 1: expected a good and a bad sentence, .* with tabs between them; got 1 columns",
        ),
        ("a\tb\tc\td\n", "x.tsv", "line 1: .* got 4 columns"),
        ("a\tb\n\nc\td\te\n", "x.tsv", "line 3: expected 2 columns, as in the first row; got 3"),
        ("a\tb\nc\t\n", "x.tsv", "line 2: .* the bad one is empty"),
        ("a b\ta  b\n", "x.tsv", "line 1: expected two sentences that differ; got 'a b' twice"),
        ("a\tis\t\n", "x.tsv", "line 1: expected a right and a wrong form; the wrong one is empty"),
        ("a\t\tis\n", "x.tsv", "line 1: .* the right one is empty"),
        ("a\tis\tis\n", "x.tsv", "line 1: expected two forms that differ; got 'is' twice"),
        (blimp("a b", "a c") + "{not json\n", "x.jsonl", "line 2: expected a JSON object with sentence_good"),
        (blimp("a b", "a c") + '["a", "b"]\n', "x.jsonl", "line 2: expected a JSON object with the texts"),
        ('{"sentence_good": "a"}\n', "x.jsonl", "line 1: expected a JSON object with the texts"),
        ('{"sentence_good": "a", "sentence_bad": 3}\n', "x.jsonl", "line 1: expected a JSON object with the texts"),
        ("[" * 100_000, "x.jsonl", "line 1: expected a JSON object"),
        (blimp("a", ""), "x.jsonl", "line 1: expected a good and a bad sentence; the bad one is empty"),
        (b"a\tb\nc\t\xff\n", "x.tsv", "line 2: expected UTF-8 text, got the byte 0xff"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_line(file, content, name, sentence):
    path = file(content, name)
    with pytest.raises(DataError, match=sentence) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path):
    for path, sentence in ((tmp_path / "none.tsv", "No file is at"), (tmp_path, "is a directory")):
        with pytest.raises(DataError, match=sentence):
            read(path)


@pytest.mark.parametrize("tokenizer", [WORDS, LETTERS, Byte()], ids=lambda t: t.level)
@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (Pair("the writer", "is", "are", ""), "the writer is"),
        (Pair("the writer", "is old .\n", "are old .\n", ""), "the writer is old .\n"),
        (Pair("", "the writer\n", "the writers\n", ""), "the writer\n"),
        (Pair("the writer", "\n", "old\n", ""), "the writer\n"),
    ],
)
def test_prefix_and_form_are_the_ids_of_the_whole_text(tokenizer, pair, text):
    asked = encoded(pair, tokenizer)
    assert asked.prefix + asked.right == tuple(tokenizer.prompt(text))


@pytest.mark.extra
def test_pieces_of_prefix_and_form_are_those_of_the_whole_text():
    tokenizer = Bpe.fit([TEXT * 20], 280)
    asked = encoded(Pair("the writer of", "the books .\n", "the book .\n", ""), tokenizer)
    assert asked.prefix + asked.right == tuple(tokenizer.encode("the writer of the books .\n"))


@pytest.mark.parametrize(
    ("right", "wrong", "deciding"),
    [
        ((1, 2, 3), (1, 4, 3), (2, 4)),
        ((1, 2), (1, 2, 3), (3,)),
        ((1, 1), (1,), (1,)),
        ((1, 2), (2, 1), (1, 2, 2, 1)),
        ((5,), (6,), (5, 6)),
        ((5, 6), (5, 6), ()),
    ],
)
def test_the_deciding_tokens_are_those_between_what_is_alike(right, wrong, deciding):
    assert Encoded((9,), right, wrong).deciding == deciding


def test_a_pair_whose_deciding_words_are_unknown_cannot_be_judged():
    def known(*pair):
        return is_known(encoded(Pair(*pair, ""), WORDS), WORDS)

    assert known("the cat of the books", "is", "are")
    assert not known("the writer", "is", "sings")
    assert not known("the writer", "sings", "sing")
    assert not known("the writer", "sings old", "is old")
    assert known("the writer", "is sad\n", "are sad\n")
    assert not known("the writer", "xx is\n", "yy is\n")


def test_coverage_is_the_share_of_known_words():
    pairs = [encoded(Pair("the cat", "is sad\n", "are sad\n", ""), WORDS), encoded(Pair("", "the dog", "a", ""), WORDS)]
    assert coverage(pairs, WORDS) == pytest.approx(1 - 5 / 9)  # cat, sad, sad, dog, a
    assert coverage([encoded(Pair("the q", "is", "are", ""), LETTERS)], LETTERS) == pytest.approx(1 - 1 / 12)
    assert coverage([encoded(Pair("\u00df", "a", "b", ""), Byte())], Byte()) == 1


def test_a_file_that_cannot_be_judged_at_all_is_refused():
    for pairs, sentence in (
        ([Pair("der", "ist", "sind", "")], "No word of x.tsv is in the model's vocabulary of 12 types"),
        ([Pair("the writer", "ist", "sind", "")] * 3, r"None of the 3 pairs of x\.tsv differs in words .* \(50% of"),
    ):
        with pytest.raises(DataError, match=sentence):
            refuse_unknown([encoded(pair, WORDS) for pair in pairs], WORDS, "x.tsv")
    refuse_unknown([encoded(Pair("der", "is", "are", ""), WORDS)], WORDS, "x.tsv")
