"""What each passage asks can be decided from its words, and is what the passage says it is."""

import pytest
import torch

from retrograd.tasks.grammar import (
    MEN,
    NOUNS,
    THINGS,
    VERBS,
    WOMEN,
    Dice,
    agreement,
    fill,
    fits,
    greeting,
    returning,
)

SINGULAR, PLURAL = ({noun[i] for noun in NOUNS} for i in (0, 1))
NUMBER = dict.fromkeys(SINGULAR, False) | dict.fromkeys(PLURAL, True)
VERB = {verb: plural for forms in VERBS for plural, verb in enumerate(forms)}


def dice(seed=0):
    return Dice(torch.Generator().manual_seed(seed))


def drawn(make, times=200):
    d = dice()
    return [make(d) for _ in range(times)]


@pytest.mark.parametrize("plurals", [[False], [True], [True, False], [False, True, False], [True, False, True, False]])
def test_the_verb_has_the_number_of_the_first_noun(plurals):
    for p in drawn(lambda d: agreement(plurals, d)):
        nouns = [i for i, word in enumerate(p.words[: p.asked]) if word in NUMBER]
        numbers = [NUMBER[p.words[i]] for i in nouns]
        assert numbers == plurals
        assert p.source == nouns[0]
        assert VERB[p.right] == numbers[0]
        assert VERB[p.wrong] != numbers[0]
        assert {p.right, p.wrong} in [set(forms) for forms in VERBS]
        assert p.attractors == sum(n != numbers[0] for n in numbers[1:])
        assert p.misled == (numbers[-1] != numbers[0])


def test_a_clause_has_a_verb_of_its_own_that_agrees_with_the_noun_beside_it():
    inner = [
        (p.words[i - 1], p.words[i])
        for p in drawn(lambda d: agreement([True, False, True], d))
        for i in range(p.asked)
        if p.words[i].startswith("admire")
    ]
    assert len(inner) > 5
    assert all((verb == "admire") == NUMBER[noun] for noun, verb in inner)


def guests(p):
    """Those of whom it is told before the question that they walked in too."""
    text = p.words[: p.asked]
    return [text[i] for i in range(len(text)) if text[i + 1 : i + 4] == ["walked", "in", "too"]]


@pytest.mark.parametrize("women", [[0, 1], [1, 1], [1, 0, 1, 1], [0, 1, 0, 0, 1, 0]])
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("before", [0, 1])
def test_who_is_greeted_is_the_one_who_walked_in_too(women, by_name, before):
    women = [bool(w) for w in women]
    before = min(before, len(women) - 2)
    for p in drawn(lambda d: greeting(women, d, before=before, filler=9, by_name=by_name)):
        [guest] = guests(p)
        assert p.words[p.source] == guest
        assert p.right == (guest if by_name else "her" if guest in WOMEN else "him")
        named = [word for word in p.words[p.source + 1 : p.asked] if word in {*WOMEN, *MEN}]
        assert named[-1] == p.words[0] != guest
        if by_name:
            assert guest not in named
            assert p.wrong == (named[-2] if len(named) > 1 else named[-1])
            assert (p.attractors, p.misled) == (len(named), True)
        else:
            assert {p.right, p.wrong} == {"him", "her"}
            assert p.attractors == sum((word in WOMEN) != (guest in WOMEN) for word in named)
            assert p.misled == ((named[-1] in WOMEN) != (guest in WOMEN))


def test_everybody_in_a_passage_has_a_name_of_his_own():
    for p in drawn(lambda d: greeting([True] * 10, d)):
        assert len({word for word in p.words if word in WOMEN}) == 10


@pytest.mark.parametrize("by_name", [False, True])
def test_what_decides_is_the_latest_word_for_the_guest(by_name):
    for p in drawn(lambda d: greeting([True, False, True], d, by_name=by_name, again=True)):
        assert p.words[p.source - 5] == guests(p)[0]
        assert p.words[p.source] == (guests(p)[0] if by_name else "he")
        assert p.words[6] == (p.words[0] if by_name else "she")
        assert not {"he", guests(p)[0]} & set(p.words[p.source + 1 : p.asked])
        assert p.distance == 13


@pytest.mark.parametrize(("gap", "others"), [(7, 0), (40, 2)])
def test_what_decides_is_the_latest_word_for_the_thing(gap, others):
    for p in drawn(lambda d: returning(gap, others, d, again=True), 50):
        places = [i for i, word in enumerate(p.words) if word == p.right]
        assert places[1:] == [p.source, p.asked]
        assert p.distance == gap


@pytest.mark.parametrize(("gap", "others"), [(7, 0), (11, 0), (14, 1), (40, 0), (40, 2), (160, 6)])
def test_the_thing_returns_after_exactly_so_many_words(gap, others):
    for p in drawn(lambda d: returning(gap, others, d), 50):
        places = [i for i, word in enumerate(p.words) if word in THINGS]
        assert p.words[places[0]] == p.words[places[-1]] == p.right
        assert places[-1] - places[0] == p.distance == gap
        between = [p.words[i] for i in places[1:-1]]
        assert len(set(between)) == len(between) == p.attractors == others
        assert p.wrong != p.right
        assert p.wrong == between[-1] if others else p.wrong in THINGS
        assert p.misled == (others > 0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 other things do not fit into a gap of 20 words"):
        returning(20, 3, dice())


@pytest.mark.parametrize("length", [0, *range(4, 60)])
def test_any_length_can_be_filled_but_one_to_three(length):
    assert fits(length)
    assert not any(map(fits, (1, 2, 3)))
    words = fill(length, dice(length))
    assert len(words) == length
    assert not set(words) & {*NUMBER, *WOMEN, *MEN, *THINGS}
    assert not words or words[-1] == "."


def test_the_generator_alone_decides_what_is_drawn():
    before = torch.get_rng_state()
    first, again = (agreement([True, False], dice(3)) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)


def test_dice_are_fair():
    d = dice()
    counts = [0] * 6
    for _ in range(6000):
        counts[d.below(6)] += 1
    assert all(abs(count - 1000) < 120 for count in counts)  # four standard deviations
    assert sum(d.coins(4000)) == pytest.approx(2000, abs=130)
    assert sorted(d.several("abc", 3)) == ["a", "b", "c"]
