"""Sentences with a word that names a person, a product or a place, as the words around it say.

right   Teddy bears are on sale .            Teddy Roosevelt was a president .        the context is on its right
        Paris of course has two airports .   Paris of course has two brothers .
left    we flew to Paris .                   we elected Paris .                       ... on its left
none    as Susan told us , Berlin was cold .                                          every word speaks for itself

Sentences of the first two kinds come in pairs: on the other side of the ambiguous word, and up to the deciding one, the
two are the same, and they mean different things by it. Whatever reads from that side alone is right about one of them.
"""

from dataclasses import dataclass
from typing import Literal

from retrograd.tasks.grammar import Dice

Context = Literal["right", "left", "none"]
CONTEXTS: tuple[Context, ...] = ("right", "left", "none")
Tagged = list[tuple[str, str]]  # words with their tags
PERSON, PRODUCT, PLACE, OTHER = TAGS = ("person", "product", "place", "other")
BLOCK = 8  # sentences: two pairs decided on the right, one on the left, two without a need of context
AMBIGUOUS = {
    (PERSON, PRODUCT): "Teddy Lincoln Ford Gibson Singer Hoover Mercedes Dyson Barbie Bentley Rose Olive",
    (PERSON, PLACE): "Paris Georgia Sydney Austin Chelsea Florence Savannah Jordan Madison Orlando Victoria Adelaide",
    (PRODUCT, PLACE): "China Oxford Panama Jersey Bordeaux Cheddar Cologne Cognac Amazon Turkey Champagne Java",
}
CLEAR = {
    PERSON: "Susan Albert Ingrid Pedro Nadia Walter Bronwen Tariq",
    PRODUCT: "Lego Velcro Nutella Teflon Tupperware Plasticine Bakelite Perspex",
    PLACE: "Berlin Norway Chicago Lisbon Cairo Peru Nairobi Dublin",
}
HEADS = {  # behind the ambiguous word, and named with it
    PERSON: "Roosevelt Miller Baker Novak Larsen Moreau Castillo Okafor Tanaka Schmidt",
    PRODUCT: "bears lamps shirts boxes plates mugs trucks puzzles scarves kettles",
    PLACE: "streets hotels taxis museums suburbs bridges parks schools harbours cafés",
}
DOES = {  # behind it alone
    PERSON: (
        *("was a president", "sings in a choir", "wrote a long letter", "has two brothers", "won an election"),
        *("is on holiday", "lost his keys", "comes from a large family", "was born in the spring", "is not amused"),
    ),
    PRODUCT: (
        *("was a bargain", "sells in large numbers", "broke within a week", "has two wheels", "won a design award"),
        *("is on sale", "lost its colour", "comes in a red box", "was sold in the spring", "is not washable"),
    ),
    PLACE: (
        *("was a fishing village", "lies in a valley", "grew within a century", "has two airports", "won its freedom"),
        *(
            "is on the coast",
            "lost its harbour",
            "comes after the next stop",
            "was rebuilt in the spring",
            "is not far",
        ),
    ),
}
THEY_DO = {  # behind a head in the plural
    PRODUCT: ("are on sale", "were a bargain", "come in a red box", "have lost their colour", "are not washable"),
    PLACE: ("are on the map", "were a surprise", "come alive at night", "have lost their charm", "are not crowded"),
}
BEFORE = {
    PERSON: ("we elected", "she married", "I spoke to", "they hired", "nobody believed", "the dog followed"),
    PRODUCT: ("we ordered", "she unpacked", "I paid for", "they repaired", "nobody bought", "the shop sold"),
    PLACE: ("we flew to", "she lived in", "I drove to", "they crossed", "nobody left", "the train reached"),
}
OPENINGS = (
    *("", "", "in June", "last year", "to be exact ,", "as {person} told us ,", "on the way to {place}"),
    *("before {person} came ,", "if {place} is not too far ,", "when {product} was new ,"),
)
CLOSINGS = ("", "", "", "again", "after all", "this time", ", {person} said", ", as they know in {place}")
ASIDES = (
    *("frankly", "luckily", "indeed", "meanwhile", "perhaps", "of course", "after all", "so far", "by now"),
    *("as we heard", "in those days", "for some reason", "on the other hand", "as far as anybody knows"),
)


