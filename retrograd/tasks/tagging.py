"""Tagging: every word of a sentence gets a tag, as it is read.

    step    1         2       3     4    5
    input   Teddy     bears   are   on   sale
    target  product   product other other other

With data.train, rows of words TAB tags, both with spaces between and as many of the one as of the other; otherwise
generated sentences (namesakes.py), in which some words are decided by what stands on their right, some by what stands
on their left. There task.length is the most words between such a word and what decides it. The gradient must travel
from the one to the other, in a bidirectional network from either side. The best answer that looks at nothing costs the
entropy of the training tags.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks.collected import Collection, Example
from retrograd.tasks.grammar import Dice
from retrograd.tasks.guess import entropy
from retrograd.tasks.namesakes import BLOCK, CONTEXTS, TAGS, Context, Sentence, distinct
from retrograd.tasks.tables import Row, given, splits
from retrograd.tasks.tokenizers import Tokenizer, Word
from retrograd.tasks.window import IGNORED, Sizes

TRAINED, VALIDATED, TESTED = 8_000, 800, 1_600  # sentences that are generated
SEED = 8_000_009
GAP = 4
HOLDS = "words and their tags"
Pair = tuple[Sequence[str], Sequence[str]]  # words and their tags


def tagging(settings: config.Config, tokenizer: Tokenizer | None = None) -> Collection:
    """Raises DataError for rows that are no tagged words, UsageError for keys that do not fit."""
    if given(settings):
        if settings.task.length is not None:
            raise UsageError("task.length is for the sentences that tagging makes itself; leave it out, or the files.")
        return _read(settings.data, tokenizer)
    return _generated(settings.task, tokenizer)


def encoded(text: str, tokenizer: Tokenizer) -> Tensor:
    """(T,): what a model for the task reads, one step for each word."""
    return torch.tensor(tokenizer.encode(" ".join(text.split()))[:-1])  # without the line's end


def _read(data: config.Data, tokenizer: Tokenizer | None) -> Collection:
    found = splits(data, holds=HOLDS)
    train, valid, test = ([_pair(row) for row in rows] for rows in found)
    tags = tuple(sorted({tag for _, tags in train for tag in tags}))
    if len(tags) == 1:
        raise DataError(f"{found.train[0].path}: expected two tags at least; all words bear {tags[0]!r}.")
    for row, pair in zip([*found.valid, *found.test], [*valid, *test], strict=True):
        if new := set(pair[1]) - set(tags):
            raise DataError(f"{row.place}: no word to train on bears the tag {min(new)!r}; got {', '.join(tags)}.")
    tokenizer = tokenizer or Word.fit([" ".join(words) for words, _ in train], data.vocabulary)
    return _collection([train, valid, test], tags, tokenizer)


def _pair(row: Row) -> Pair:
    words, tags = row.left.split(), row.right.split()
    if len(words) != len(tags):
        raise DataError(f"{row.place}: expected one tag for each word; got {len(words)} words and {len(tags)} tags.")
    return words, tags


def _generated(task: config.Task, tokenizer: Tokenizer | None) -> Collection:
    """The test set is drawn first, so that it is the same whatever the number of examples."""
    examples, gap = task.examples or TRAINED, task.length or GAP
    if examples % BLOCK:
        raise ConfigError(
            f"Sentences to be tagged are generated in blocks of {BLOCK}, so that all kinds are met; task.examples must "
            f"be a multiple of it, got {examples}."
        )
    dice, seen = Dice(torch.Generator().manual_seed(SEED)), set[str]()
    test, valid, train = (distinct(count, gap, dice, seen=seen) for count in (TESTED, VALIDATED, examples))
    tokenizer = tokenizer or Word.fit([sentence.text for sentence in train], config.Data().vocabulary)
    pairs = [[(sentence.words, sentence.tags) for sentence in some] for some in (train, valid, test)]
    collection = _collection(pairs, TAGS, tokenizer)
    return replace(
        collection,
        need=max(map(reach, test[::2], test[1::2])),
        groups={context: _asked(collection.test, test, context) for context in CONTEXTS},
    )


def _collection(pairs: Sequence[Sequence[Pair]], tags: tuple[str, ...], tokenizer: Tokenizer) -> Collection:
    train, valid, test = ([_example(pair, tags, tokenizer) for pair in some] for some in pairs)
    return Collection(
        train,
        valid,
        test,
        Sizes(tokenizer.size, len(tags)),
        guess=entropy(chain.from_iterable(tags for _, tags in pairs[0])),
        need=None,  # a sentence does not say which of its words decide
        unit="word",
        tokenizer=tokenizer,
        grouped_by="context",
        labels=tags,
    )


def _example(pair: Pair, tags: Sequence[str], tokenizer: Tokenizer) -> Example:
    words, given = pair
    numbers = {tag: i for i, tag in enumerate(tags)}
    return Example(encoded(" ".join(words), tokenizer), torch.tensor([numbers[tag] for tag in given]))


def _asked(examples: Sequence[Example], sentences: Sequence[Sentence], context: Context) -> list[Example]:
    """The examples with nothing asked but the words that this context decides; "none": those that need none."""
    found = []
    for example, sentence in zip(examples, sentences, strict=True):
        ambiguous = torch.arange(len(example.inputs)) == sentence.place
        if context in ("none", sentence.context):
            here = ~ambiguous if context == "none" else ambiguous
            found.append(Example(example.inputs, torch.where(here, example.targets, IGNORED)))
    return found


def reach(one: Sentence, other: Sentence) -> int:
    """Steps of a pair from the ambiguous word to the nearest that decides it; 0 where there is none."""
    if one.context == "right":
        behind = zip(one.words[one.place + 1 :], other.words[other.place + 1 :], strict=False)
        return next(i for i, (a, b) in enumerate(behind, start=1) if a != b)
    before = zip(one.words[: max(one.place, 0)][::-1], other.words[: max(other.place, 0)][::-1], strict=False)
    return next((i for i, (a, b) in enumerate(before, start=1) if a != b), 0)
