"""Examples in a file: one row a line, two columns with a tab between them.

    left TAB right        label TAB text, sentence TAB its translation, picture TAB caption, words TAB tags

The file is UTF-8. Without files of their own, validation and test are the last rows: 90 / 5 / 5 in a hundred.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from retrograd import config
from retrograd.errors import DataError, UsageError
from retrograd.tasks import files

FEWEST = 10  # rows that can be split in three
PART = 20  # one in so many validates, and as many test

Item = TypeVar("Item")


@dataclass(frozen=True)
class Row:
    line: int  # from 1
    left: str
    right: str
    path: str = ""

    @property
    def place(self) -> str:
        """Where it stands, as a message begins."""
        return f"{self.path}, line {self.line}"


class Splits(NamedTuple):
    """Rows, or what was made of them."""

    train: list[Row]
    valid: list[Row]
    test: list[Row]


def rows(path: str | Path, *, holds: str = "two columns") -> list[Row]:
    """Every row of one file, white space around its sides taken off; `holds` says what they are, for the message.

    >>> rows("reviews.tsv", holds="a label and a text")
    [Row(line=1, left='bad', right='boring for 15 minutes', path='reviews.tsv'), ...]

    Raises DataError for a file that cannot be read, and for the first row that is not two columns.
    """
    wanted = f"one row a line: {holds}, with a tab between them"
    text = files.text(Path(path), wanted).rstrip("\r\n")
    if not text.strip():
        raise DataError(f"The file {path} is empty; expected {wanted}.")
    return [_row(Path(path), i, line, holds) for i, line in enumerate(text.split("\n"), start=1)]


def given(settings: config.Config) -> bool:
    """Are there files to read, or is a set to be generated? Raises UsageError for keys that are of the other."""
    task, data = settings.task, settings.data
    if not data.train and (data.valid or data.test):
        raise UsageError(f"The task {task.name} was given files to validate or test on, and none to train on.")
    if data.train and task.examples is not None:
        raise UsageError("task.examples is for a set that is generated; leave it out, or the files.")
    return bool(data.train)


def splits(
    data: config.Data, *, holds: str = "two columns", arranged: Callable[[list[Row]], list[Row]] = list
) -> Splits:
    """The rows of all of the data's files in three splits; `arranged` puts those for training in order before the cut.

    Raises DataError, as `rows` and `by_position` do.
    """
    found = [row for path in data.train for row in rows(path, holds=holds)]
    valid, test = (rows(path, holds=holds) if path else None for path in (data.valid, data.test))
    train, last, end = by_position(arranged(found), valid=valid is None, test=test is None)
    return Splits(train, last if valid is None else valid, end if test is None else test)


def by_position(
    items: Sequence[Item], *, valid: bool = True, test: bool = True
) -> tuple[list[Item], list[Item], list[Item]]:
    """One in twenty of the items, and one at least, for each of the splits that is wanted; the others train.

    >>> [len(part) for part in by_position(range(100))]
    [90, 5, 5]

    Raises DataError for fewer than ten, where any split is wanted.
    """
    if (valid or test) and len(items) < FEWEST:
        raise DataError(
            f"There are {len(items)} examples, and {FEWEST} is the fewest that can be split to train, validate and "
            "test; give more, or files for --valid and --test."
        )
    part = max(1, len(items) // PART)
    second = len(items) - part * test
    first = second - part * valid
    return list(items[:first]), list(items[first:second]), list(items[second:])


def _row(path: Path, number: int, line: str, holds: str) -> Row:
    place = f"{path}, line {number}"
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) == 1:
        raise DataError(f"{place}: expected {holds} with a tab between them; got no tab in {files.short(line)!r}.")
    if len(columns) > 2:
        raise DataError(f"{place}: expected {holds} with one tab between them; got {len(columns) - 1} tabs.")
    if not all(columns):
        side = "before" if not columns[0] else "behind"
        raise DataError(f"{place}: expected {holds}; got nothing {side} the tab.")
    return Row(number, columns[0], columns[1], str(path))
