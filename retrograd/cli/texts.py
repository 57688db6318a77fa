"""What a verb is to read: the texts of the command line, or else the lines of stdin, in UTF-8 whatever the locale."""

import sys
from collections.abc import Iterator, Sequence

from retrograd.errors import DataError


def texts(given: Sequence[str] | None, *, verb: str) -> list[str]:
    """Blank ones too, each in its place. Raises DataError for what is not UTF-8, and where there is nothing to read."""
    found = list(_arguments(given) if given else _lines())
    if not any(map(str.strip, found)):
        raise DataError(f"Expected a text to {verb}, on the command line or on stdin; got none.")
    return found


def _arguments(given: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(given, start=1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"Text {number} of the command line: expected UTF-8 text; convert it.")
        yield text


def _lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"stdin, line {number}: expected UTF-8 text; convert it.") from None
