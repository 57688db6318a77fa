"""What is asked for, checked before anything is computed: one sentence with what was expected and what came."""

import math
from collections.abc import Collection, Iterable, Sequence

from retrograd.errors import ConfigError, UnknownName
from retrograd.reports.words import count


def whole(name: str, value: int, *, least: int = 1, most: int = 10_000) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{_first(name)} must be a whole number from {least:,} to {most:,}, got {value!r}.")
    return value


def finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"{_first(name)} must be a finite number, got {value!r}.")
    return float(value)


def numbers(name: str, values: Iterable[float], *, least: int = 1, most: int = 1000) -> tuple[float, ...]:
    """So many finite numbers."""
    found = tuple(finite(f"each of {name}", value) for value in values)
    if not least <= len(found) <= most:
        wanted = count(least, "number") if least == most else f"{least:,} to {most:,} numbers"
        raise ConfigError(f"{_first(name)} takes {wanted}, got {len(found):,}.")
    return found


def known(kind: str, names: Iterable[str], among: Collection[str]) -> tuple[str, ...]:
    """Names of entries that are there, each once."""
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in among:
            raise UnknownName(kind, name, among)
    if not found:
        raise ConfigError(f"At least one {kind} is needed. There are: {', '.join(among)}.")
    return found


def parsed(name: str, text: str) -> tuple[float, ...]:
    """Numbers from a text, apart by spaces or commas: "0.5 1 2"."""
    return tuple(_number(name, piece) for piece in text.replace(",", " ").split())


def sets(name: str, text: str) -> list[tuple[int, ...]]:
    """Sets of whole numbers from a text: these apart by commas, the sets by spaces, as in "1 1,4"."""
    found = []
    for piece in text.split():
        try:
            found.append(tuple(int(number) for number in piece.split(",")))
        except ValueError:
            raise ConfigError(
                f"{_first(name)} takes sets of whole numbers, such as '1 4 1,4'; got {piece!r}."
            ) from None
    return found


def matrix(text: str) -> list[tuple[float, ...]]:
    """Rows from a text, apart by semicolons or ends of line: "0.5 1; -1 0.5"."""
    return [parsed("the matrix", row) for row in text.replace("\n", ";").split(";") if row.strip()]


def square(rows: Sequence[Sequence[float]], *, most: int) -> Sequence[Sequence[float]]:
    """Rows of as many finite numbers as there are rows."""
    lengths = [len(row) for row in rows]
    if not rows or any(n != len(rows) for n in lengths):
        came = f"{len(rows)} rows of {', '.join(map(str, dict.fromkeys(lengths)))} numbers" if rows else "no number"
        raise ConfigError(f'The matrix must be square, such as "0.5 1; -1 0.5"; got {came}.')
    whole("the number of the matrix's rows", len(rows), most=most)
    for i, row in enumerate(rows, start=1):
        for j, x in enumerate(row, start=1):
            finite(f"the matrix's number in row {i}, column {j},", x)
    return rows


def _number(name: str, piece: str) -> float:
    try:
        return float(piece)
    except ValueError:
        raise ConfigError(f"{_first(name)} takes numbers apart by spaces or commas, got {piece!r}.") from None


def _first(name: str) -> str:
    """As a sentence begins."""
    return name[0].upper() + name[1:]