@dataclass(frozen=True)
class Sentence:
    words: tuple[str, ...]
    tags: tuple[str, ...]
    context: Context
    place: int = -1  # of the ambiguous word, where there is one

    @property
    def text(self) -> str:
        return " ".join(self.words)


def distinct(count: int, gap: int, dice: Dice, *, seen: set[str]) -> list[Sentence]:
    """So many sentences, a multiple of eight, that are not among the texts `seen`, which they join.

    Pairs stand side by side; up to `gap` words stand between an ambiguous word and what decides it.
    """
    found: list[Sentence] = []
    for _ in range(count // BLOCK):
        for draw in (_right, _right, _left, _clear, _clear):
            new = draw(gap, dice)
            while not seen.isdisjoint(sentence.text for sentence in new):
                new = draw(gap, dice)
            seen.update(sentence.text for sentence in new)
            found += new
    return found


def _right(gap: int, dice: Dice) -> list[Sentence]:
    word, tags = _namesake(dice)
    opening, closing = _opening(dice), _closing(dice)
    between = [] if dice.chance(0.5) else _aside(dice.below(gap + 1), dice)
    named = not between and dice.chance(0.5)
    pair = []
    for tag in tags:
        behind = _compound(tag, dice) if named else _said(dice.one(DOES[tag]))
        pair.append(_sentence("right", opening, [(word, tag)], [*between, *behind, *closing]))
    return pair


def _left(gap: int, dice: Dice) -> list[Sentence]:
    word, tags = _namesake(dice)
    opening, closing = _opening(dice), _closing(dice)
    between = _aside(dice.below(gap + 1), dice)
    ways = ([*opening, *_said(dice.one(BEFORE[tag])), *between] for tag in tags)
    return [_sentence("left", way, [(word, tag)], closing) for way, tag in zip(ways, tags, strict=True)]


def _clear(gap: int, dice: Dice) -> list[Sentence]:
    tag = dice.one(TAGS[:-1])
    name, between = [(_one(CLEAR[tag], dice), tag)], _aside(dice.below(gap + 1), dice)
    if dice.chance(0.5):
        words = [*_opening(dice), *name, *between, *_said(dice.one(DOES[tag])), *_closing(dice)]
    else:
        words = [*_opening(dice), *_said(dice.one(BEFORE[tag])), *between, *name, *_closing(dice)]
    return [_sentence("none", words, [], [])]


def _sentence(context: Context, before: Tagged, asked: Tagged, behind: Tagged) -> Sentence:
    words, tags = zip(*before, *asked, *behind, (".", OTHER), strict=True)
    return Sentence(words, tags, context, len(before) if asked else -1)


def _namesake(dice: Dice) -> tuple[str, tuple[str, str]]:
    """An ambiguous word, and the two things that it may name."""
    tags = dice.one(tuple(AMBIGUOUS))
    return _one(AMBIGUOUS[tags], dice), tags


def _compound(tag: str, dice: Dice) -> Tagged:
    return [(_one(HEADS[tag], dice), tag), *_said(dice.one(THEY_DO.get(tag, DOES[PERSON])))]


def _aside(length: int, dice: Dice) -> Tagged:
    """So many words that decide nothing."""
    asides, left = [""], length
    while left > 0:
        asides.append(dice.one([each for each in ASIDES if len(each.split()) <= left and each != asides[-1]]))
        left -= len(asides[-1].split())
    return _said(" ".join(asides))


def _opening(dice: Dice) -> Tagged:
    return _named(dice.one(OPENINGS), dice)


def _closing(dice: Dice) -> Tagged:
    return _named(dice.one(CLOSINGS), dice)


def _named(text: str, dice: Dice) -> Tagged:
    """With a clear name where the text has the tag of one."""
    tags = {f"{{{tag}}}": tag for tag in CLEAR}
    return [(_one(CLEAR[tags[word]], dice), tags[word]) if word in tags else (word, OTHER) for word in text.split()]


def _said(text: str) -> Tagged:
    return [(word, OTHER) for word in text.split()]


def _one(words: str, dice: Dice) -> str:
    return dice.one(words.split())
