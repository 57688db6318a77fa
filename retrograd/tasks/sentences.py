"""A sentence in pieces, and back to how it is written.

    J'ai dit "non" 25 fois !        J' ai dit "￭ non ￭" 2 ￭5 fois !

A piece is a word, an elided one with its apostrophe, one digit, or one other character; a number is read digit by
digit, so that none is unknown. Of two pieces that touch one bears a mark, ￭, on the side where they do (after the
joiner of Klein et al. 2017); behind an elision it goes without saying. So the pieces give the sentence back, but for
the kind and width of its white space.
"""

import re
import unicodedata
from collections.abc import Iterable

MARK = "￭"
LETTER = r"[^\W\d_]"
PIECE = re.compile(rf"{LETTER}+['’](?={LETTER})|-?{LETTER}+|\S")
ELIDED = re.compile(rf"{LETTER}['’]$")


def split(sentence: str) -> list[str]:
    """The pieces of a sentence, in Unicode's composed form; a mark that it holds itself is lost.

    >>> split("Don't go - it's (8 pm).")
    ["Don'", 't', 'go', '-', "it'", 's', '(￭', '8', 'pm', '￭)', '￭.']
    """
    text = unicodedata.normalize("NFC", sentence).replace(MARK, "")
    pieces: list[str] = []
    end = -1
    for match in PIECE.finditer(text):
        piece = match.group()
        if match.start() == end and not ELIDED.search(pieces[-1]):
            if _word(piece) and not _word(pieces[-1]):
                pieces[-1] += MARK
            else:
                piece = MARK + piece
        pieces.append(piece)
        end = match.end()
    return pieces


def joined(pieces: Iterable[str]) -> str:
    """The sentence that `split` made the pieces of."""
    spaced = " ".join(piece + MARK if ELIDED.search(piece) else piece for piece in pieces)
    return spaced.replace(f"{MARK} ", "").replace(f" {MARK}", "").replace(MARK, "")


def _word(piece: str) -> bool:
    return piece.strip(f"-{MARK}")[:1].isalnum()
