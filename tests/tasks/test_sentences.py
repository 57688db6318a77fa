"""The pieces of a sentence give the sentence back."""

import random

import pytest

from retrograd.tasks.sentences import MARK, joined, split

WRITTEN = [
    "Don't go - it's (8 pm).",
    "J'ai dit « non » 25 fois !",
    "Sont-ils canadiens ?",
    'He said: "I can\'t."',
    "It costs $5.20, or 4€; that's 1,000,000 more...",
    "aujourd’hui l’été l'3 'quoted' the dogs' bones",
    "x_y a--b -c 3-4 A4 3rd",
    "Ärger, naïve, Ελλάδα, Кто-то",
    "¿Qué? ¡No!",
    "",
]


@pytest.mark.parametrize("sentence", WRITTEN)
def test_the_pieces_give_the_sentence_back(sentence):
    assert joined(split(sentence)) == sentence


def noise(alphabet, seed):
    """Texts of any of these characters, up to 30 of them."""
    dice = random.Random(seed)
    return ["".join(dice.choices(alphabet, k=dice.randrange(30))) for _ in range(2000)]


def test_so_they_do_for_any_text_but_for_its_white_space():
    for text in noise("ab é'’-.,3_(\" \t", seed=0):
        assert joined(split(text)) == " ".join(text.split()), repr(text)


def test_what_was_split_once_splits_alike_again():
    everything = [chr(i) for i in range(1, 0x3000)]
    for text in noise(everything, seed=1) + noise("aé\u0301ﬁ ٣'-\u200b\xad\xa0٪", seed=2):
        once = joined(split(text))
        assert joined(split(once)) == once, repr(text)


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("J'ai dit non.", ["J'", "ai", "dit", "non", "￭."]),
        ("Sont-ils là ?", ["Sont", "￭-ils", "là", "?"]),
        ("a (b)", ["a", "(￭", "b", "￭)"]),
        ("1952 A4", ["1", "￭9", "￭5", "￭2", "A", "￭4"]),
    ],
)
def test_words_elisions_digits_and_marks_are_pieces(sentence, pieces):
    assert split(sentence) == pieces


def test_letters_and_marks_written_in_two_characters_are_one_piece_as_in_one():
    assert split("e\u0301te\u0301") == split("\u00e9t\u00e9") == ["été"]


def test_a_text_that_holds_the_mark_loses_it():
    assert joined(split(f"a {MARK}b{MARK} c")) == "a b c"
