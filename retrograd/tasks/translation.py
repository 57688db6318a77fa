"""Translation: a sentence is read to its end, then another is written.

    data.train     a file of pairs, source TAB target; without one, dates and numbers are written out (numerals.py)
    need           the middle source's length: its first word must reach the first word that is written

Validation and test are files of their own, or the last task.held_out pairs each (one in twenty where that is not
said). What a word is, and how it comes back to be written, is said in written.py; data.vocabulary is that of each side.
"""

from statistics import median

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import ConfigError, DataError
from retrograd.tasks import tables, written
from retrograd.tasks.collected import Collection, Example
from retrograd.tasks.numerals import pairs as numerals
from retrograd.tasks.tables import Row, Splits
from retrograd.tasks.tokenizers import NONE, Fitted, Tokenizer
from retrograd.tasks.window import Sizes

HOLDS = "a sentence and its translation"
TRAINED, HELD_OUT, SEED = 10_000, 500, 5_000_011  # of the generated set, which is the same for every run


def translation(settings: config.Config, fitted: Fitted = NONE) -> Collection:
    """The pairs as examples. `fitted`: of the target and of the source, fitted before.

    Raises DataError for rows that are no pairs, UsageError for keys that do not fit.
    """
    if settings.task.length is not None:
        raise ConfigError("A sentence is as long as it is: leave task.length out for the task translation.")
    splits = pairs(settings)
    target = fitted[0] or written.fit([row.right for row in splits.train], settings.data)
    source = fitted[1] or written.fit([row.left for row in splits.train], settings.data)
    train, valid, test = ([_example(row, source, target) for row in split] for split in splits)
    return Collection(
        train,
        valid,
        test,
        Sizes(target.size, target.size, source=source.size),
        guess=written.guess(train),
        need=int(median(len(e.source) for e in train if e.source is not None)),
        unit=target.unit,
        tokenizer=target,
        source_tokenizer=source,
        written=tuple((row.left, row.right) for row in splits.test),
    )


def pairs(settings: config.Config) -> Splits:
    """The sentences in three splits, source on the left. Raises DataError."""
    data, held_out = settings.data, settings.task.held_out
    if not tables.given(settings):
        return _generated(settings.task.examples or TRAINED, held_out or HELD_OUT)
    found = [row for path in data.train for row in tables.rows(path, holds=HOLDS)]
    train, *rest = written.cut(found, data, held_out)
    own = (tables.rows(path, holds=HOLDS) if path else None for path in (data.valid, data.test))
    valid, test = (cut if rows is None else rows for rows, cut in zip(own, rest, strict=True))
    return Splits(train, valid, test)


def source_ids(text: str, tokenizer: Tokenizer) -> Tensor:
    """A sentence as a model reads it, (S,). Raises DataError where there is nothing to read."""
    if not text.strip():
        raise DataError("Expected a sentence to translate, got an empty one.")
    return torch.tensor(written.ids(text, tokenizer))


def _example(row: Row, source: Tokenizer, target: Tokenizer) -> Example:
    return written.example(source_ids(row.left, source), row.right, target)


def _generated(train: int, held_out: int) -> Splits:
    """What is held out is drawn first, so that it is the same however much is trained on."""
    made = numerals(train + 2 * held_out, torch.Generator().manual_seed(SEED))
    rows = [Row(i, left, right) for i, (left, right) in enumerate(made, start=1)]
    return Splits(rows[2 * held_out :], rows[held_out : 2 * held_out], rows[:held_out])
