"""Plain aligned text: columns that fit a terminal, and are left whole where there is none to fit.

Columns are two spaces apart or more, so that `awk -F '  +'` finds them in what is piped on.
"""

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence

GAP = 2
NARROWEST = 12  # columns that a cell is wrapped to at the least
Row = Sequence[str]


def width() -> int | None:
    """Columns of the terminal that is printed on; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(rows: Sequence[Row], *, room: int | None, right: Sequence[int] = ()) -> Iterator[str]:
    """Rows of cells under each other. Where they are wider than the room, the columns move together, and if that is
    not enough each first cell gets a line of its own."""
    rows = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fits = room is None or sum(widths) + GAP * (len(widths) - 1) <= room
    gap = GAP if fits else 1
    own_line = room is not None and sum(widths) + gap * (len(widths) - 1) > room
    for row in rows:
        cells = [
            cell.rjust(size) if i in right else cell.ljust(size)
            for i, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        if own_line:
            yield row[0]
            cells = [" ", *cells[1:]]
        yield (" " * gap).join(cells).rstrip()


def side_by_side(rows: Sequence[Row], *, room: int | None) -> Iterator[str]:
    """A label and one cell a run in each row; cells are wrapped where they are wider than their share of the room."""
    rows = [[_clean(cell) for cell in row] for row in rows]
    label, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    if room is not None:
        share = max((room - label) // len(widths) - GAP, NARROWEST)
        widths = [min(size, share) for size in widths]
    for row in rows:
        columns = [textwrap.wrap(cell, size) or [""] for cell, size in zip(row[1:], widths, strict=True)]
        for i in range(max(map(len, columns))):
            cells = [lines[i] if i < len(lines) else "" for lines in columns]
            shown = [cell.ljust(size) for cell, size in zip(cells, widths, strict=True)]
            yield (" " * GAP).join([(row[0] if i == 0 else "").ljust(label), *shown]).rstrip()


def pairs(values: dict[str, str], *, room: int | None, indent: str = "") -> Iterator[str]:
    """Name and value on one line each, the values under each other."""
    column = max(map(len, values), default=0) + GAP
    for name, value in values.items():
        yield from wrapped(_clean(value), room=room, first=indent + name.ljust(column), rest=indent + " " * column)


def wrapped(text: str, *, room: int | None, first: str = "", rest: str = "") -> list[str]:
    if room is None:
        return [(first + text).rstrip()]
    lines = textwrap.wrap(
        text,
        max(room, len(rest) + NARROWEST),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return lines or [first.rstrip()]


def age(since: float) -> str:
    """Such as "3 min", "1 day"; seconds since 1970 in, whole units out."""
    seconds = max(0, int(time.time() - since))
    for unit, size, most in (("s", 1, 60), ("min", 60, 60), ("h", 3600, 24)):
        if seconds < size * most:
            return f"{seconds // size} {unit}"
    days = seconds // 86_400
    return f"{days} day" + ("" if days == 1 else "s")


def size(count: int) -> str:
    """Bytes with two digits at the least: "950 B", "13 kB", "1.2 MB"."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 9.95 and unit != "B" else f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def number(x: object) -> str:
    """A figure for reading: four digits, thousands apart; what is not known is a dash."""
    if x is None:
        return "-"
    if isinstance(x, bool) or not isinstance(x, int | float):
        return str(x)
    whole = math.isfinite(x) and x == int(x) and abs(x) < 1e15
    return f"{x:,.0f}" if whole or (math.isfinite(x) and abs(x) >= 1e4) else f"{x:.4g}"


def clock(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _clean(text: str) -> str:
    """On one line, and without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else " " for character in text)
