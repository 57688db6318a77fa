"""Passages of an English-like grammar, in each of which one word is decided far back, by what the sentences say.

agreement   the old writer of the books near the cabinet IS slow .                             the verb, by its subject
pronoun     Jane walked into the room . John walked in too . Mary stayed at home . Jane said hi to HIM .
name        ... Jane said hi to JOHN .                                               by who is there to be greeted
return      Jane wanted to print the tickets . the letters were lost as well . at last she printed the TICKETS .

The nearest word of the same sort often calls for another one: its number, its gender, its name. A model that follows
it knows sequential recency; one that follows what the passage says knows syntactic recency (Linzen et al. 2016).

How long a passage is, is asked for; which words fill it, is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Generator

Item = TypeVar("Item")
Words = list[str]
BLOCK = 4096  # numbers that are drawn at a time: one at a time, each would cost as much as all of them


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = tuple(
    (noun, f"{noun}s")
    for noun in _words(
        "writer teacher doctor farmer lawyer painter singer student neighbor customer sailor driver "
        "book cabinet key table picture garden window house bridge engine machine river hammer basket"
    )
)
ADJECTIVES = _words(
    "old young tall small quiet clever famous tired green heavy strange cheerful lonely grey brave rich"
)
PREPOSITIONS = _words("of near behind beside with opposite above below")
VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("looks", "look"), ("seems", "seem"), ("needs", "need"))
ENDS = {
    "has": ("arrived", "changed", "vanished"),
    "needs": ("help", "rest", "time"),
}
QUALITIES = ("slow", "odd", "late", "safe", "wonderful", "terrible", "better", "ready")
INNER = (("admires", "admire"), ("knows", "know"), ("hides", "hide"), ("follows", "follow"))
ASIDES = (
    _words(", of course ,"),
    _words(", as everybody knew ,"),
    _words(", to say it once more ,"),
    _words(", whatever you may think of it ,"),
    _words(", after all that had been said and done ,"),
)
SUBJECT, OBJECT = ("he", "she"), ("him", "her")
WOMEN = _words("Jane Mary Anna Emma Laura Alice Clara Helen Julia Sarah Ruth Nora")
MEN = _words("John Paul Peter Mark David James Henry Oscar Simon Victor Walter Karl")
ABSENT = (
    _words("stayed at home ."),
    _words("had left before ."),
    _words("was still away ."),
    _words("could not come ."),
    _words("missed the train ."),
)
GREETINGS = (_words("said hi to"), _words("waved hello to"), _words("sat down beside"), _words("looked up at"))
STATES = (_words("sat down ."), _words("looked tired ."), _words("felt cold ."))
OWNED = (_words("these were good"), _words("there were many"), _words("few had such"))
DEEDS = (
    ("print", "printed"),
    ("sell", "sold"),
    ("buy", "bought"),
    ("find", "found"),
    ("send", "sent"),
    ("show", "showed"),
)
THINGS = _words("tickets letters posters photos maps stamps menus poems coins shirts lamps clocks")
OTHERS = ("the {} were lost as well .", "somebody asked about the {} again .", "nobody wanted the {} at all .")
FILLERS = (
    _words("time went by ."),
    _words("nobody said much ."),
    _words("it rained for hours ."),
    _words("the night was {} ."),
    _words("it was a {} day ."),
    _words("snow fell on the roof ."),
    _words("the weather had been {} again ."),
    _words("a dog barked down the street ."),
    _words("a {} wind came from the sea ."),
    _words("the clock on the wall struck nine ."),
    _words("it would soon be too late for supper ."),
    _words("somewhere a bell rang , and then it stopped ."),
)
SHORTEST_FILLER = min(map(len, FILLERS))
WEATHER = _words("long dark cold warm strange quiet")
GREETED, ABSENCE = 9, 5  # words from the guest to the one greeted; of a sentence on somebody absent
DONE, OTHER = 7, 7  # words from a thing to its return; of a sentence on another thing


class Dice:
    """Draws of a generator, one after the other."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._drawn: list[float] = []

    def share(self) -> float:
        """A number from 0 to 1, 1 left out."""
        if not self._drawn:
            self._drawn = torch.rand(BLOCK, generator=self._generator, dtype=torch.float64).tolist()
        return self._drawn.pop()

    def below(self, n: int) -> int:
        return int(n * self.share())

    def chance(self, p: float) -> bool:
        return self.share() < p

    def coins(self, n: int) -> list[bool]:
        return [self.chance(0.5) for _ in range(n)]

    def one(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def several(self, items: Sequence[Item], n: int) -> list[Item]:
        """So many different ones."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(n)]


@dataclass(frozen=True)
class Passage:
    """One line of text, and the place in it that is decided far back."""

    words: Words
    source: int  # place of the word that decides
    asked: int  # place of the word that is decided
    wrong: str
    kind: str
    attractors: int  # words between the two that call for another word
    misled: bool  # does the latest word of the sort that decides call for the wrong one?

    @property
    def distance(self) -> int:
        return self.asked - self.source

    @property
    def prefix(self) -> str:
        return " ".join(self.words[: self.asked])

    @property
    def right(self) -> str:
        return self.words[self.asked]

    @property
    def rest(self) -> str:
        return " ".join(self.words[self.asked + 1 :]) + "\n"

    @property
    def line(self) -> str:
        return " ".join(self.words) + "\n"


def agreement(plurals: Sequence[bool], dice: Dice, *, described: bool = False) -> Passage:
    """A sentence with a noun for each number: the subject, and those between it and its verb.

    `described`: the subject has an adjective in any case.
    """
    subject, *others = plurals
    words = _phrase(subject, dice, described=described)
    source = len(words) - 1
    for place, plural in enumerate(others, start=1):
        words += _modifier(plural, dice, clause=place == len(others) and dice.chance(0.25))
    words += dice.one(ASIDES) if dice.chance(0.25) else []
    forms = dice.one(VERBS)
    asked = len(words)
    words += [forms[subject], dice.one(ENDS.get(forms[0], QUALITIES)), "."]
    attractors = sum(plural != subject for plural in others)
    misled = bool(others) and others[-1] != subject
    return Passage(words, source, asked, forms[not subject], "agreement", attractors, misled)


def greeting(
    women: Sequence[bool],
    dice: Dice,
    *,
    before: int = 0,
    filler: int = 0,
    by_name: bool = False,
    again: bool = False,
) -> Passage:
    """Who comes, who comes too and is greeted, and those who are only mentioned: is each of them a woman?

    `before`: how many of the last are mentioned before the guest comes. `again`: host and guest are named once more, or
    a pronoun is.
    """
    host, guest, *absent = _names(women, dice)
    words = [host, *_words("walked into the room .")]
    if again:
        words += [host if by_name else SUBJECT[women[0]], *dice.one(STATES)]
    for name in absent[:before]:
        words += [name, *dice.one(ABSENT)]
    source = len(words)
    words += [guest, *_words("walked in too .")]
    if again:
        source = len(words)
        words += [guest if by_name else SUBJECT[women[1]], *dice.one(STATES)]
    for name in absent[before:]:
        words += [name, *dice.one(ABSENT)]
    words += fill(filler, dice)
    words += [host, *dice.one(GREETINGS)]
    asked = len(words)
    between, gender = [*women[2 + before :], women[0]], women[1]  # the host is named once more
    if by_name:
        wrong = absent[-1] if absent[before:] else host
        return Passage([*words, guest, "."], source, asked, wrong, "name", len(between), True)
    others = sum(woman != gender for woman in between)
    misled = between[-1] != gender
    return Passage([*words, OBJECT[gender], "."], source, asked, OBJECT[not gender], "pronoun", others, misled)


def returning(gap: int, others: int, dice: Dice, *, again: bool = False) -> Passage:
    """A thing that returns `gap` words after it was named, with so many others named in between.

    `again`: it was named twice.
    """
    filler = gap - DONE - OTHER * others
    if not fits(filler):
        raise ValueError(f"{others} other things do not fit into a gap of {gap} words")
    woman = dice.chance(0.5)
    (infinitive, past), name = dice.one(DEEDS), dice.one(WOMEN if woman else MEN)
    thing, *named = dice.several(THINGS, others + 2)
    wrong = named[others - 1] if others else named[0]
    words = [name, *_words(f"wanted to {infinitive} the {thing} .")]
    if again:
        words += [*dice.one(OWNED), thing, "."]
    source = len(words) - 2
    first = dice.below(filler + 1)
    first = first if fits(first) and fits(filler - first) else filler
    words += fill(first, dice)
    for other in named[:others]:
        words += _words(dice.one(OTHERS).format(other))
    words += fill(filler - first, dice)
    words += _words(f"at last {SUBJECT[woman]} {past} the")
    asked = len(words)
    return Passage([*words, thing, "."], source, asked, wrong, "return", others, others > 0)


def fits(length: int) -> bool:
    """Can sentences be found that have so many words together?"""
    return length == 0 or length >= SHORTEST_FILLER


def fill(length: int, dice: Dice) -> Words:
    """Sentences that decide nothing, of so many words together."""
    words: Words = []
    while len(words) < length:
        left = length - len(words)
        filler = dice.one([filler for filler in FILLERS if len(filler) <= left and fits(left - len(filler))])
        words += [dice.one(WEATHER) if word == "{}" else word for word in filler]
    return words


def _phrase(plural: bool, dice: Dice, *, described: bool = False) -> Words:
    adjective = [dice.one(ADJECTIVES)] if described or dice.chance(0.5) else []
    return ["the", *adjective, dice.one(NOUNS)[plural]]


def _modifier(plural: bool, dice: Dice, *, clause: bool) -> Words:
    """One more noun: behind a preposition, or as the subject of a clause."""
    if clause:
        return ["that", *_phrase(plural, dice), dice.one(INNER)[plural]]
    return [dice.one(PREPOSITIONS), *_phrase(plural, dice)]


def _names(women: Sequence[bool], dice: Dice) -> Words:
    """A different one for each."""
    pools = {True: dice.several(WOMEN, sum(women)), False: dice.several(MEN, len(women) - sum(women))}
    return [pools[woman].pop() for woman in women]
