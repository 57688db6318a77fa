"""Minimal pairs: one beginning, and two ways to go on of which one is right.

    prefix  the writer of the books        right  is        wrong  are

Of two whole sentences the common beginning is the prefix, which changes nothing: what it costs is the same in both.
They are judged with their lines' ends; a right and a wrong form are judged by themselves.

Files     one JSON object a line, with sentence_good and sentence_bad; UID, else field, names the kind (BLiMP,
          Warstadt et al. 2020); distance and attractors are read where they are numbers
          good TAB bad                     two sentences (Marvin and Linzen 2018)
          prefix TAB right TAB wrong       two ways to go on (Linzen et al. 2016)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from retrograd.errors import DataError
from retrograd.tasks import files
from retrograd.tasks.tokenizers import Tokenizer

HEADS = {
    ("good", "bad"),
    ("sentence_good", "sentence_bad"),
    ("grammatical", "ungrammatical"),
    ("prefix", "right", "wrong"),
    ("prefix", "good", "bad"),
}
MOST = 1_000_000  # a distance or a number of attractors
WANTED = "a good and a bad sentence, or a beginning with its right and its wrong form"


@dataclass(frozen=True)
class Pair:
    """A sentence's end is a newline. What the text does not say of it is None."""

    prefix: str
    right: str
    wrong: str
    kind: str
    distance: int | None = None  # words from what decides it to what is asked
    attractors: int | None = None  # words between the two that call for the wrong one
    misled: bool | None = None  # does the latest word of the sort that decides call for the wrong one?
    beyond: bool = False  # is it longer than any that was trained on?
    rest: str = ""  # what follows the right form up to its line's end: read only where another pair comes after it


@dataclass(frozen=True)
class Encoded:
    """A pair as token ids."""

    prefix: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    rest: tuple[int, ...] = ()

    @property
    def deciding(self) -> tuple[int, ...]:
        """The tokens in which the two differ: between what they begin and what they end with alike."""
        begin = _alike(self.right, self.wrong)
        right, wrong = self.right[begin:], self.wrong[begin:]
        end = _alike(right[::-1], wrong[::-1])
        return (*right[: len(right) - end], *wrong[: len(wrong) - end])


def encoded(pair: Pair, tokenizer: Tokenizer) -> Encoded:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.prompt(text))

    space = " " if pair.prefix else ""
    right, wrong = (ids(space * bool(form.strip()) + form) for form in (pair.right, pair.wrong))
    return Encoded(ids(pair.prefix), right, wrong, ids(f" {pair.rest}") if pair.rest else ())


def is_known(pair: Encoded, tokenizer: Tokenizer) -> bool:
    """Can it be told which is right: do they differ, and in tokens that are all in the vocabulary?"""
    return bool(pair.deciding) and not set(pair.deciding) & set(tokenizer.never)


def coverage(pairs: Sequence[Encoded], tokenizer: Tokenizer) -> float:
    """Share of the pairs' tokens that are in the vocabulary, line ends left out; a beginning counts once."""
    unknown = set(tokenizer.never)
    ends = {tokenizer.first} - unknown
    ids = [i for pair in pairs for i in (*pair.prefix, *pair.right, *pair.wrong) if i not in ends]
    return 1 - sum(i in unknown for i in ids) / max(len(ids), 1)


def refuse_unknown(pairs: Sequence[Encoded], tokenizer: Tokenizer, path: str | Path) -> None:
    """Raises DataError where none of a file's pairs can be judged with this vocabulary."""
    if not coverage(pairs, tokenizer):
        raise DataError(
            f"No {tokenizer.unit} of {path} is in the model's vocabulary of {tokenizer.size} types; give pairs in the "
            "words of the text that it was trained on."
        )
    if not any(is_known(pair, tokenizer) for pair in pairs):
        raise DataError(
            f"None of the {len(pairs)} pairs of {path} differs in {tokenizer.unit}s that the model knows "
            f"({coverage(pairs, tokenizer):.0%} of all are known); write them as the training text does."
        )


def read(path: str | Path) -> tuple[Pair, ...]:
    """The pairs of a file. Raises DataError, with the line, for what is none."""
    path = Path(path)
    lines = enumerate(files.text(path, f"one pair a line: {WANTED}").split("\n"), start=1)
    rows = [(f"{path}, line {n}", line) for n, line in lines if line.strip()]
    if not rows:
        raise DataError(f"The file {path} is empty; expected one pair a line: {WANTED}.")
    parse: Callable[[str, str], Pair]
    if path.suffix in (".jsonl", ".json") or rows[0][1].lstrip().startswith("{"):
        parse = _from_json
    else:
        rows = rows[tuple(cell.strip().lower() for cell in rows[0][1].split("\t")) in HEADS :]
        columns = rows[0][1].count("\t") + 1 if rows else 0

        def parse(place: str, line: str) -> Pair:
            return _from_columns(place, line, columns, path.stem)

    if not rows:
        raise DataError(f"The file {path} holds a heading and no pairs; expected one pair a line: {WANTED}.")
    return tuple(parse(place, line) for place, line in rows)


def sentences(good: str, bad: str, place: str) -> tuple[str, str, str]:
    """Their common beginning in whole words, and what follows it in each, with the line's end."""
    a, b = good.split(), bad.split()
    for side, words in (("good", a), ("bad", b)):
        if not words:
            raise DataError(f"{place}: expected a good and a bad sentence; the {side} one is empty.")
    if a == b:
        raise DataError(f"{place}: expected two sentences that differ; got {files.short(good)!r} twice.")
    n = _alike(a, b)
    return " ".join(a[:n]), " ".join(a[n:]) + "\n", " ".join(b[n:]) + "\n"


def _from_json(place: str, line: str) -> Pair:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{place}: expected a JSON object with sentence_good and sentence_bad; got no JSON.") from None
    values = values if isinstance(values, dict) else {}
    good, bad = values.get("sentence_good"), values.get("sentence_bad")
    if not isinstance(good, str) or not isinstance(bad, str):
        raise DataError(f"{place}: expected a JSON object with the texts sentence_good and sentence_bad.")
    kind = next((values[key] for key in ("UID", "field") if isinstance(values.get(key), str)), "")
    return Pair(
        *sentences(good, bad, place),
        kind=kind,
        distance=_count(values.get("distance")),
        attractors=_count(values.get("attractors")),
    )


def _from_columns(place: str, line: str, columns: int, kind: str) -> Pair:
    cells = [cell.strip() for cell in line.split("\t")]
    if columns not in (2, 3):
        raise DataError(f"{place}: expected {WANTED}, with tabs between them; got {len(cells)} columns.")
    if len(cells) != columns:
        raise DataError(f"{place}: expected {columns} columns, as in the first row; got {len(cells)}.")
    if columns == 2:
        return Pair(*sentences(cells[0], cells[1], place), kind=kind)
    prefix, right, wrong = cells
    if not right or not wrong:
        raise DataError(
            f"{place}: expected a right and a wrong form; the {'wrong' if right else 'right'} one is empty."
        )
    if right == wrong:
        raise DataError(f"{place}: expected two forms that differ; got {files.short(right)!r} twice.")
    return Pair(prefix, right, wrong, kind)


def _alike(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many they begin with alike."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(a, b, strict=False)))


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if known else None
