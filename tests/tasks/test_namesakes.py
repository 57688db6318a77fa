"""Ambiguous words: what stands on one side of them decides, and the other side is the same for both readings."""

from collections import Counter, defaultdict

import pytest
import torch

from retrograd.tasks.grammar import Dice
from retrograd.tasks.namesakes import AMBIGUOUS, CONTEXTS, TAGS, distinct

GAP = 5


@pytest.fixture(scope="module")
def sentences():
    return distinct(4000, GAP, Dice(torch.Generator().manual_seed(0)), seen=set())


def pairs(sentences, context):
    chosen = [sentence for sentence in sentences if sentence.context == context]
    return list(zip(chosen[::2], chosen[1::2], strict=True))


def test_a_pair_is_decided_on_the_right_alone(sentences):
    """Up to the ambiguous word and through it the two are the same; behind it they differ within the gap."""
    for one, other in pairs(sentences, "right"):
        place = one.place
        assert place == other.place
        assert one.words[: place + 1] == other.words[: place + 1]
        assert one.tags[:place] == other.tags[:place]
        assert one.tags[place] != other.tags[place]
        between = zip(one.words[place + 1 :], other.words[place + 1 :], strict=False)
        assert any(a != b for a, b in list(between)[: GAP + 3])


def test_a_pair_is_decided_on_the_left_alone(sentences):
    """From the ambiguous word to the end the two are the same."""
    for one, other in pairs(sentences, "left"):
        assert one.words[one.place :] == other.words[other.place :]
        assert one.tags[one.place + 1 :] == other.tags[other.place + 1 :]
        assert one.tags[one.place] != other.tags[other.place]


def test_every_other_word_speaks_for_itself(sentences):
    """It bears one tag wherever it stands; an ambiguous one bears two, as often as each other."""
    borne, ambiguous = defaultdict(Counter), defaultdict(Counter)
    for sentence in sentences:
        for place, (word, tag) in enumerate(zip(sentence.words, sentence.tags, strict=True)):
            (ambiguous if place == sentence.place else borne)[word][tag] += 1
    assert all(len(tags) == 1 for tags in borne.values())
    assert not set(borne) & set(ambiguous)
    for tags, words in AMBIGUOUS.items():
        for word in words.split():
            assert set(ambiguous[word]) == set(tags)
            assert ambiguous[word][tags[0]] == ambiguous[word][tags[1]]


def test_half_of_them_need_the_right_a_quarter_the_left_and_a_quarter_neither(sentences):
    assert Counter(sentence.context for sentence in sentences) == {"right": 2000, "left": 1000, "none": 1000}
    assert set(CONTEXTS) == {"right", "left", "none"}
    assert all((sentence.place < 0) == (sentence.context == "none") for sentence in sentences)


def test_all_tags_and_several_lengths_are_met(sentences):
    assert {tag for sentence in sentences for tag in sentence.tags} == set(TAGS)
    assert len({len(sentence.words) for sentence in sentences}) > 12
    assert all(len(sentence.words) == len(sentence.tags) for sentence in sentences)
    assert not any(set(sentence.text) & set("{}") for sentence in sentences)


@pytest.mark.parametrize("gap", [1, 30])
def test_as_many_words_stand_between_as_the_gap_allows(gap):
    found = distinct(800, gap, Dice(torch.Generator().manual_seed(1)), seen=set())
    ways = []
    for one, other in pairs(found, "left"):
        before = zip(one.words[: one.place][::-1], other.words[: other.place][::-1], strict=False)
        ways.append(next(i for i, (a, b) in enumerate(before) if a != b))
    assert min(ways) == 0
    assert gap - 2 <= max(ways) <= gap + 1  # a shared preposition may stand between too


def test_none_is_said_twice_nor_was_seen_before():
    seen, dice = set(), Dice(torch.Generator().manual_seed(1))
    found = distinct(1200, GAP, dice, seen=seen) + distinct(800, GAP, dice, seen=seen)
    assert len({sentence.text for sentence in found}) == 2000 == len(seen)
