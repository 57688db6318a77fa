"""Agreement and recency: a text that a grammar writes, and minimal pairs that ask what was learned of it.

The text is read as any text is, by words. Of ten of its passages (grammar.py) three ask for agreement, four for a
pronoun or a name, three for a thing that returns. task.length is the longest distance, in words, over which the text
asks for one of the last three; task.examples how many passages train. Distances are drawn on a log scale, and what
decides is often told twice: with none but long distances the plateau before anything is learned outlasts the training.

                              between what decides and what is asked
              in the text                                  in the pairs
agreement     up to 3 nouns of any number                  up to 8, all of the other number or all of the same
pronoun name  up to 3 people, other sentences              up to 8 people, all of the other sex or all of the same
return        up to length words, up to 2 other things     up to 4 length words, up to 6 other things

No passage of the text begins as a pair does, and none that tests or validates trains as well. The text is the same
whatever the run's seed.
"""

from collections.abc import Callable, Container, Iterator
from functools import partial
from itertools import accumulate

import torch

from retrograd import config
from retrograd.errors import ConfigError, UsageError
from retrograd.tasks.grammar import (
    ABSENCE,
    DONE,
    GREETED,
    OTHER,
    SHORTEST_FILLER,
    Dice,
    Passage,
    agreement,
    fits,
    greeting,
    returning,
)
from retrograd.tasks.language import Language
from retrograd.tasks.pairs import Pair
from retrograd.tasks.tokenizers import Tokenizer

LENGTH, SHORTEST = 40, GREETED + SHORTEST_FILLER
EXAMPLES = 20_000  # passages to train on; a twentieth as many validate, and test
NOUNS, PEOPLE, THINGS = 3, 3, 2  # that stand between, in the text at most
BETWEEN = (0,) * 10 + (1,) * 5 + (2,) * 3 + (3,) * 2  # nouns or people, as often: in most sentences few, as people talk
ASKED = 8  # nouns, or people, that stand between in the pairs at most
ASKED_THINGS = 6
PAIRS = 100  # of a kind and length
SEEDS = {"pairs": 11, "train": 12, "valid": 13, "test": 14}

Draw = Callable[[Dice], Passage]


def written(settings: config.Config, tokenizer: Tokenizer | None = None) -> Language:
    """The task. Raises UsageError for data that it would ignore, ConfigError for too short a length."""
    if settings.data.train:
        raise UsageError("The task agreement writes its own text; leave the files out, or choose another --task.")
    if settings.data.level != "word":
        raise ConfigError(f"The task agreement is one of words; data.level is {settings.data.level}, leave it out.")
    length, examples = settings.task.length or LENGTH, settings.task.examples or EXAMPLES
    if length < SHORTEST:
        raise ConfigError(f"The task agreement needs task.length of {SHORTEST} at least; got {length}.")
    asked = pairs(length)
    taken = {pair.prefix for pair in asked}
    part, seen = max(1, examples // 20), set[str]()
    splits = {}
    for name, size in (("test", part), ("valid", part), ("train", examples)):  # no line is in two of them
        found = list(lines(size, length, taken=taken, seed=SEEDS[name], seen=seen))
        seen.update(found)
        splits[name] = [(line, True) for line in found]
    three = splits["train"], splits["valid"], splits["test"]
    return Language(settings, tokenizer, splits=three, pairs=asked, need=length)


def lines(size: int, length: int, *, taken: set[str], seed: int, seen: Container[str] = ()) -> Iterator[str]:
    """So many passages, none of which begins with one of the beginnings that are taken, and none of them seen before.

    Two of them may be the same.
    """
    dice = Dice(torch.Generator().manual_seed(seed))
    while size:
        passage = _passage(length, dice)
        if passage.line not in seen and taken.isdisjoint(accumulate(passage.words, "{} {}".format)):
            size -= 1
            yield passage.line


def pairs(length: int) -> tuple[Pair, ...]:
    """What is asked, for a text of that length; every beginning is another."""
    dice = Dice(torch.Generator().manual_seed(SEEDS["pairs"]))
    asked: dict[str, Pair] = {}
    for draw, beyond in [*_sentences(), *_greetings(length), *_returns(length)]:
        enough = len(asked) + PAIRS
        while len(asked) < enough:
            p = draw(dice)
            pair = Pair(p.prefix, p.right, p.wrong, p.kind, p.distance, p.attractors, p.misled, beyond, p.rest)
            asked.setdefault(p.prefix, pair)
    return tuple(asked.values())


def _passage(length: int, dice: Dice) -> Passage:
    """One of the text's."""
    sort = dice.below(10)
    if sort < 3:
        return agreement(dice.coins(1 + dice.one(BETWEEN)), dice)
    if sort < 7:
        after = min(dice.one(BETWEEN), (length - GREETED) // ABSENCE)
        before = int(dice.chance(0.25))
        filler = _up_to(length - GREETED - ABSENCE * after, dice)
        by_name, again = dice.chance(0.5), dice.chance(0.5)
        people = dice.coins(2 + before + after)
        return greeting(people, dice, before=before, filler=filler, by_name=by_name, again=again)
    others = min(dice.below(THINGS + 1), (length - DONE) // OTHER)
    gap = DONE + OTHER * others + _up_to(length - DONE - OTHER * others, dice)
    return returning(gap, others, dice, again=dice.chance(0.5))


def _sentences() -> Iterator[tuple[Draw, bool]]:
    """Agreement, and whether the text has none so long; so below."""
    for nouns in range(ASKED + 1):
        for other in (False, True)[: nouns + 1]:
            yield partial(_sentence, nouns, other), nouns > NOUNS


def _sentence(nouns: int, other: bool, dice: Dice) -> Passage:
    plural = dice.chance(0.5)
    return agreement([plural, *[plural != other] * nouns], dice, described=True)


def _greetings(length: int) -> Iterator[tuple[Draw, bool]]:
    for people in range(ASKED + 1):
        beyond = people > PEOPLE or GREETED + ABSENCE * people > length
        yield partial(_by_pronoun, people, False), beyond
        yield partial(_by_pronoun, people, True), beyond
        yield partial(_by_name, people), beyond


def _by_pronoun(people: int, other: bool, dice: Dice) -> Passage:
    woman = dice.chance(0.5)
    host, *absent = [woman != other] * (people + 1)
    return greeting([host, woman, *absent], dice)


def _by_name(people: int, dice: Dice) -> Passage:
    return greeting(dice.coins(people + 2), dice, by_name=True)


def _returns(length: int) -> Iterator[tuple[Draw, bool]]:
    """Over growing distances with none and with some others between, and over one with more and more."""
    gaps = [next(gap for gap in range(length * n // 4, 5 * length) if fits(gap - DONE)) for n in (1, 2, 4, 8, 16)]
    asked = {(gap, others) for gap in gaps for others in (0, THINGS)}
    asked |= {(2 * length, others) for others in range(ASKED_THINGS + 1)}
    for gap, others in sorted(asked):
        if fits(gap - DONE - OTHER * others):
            yield partial(returning, gap, others), gap > length or others > THINGS


def _up_to(length: int, dice: Dice) -> int:
    """A length of filler, at most so much: as often up to 8 words as from 8 to 64."""
    drawn = int((length + 2) ** dice.share()) - 1
    return drawn if fits(drawn) else 0
