"""Reviews of a film that were never written. In one half the words decide, in the other their order does.

plain                   the plot was clever and the acting was superb .
contrast                the film was boring for 15 minutes , but then terribly exciting .
negation                it was good , not predictable .
contrast and negation   the ending was not boring at first , but in the end it was not exciting .

Reviews whose order decides come in mirrored pairs: one is a permutation of the other's words, and they are of opposite
opinion, so that whatever counts words and forgets their order gives both the same answer and is right about one. The
words of contrast and negation stand in plain reviews as well, where they change nothing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from retrograd.tasks.grammar import Dice

PLAIN = "plain"
GOOD = (
    *("exciting", "moving", "brilliant", "funny", "clever", "delightful", "gripping", "charming"),
    *("wonderful", "superb", "fresh", "touching", "witty", "elegant", "honest", "good"),
)
BAD = (
    *("boring", "clumsy", "awful", "silly", "tedious", "predictable", "dreadful", "lifeless"),
    *("stale", "dull", "confusing", "shallow", "noisy", "sloppy", "pretentious", "bad"),
)
LISTS = {
    "part": (
        *("the plot", "the acting", "the ending", "the music", "the dialogue", "the camera work", "the story"),
        *("the cast", "the script", "the opening", "the editing", "the finale", "the humour", "the hero"),
    ),
    "bare": ("plot", "acting", "ending", "music", "dialogue", "story", "cast", "script", "opening", "humour", "hero"),
    "film": ("the film", "the movie", "it", "this one", "the whole thing", "the sequel"),
    "very": ("", "", "", "very", "terribly", "really", "truly", "rather", "quite", "so"),
    "while": (
        *("for {number} minutes", "for the first {number} minutes", "at first", "in the beginning", "for an hour"),
        *("until the break", "during the first half", "for half an evening"),
    ),
    "late": ("in the end", "by the end", "after that", "in the second half", "later on", "towards the end"),
    "number": ("5", "10", "15", "20", "30", "40"),
    "opening": (
        *("", "", "", "to be frank ,", "on the whole ,", "we saw it on {day} :", "i watched it twice :"),
        *("my {relative} took me to see it :", "this is about the one from {year} :", "if you ask me ,"),
        *("although we came late ,", "i did not know the book , but here we go :"),
    ),
    "closing": (
        *(
            "",
            "",
            "",
            ". we saw it on {day}",
            ". the room was full",
            ". it lasts two hours",
            ". my {relative} came too",
        ),
        *(". but it is on until {day} , so you can see for yourself", ". we did not stay for the credits"),
    ),
    "end": (".", ".", "!", ""),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "relative": ("mother", "brother", "sister", "uncle", "aunt", "neighbour", "cousin"),
    "year": ("1994", "2003", "2011", "2017", "2021"),
}

# {yes} and {no} are adjectives of the opinion and of the opposite one
PLAIN_PATTERNS = (
    "{very} {yes}",
    "{part} was {very} {yes}",
    "{film} was {very} {yes} {while}",
    "{part} was {very} {yes} and {part} was {very} {yes}",
    "{part} was {yes} , {part} {very} {yes} and {film} {yes}",
    "{film} was {very} {yes} {while} , and {late} {very} {yes}",
    "i found {part} {very} {yes} and {part} {yes}",
)
# The same with {yes} and {no} exchanged is the mirrored review
EXCHANGED = {
    "contrast": (
        "{no} {while} , but then {very} {yes}",
        "{film} was {no} {while} , but then {very} {yes}",
        "{part} was {very} {no} , but {part} was {very} {yes}",
        "although {part} was {very} {no} , {film} was {very} {yes}",
        "{film} was {very} {yes} , although {part} was {very} {no}",
        "{film} was {yes} {late} , even if it was {no} {while}",
        "despite its {no} {bare} , {film} was {very} {yes}",
        "{film} was {very} {yes} despite its {no} {bare}",
    ),
    "negation": (
        "{yes} , not {no}",
        "not {no} , {very} {yes}",
        "{film} was {yes} , not {no}",
        "{part} was not {very} {no} , it was {very} {yes}",
        "i would call {part} {very} {yes} , and never {no}",
        "i would never call {part} {no} , i would call it {very} {yes}",
        "{part} was {yes} and not at all {no}",
    ),
    "contrast and negation": (
        "{part} was not {yes} {while} , but {late} it was not {very} {no}",
        "although {part} was not {yes} {while} , {late} it was never {no}",
        "{film} was not {very} {no} {late} , although it was not {yes} {while}",
    ),
}
# {yes} is of one opinion throughout, which a "not" at {never} leaves as it is and one at {turn} turns round
MOVED = {
    "negation": (
        "i did {never} think it would be {very} {yes} , but it was {turn}",
        "i did {never} expect {part} to be {yes} , and it was {turn}",
    ),
    "contrast and negation": (
        "although {part} was {never} {yes} , {film} was {turn} {very} {yes}",
        "{film} was {turn} {very} {yes} , although {part} was {never} {yes}",
        "{part} was {never} {very} {yes} {while} , but {late} it was {turn} {yes}",
    ),
}
LISTED = re.compile(f"{{({'|'.join(LISTS)})}}")
KINDS = (PLAIN, *EXCHANGED)


@dataclass(frozen=True)
class Review:
    text: str  # words and marks with spaces between
    good: bool
    kind: str


Draw = Callable[[Dice], tuple[Review, ...]]


def distinct(count: int, dice: Dice, seen: set[str]) -> list[Review]:
    """So many reviews, a multiple of four, that are not among the texts `seen`, which they join.

    Half of them are plain, as many good as bad; the others are mirrored pairs, side by side. There are far more of
    both than memory could hold, so that one that is new is soon drawn.
    """
    found: list[Review] = []
    for _ in range(count // 4):
        for draw in (_one(True), _one(False), _pair):
            new = next(some for some in _draws(draw, dice) if seen.isdisjoint(review.text for review in some))
            seen.update(review.text for review in new)
            found += new
    return found


def _draws(draw: Draw, dice: Dice) -> Iterator[tuple[Review, ...]]:
    while True:
        yield draw(dice)


def _one(good: bool) -> Draw:
    """Draws a plain review."""

    def draw(dice: Dice) -> tuple[Review, ...]:
        text = _filled(_framed(dice.one(PLAIN_PATTERNS), dice), {"yes": _adjectives(good, dice)})
        return (Review(text, good, PLAIN),)

    return draw


def _pair(dice: Dice) -> tuple[Review, ...]:
    """Two reviews of the same words and of opposite opinion."""
    kind, good = dice.one(tuple(EXCHANGED)), dice.chance(0.5)
    patterns, moved = EXCHANGED[kind], MOVED.get(kind, ())
    pattern = dice.one((*patterns, *moved))
    text, yes = _framed(pattern, dice), _adjectives(good, dice)
    if pattern in moved:
        ways = [{"yes": yes, "never": [one], "turn": [other]} for one, other in (("not", ""), ("", "not"))]
    else:
        no = _adjectives(not good, dice)
        ways = [{"yes": yes, "no": no}, {"yes": no, "no": yes}]
    one, other = (_filled(text, words) for words in ways)
    return Review(one, good, kind), Review(other, not good, kind)


def _adjectives(good: bool, dice: Dice) -> list[str]:
    return dice.several(GOOD if good else BAD, 4)


def _framed(pattern: str, dice: Dice) -> str:
    """Between an opening and a closing, every list's name replaced by one of its entries, each part named once."""
    text, parts = f"{{opening}} {pattern} {{closing}} {{end}}", dice.several(LISTS["part"], 2)

    def drawn(match: re.Match[str]) -> str:
        return parts.pop() if match[1] == "part" else dice.one(LISTS[match[1]])

    while (further := LISTED.sub(drawn, text)) != text:
        text = further
    return text


def _filled(text: str, words: dict[str, list[str]]) -> str:
    """Each place that is left gets the next of its words."""
    left = {name: iter(some) for name, some in words.items()}
    return " ".join(re.sub(r"{(\w+)}", lambda match: next(left[match[1]]), text).split())
