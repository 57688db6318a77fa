"""A sentence that is written from something else: a translation from its source, a caption from its picture.

    inputs    <eos>  w[1]  w[2]  ...  w[n]          a tokenizer's `first` stands for both ends: a line's end
    targets   w[1]   w[2]  ...   w[n]  <eos>

At word level a sentence is read in pieces (sentences.py), with capitals as they are; at every level it comes back as
it is written.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks import sentences, tables
from retrograd.tasks.collected import Example
from retrograd.tasks.guess import entropy
from retrograd.tasks.tokenizers import Tokenizer, level

LONGEST = {"word": 100, "piece": 200}  # units of one sentence that is written, by what a unit is called
ELSE = 500

Item = TypeVar("Item")


def fit(texts: Sequence[str], data: config.Data) -> Tokenizer:
    """The tokenizer of these sentences, at the level and of the size that the config names."""
    return level(data.level).fit([_line(text, data.level) for text in texts], data.vocabulary)


def ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a sentence and its end."""
    return tokenizer.encode(_line(text, tokenizer.level))


def text_of(tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """The sentence that the tokens spell, without its end."""
    spelled = tokenizer.decode(tokens)
    return sentences.joined(spelled.split()) if tokenizer.level == "word" else spelled.strip()


def longest(tokenizer: Tokenizer) -> int:
    return LONGEST.get(tokenizer.unit, ELSE)


def example(source: Tensor, text: str, tokenizer: Tokenizer) -> Example:
    targets = torch.tensor(ids(text, tokenizer))
    inputs = targets.roll(1)
    inputs[0] = tokenizer.first
    return Example(inputs, targets, source)


def guess(examples: Sequence[Example]) -> float:
    """Nats of a token when each has its share in the examples, whatever came before."""
    return entropy(token for e in examples for token in e.targets.tolist())


def cut(items: Sequence[Item], data: config.Data, held_out: int | None) -> tuple[list[Item], list[Item], list[Item]]:
    """To train, validate and test: of the splits without a file of their own the last so many items, or one in twenty.

    Raises DataError where nothing would be left to train on.
    """
    valid, test = data.valid is None, data.test is None
    if held_out is None:
        return tables.by_position(items, valid=valid, test=test)
    second = len(items) - held_out * test
    first = second - held_out * valid
    if first < 1:
        raise DataError(
            f"There are {len(items)} examples, too few to hold out {held_out} for each of validation and test; "
            "give more, or a smaller task.held_out."
        )
    return list(items[:first]), list(items[first:second]), list(items[second:])


def _line(text: str, name: str) -> str:
    """The sentence as one line, its end behind it."""
    pieces = sentences.split(text) if name == "word" else text.split()
    return " ".join(pieces) + "\n"
