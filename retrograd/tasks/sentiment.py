"""Sentiment: a text is read word by word, and the last state says which label it bears.

    step    1     2     3   ...   T
    input   it    was   not       <eos>
    target                        label

With data.train, rows of label TAB text; otherwise generated reviews, half of which no count of words can tell apart
(reviews.py). The gradient must travel back from the end to the first word in which mirrored reviews differ. The best
answer that looks at nothing costs the entropy of the training labels.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import ConfigError, DataError
from retrograd.tasks.collected import Collection, Example
from retrograd.tasks.grammar import Dice
from retrograd.tasks.guess import entropy
from retrograd.tasks.reviews import EXCHANGED, KINDS, Review, distinct
from retrograd.tasks.tables import Row, given, splits
from retrograd.tasks.tokenizers import Tokenizer, Word
from retrograd.tasks.window import IGNORED, Sizes

TRAINED, VALIDATED, TESTED = 10_000, 1_000, 2_000  # reviews that are generated
SEED = 7_000_003
LABELS = ("negative", "positive")  # of the generated reviews
HOLDS = "a label and a text"
ORDER = "order decides"  # all groups of these reviews together
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def sentiment(settings: config.Config, tokenizer: Tokenizer | None = None) -> Collection:
    """Raises DataError for rows that are no labelled texts, UsageError for keys that do not fit."""
    if settings.task.length is not None:
        raise ConfigError("A text is as long as it is: leave task.length out for the task sentiment.")
    if given(settings):
        return _read(settings.data, tokenizer)
    return _generated(settings.task.examples or TRAINED, tokenizer)


def words(text: str) -> str:
    """The words and marks of a text in lower case, with spaces between.

    >>> words("It was good, not boring!")
    'it was good , not boring !'
    """
    return " ".join(WORD.findall(unicodedata.normalize("NFC", text).lower()))


def encoded(text: str, tokenizer: Tokenizer) -> Tensor:
    """(T,): what a model for the task reads."""
    return torch.tensor(tokenizer.encode(words(text)))


def spread(rows: list[Row]) -> list[Row]:
    """In an order in which every label lies evenly from the first row to the last, also where the file is sorted by
    label, so that each part of it has about the same share of each."""
    counts, met = Counter(row.left for row in rows), Counter[str]()
    places = []
    for row in rows:
        met[row.left] += 1
        places.append((met[row.left] - 0.5) / counts[row.left])
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: (places[i], i))]


def _read(data: config.Data, tokenizer: Tokenizer | None) -> Collection:
    found = splits(data, holds=HOLDS, arranged=lambda rows: spread(_checked(rows)))
    labels = tuple(sorted({row.left for row in found.train}))
    tokenizer = tokenizer or Word.fit([words(row.right) for row in found.train], data.vocabulary)
    train, valid, test = (_examples(rows, labels, tokenizer) for rows in found)
    return Collection(
        train,
        valid,
        test,
        Sizes(tokenizer.size, len(labels)),
        guess=entropy(row.left for row in found.train),
        need=None,  # a text does not say which of its words decide
        unit="answer",
        tokenizer=tokenizer,
        labels=labels,
    )


def _checked(rows: list[Row]) -> list[Row]:
    """Raises DataError where a label stands on one row alone, or all rows bear the same."""
    counts = Counter(row.left for row in rows)
    for row in rows:
        if counts[row.left] == 1:
            raise DataError(
                f"{row.place}: expected each label on several rows; {row.left!r} stands here alone. Take the row out, "
                "or give more of its kind."
            )
    if len(counts) == 1:
        raise DataError(f"{rows[0].path}: expected two labels at least; all {len(rows)} rows bear {rows[0].left!r}.")
    return rows


def _examples(rows: Sequence[Row], labels: Sequence[str], tokenizer: Tokenizer) -> list[Example]:
    numbers = {label: i for i, label in enumerate(labels)}
    for row in rows:
        if row.left not in numbers:
            raise DataError(f"{row.place}: no row to train on bears the label {row.left!r}; got {', '.join(labels)}.")
    return [_example(encoded(row.right, tokenizer), numbers[row.left]) for row in rows]


def _example(ids: Tensor, label: int) -> Example:
    targets = torch.full_like(ids, IGNORED)
    targets[-1] = label
    return Example(ids, targets)


def _generated(examples: int, tokenizer: Tokenizer | None) -> Collection:
    """The test set is drawn first, so that it is the same whatever the number of examples."""
    if examples % 4:
        raise ConfigError(
            f"Reviews are generated in fours, two plain and two mirrored; task.examples must be a multiple of 4, got "
            f"{examples}."
        )
    dice, seen = Dice(torch.Generator().manual_seed(SEED)), set[str]()
    test, valid, train = (distinct(count, dice, seen) for count in (TESTED, VALIDATED, examples))
    tokenizer = tokenizer or Word.fit([review.text for review in train], config.Data().vocabulary)
    tested = _reviewed(test, tokenizer)
    groups: dict[str, Sequence[Example]] = {
        kind: [example for example, review in zip(tested, test, strict=True) if review.kind == kind] for kind in KINDS
    }
    return Collection(
        _reviewed(train, tokenizer),
        _reviewed(valid, tokenizer),
        tested,
        Sizes(tokenizer.size, len(LABELS)),
        guess=math.log(2),
        need=_need(tested, test),
        unit="answer",
        tokenizer=tokenizer,
        groups=groups | {ORDER: [example for kind in EXCHANGED for example in groups[kind]]},
        labels=LABELS,
    )


def _reviewed(reviews: Sequence[Review], tokenizer: Tokenizer) -> list[Example]:
    return [_example(encoded(review.text, tokenizer), int(review.good)) for review in reviews]


def _need(examples: Sequence[Example], reviews: Sequence[Review]) -> int:
    """Steps from the end of mirrored reviews, which stand side by side, to the first word in which they differ."""
    mirrored = [example.inputs for example, review in zip(examples, reviews, strict=True) if review.kind in EXCHANGED]
    pairs = zip(mirrored[::2], mirrored[1::2], strict=True)
    return max(len(one) - 1 - int((one != other).int().argmax()) for one, other in pairs)
