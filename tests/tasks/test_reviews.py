"""Generated reviews against a reader of their clauses that knows nothing of the patterns they were made from."""

from collections import Counter

import pytest
import torch

from retrograd.tasks.grammar import Dice
from retrograd.tasks.reviews import BAD, EXCHANGED, GOOD, KINDS, PLAIN, distinct

PAIRED = set(EXCHANGED)


@pytest.fixture(scope="module")
def reviews():
    return distinct(4000, Dice(torch.Generator().manual_seed(0)), set())


def opinion(text):
    """What a review says, read clause by clause: is it good?"""
    said = text.split(" : ")[-1].split(" . ")[0].removeprefix("although we came late , ").rstrip(" .!")
    for concession in ("although ", "despite ", "even if "):
        if concession in said:
            before, _, conceded = said.partition(concession)
            said = before + conceded.partition(" , ")[2]
    *_, said = said.split(" but ")
    if "did" in text.split() and said.endswith(("it was", "it was not")):  # as expected, or not
        (adjective,) = [word for word in text.split() if word in (*GOOD, *BAD)]
        return (adjective in GOOD) != said.endswith("not")
    votes = set()
    for clause in said.split(" , "):
        denied = False
        for word in clause.split():
            denied |= word in ("not", "never")
            if word in (*GOOD, *BAD):
                votes.add((word in GOOD) != denied)
    (vote,) = votes
    return vote


def test_every_review_is_of_the_opinion_that_its_clauses_say(reviews):
    assert [opinion(review.text) for review in reviews] == [review.good for review in reviews]


def test_mirrored_reviews_are_permutations_of_each_other_and_of_opposite_opinion(reviews):
    pairs = [review for review in reviews if review.kind in PAIRED]
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert Counter(one.text.split()) == Counter(other.text.split())
        assert one.text != other.text
        assert one.kind == other.kind
        assert one.good != other.good


def test_half_of_them_are_plain_and_half_of_each_kind_are_good(reviews):
    counts = Counter((review.kind, review.good) for review in reviews)
    assert set(KINDS) == {PLAIN, *PAIRED}
    assert counts[PLAIN, True] == counts[PLAIN, False] == 1000
    assert all(counts[kind, True] == counts[kind, False] > 250 for kind in PAIRED)


def test_in_plain_reviews_the_words_decide(reviews):
    """All adjectives of one opinion; where words of contrast and negation stand too, they change nothing."""
    plain = [review for review in reviews if review.kind == PLAIN]
    for review in plain:
        assert not set(review.text.split()) & set(BAD if review.good else GOOD)
    words = Counter(word for review in plain for word in review.text.split())
    assert min(words[word] for word in ("not", "but", "although")) > 20


def test_no_place_of_an_adjective_decides(reviews):
    """Neither the first nor the last adjective of a mirrored review tells more than three quarters of them."""
    for place in (0, -1):
        right = Counter()
        for review in reviews:
            if review.kind in PAIRED:
                adjectives = [word for word in review.text.split() if word in (*GOOD, *BAD)]
                right[(adjectives[place] in GOOD) == review.good] += 1
        assert 0.25 < right[True] / right.total() < 0.75


def test_none_is_said_twice_nor_was_seen_before():
    seen, dice = set(), Dice(torch.Generator().manual_seed(1))
    first, second = distinct(1200, dice, seen), distinct(800, dice, seen)
    assert len({review.text for review in first + second}) == 2000 == len(seen)


def test_a_review_is_words_with_single_spaces(reviews):
    for review in reviews:
        assert review.text == " ".join(review.text.split())
        assert not set(review.text) & set("{}")
    lengths = [len(review.text.split()) for review in reviews]
    assert min(lengths) <= 4
    assert max(lengths) > 35
