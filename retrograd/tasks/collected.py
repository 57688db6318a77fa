"""A task with a set of examples in three splits, read again and again in an order drawn for each epoch.

Sequences of one window are of similar length; what is shorter is padded behind its end, a source before its
beginning, and neither can be told from having been read alone.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks.tokenizers import Tokenizer
from retrograd.tasks.window import IGNORED, Sizes, Window

POOL = 32  # batches whose examples are sorted by length together
READ = 256  # examples that are validated or tested at a time


@dataclass(frozen=True)
class Example:
    """One sequence: inputs (T,) or (T, X), targets (T,), and its source, (S,) or an image (C, height, width)."""

    inputs: Tensor
    targets: Tensor
    source: Tensor | None = None


@dataclass(frozen=True)
class Collection:
    """All that a task is made of."""

    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Example]
    sizes: Sizes
    guess: float  # loss of the best answer that looks at no input
    need: int | None  # steps that a gradient must reach back
    unit: str  # what is asked: "answer", "word"
    tokenizer: Tokenizer | None = None  # of what is read step by step, or written
    source_tokenizer: Tokenizer | None = None
    groups: dict[str, Sequence[Example]] | None = None  # of the test set, by what they ask for
    grouped_by: str = "kind"
    labels: tuple[str, ...] = ()  # names of the answers by their number, where they are no tokens
    written: tuple[tuple[str, str], ...] = ()  # of each test example, what it is called and the sentence it asks for


class Collected:
    """The task of a collection. Raises DataError for a split without examples."""

    carries = False  # does the state go on from window to window?

    def __init__(self, settings: config.Config, collection: Collection, *, hits: bool = True) -> None:
        self.settings, self.collection, self.hits = settings, collection, hits
        self.sizes, self.guess, self.need, self.unit = (
            collection.sizes,
            collection.guess,
            collection.need,
            collection.unit,
        )
        self.tokenizer, self.source_tokenizer = collection.tokenizer, collection.source_tokenizer
        self.labels = collection.labels
        for name, split in self._splits.items():
            if not split:
                kept = ", ".join(f"{len(each)} for {split}" for split, each in self._splits.items())
                raise DataError(f"There is no example for {name}; there are {kept}. Give more data.")
        self.fingerprint = _fingerprint(self._splits)

    @property
    def _splits(self) -> dict[str, Sequence[Example]]:
        c = self.collection
        return {"train": c.train, "valid": c.valid, "test": c.test}

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(split) for name, split in self._splits.items()}

    @property
    def test_tokens(self) -> int:
        return sum(int(_asked(example.targets).sum()) for example in self.collection.test)

    def training(self, start: int = 0) -> Iterator[Window]:
        """Batches without end, epoch after epoch, from the batch `start` (from 0) on."""
        examples, t = self.collection.train, self.settings.training
        batches = math.ceil(len(examples) / t.batch)
        epoch, first = divmod(start, batches)
        while True:
            order = _order(examples, t.batch, torch.Generator().manual_seed(t.seed * 1_000_003 + epoch))
            for i in range(first, batches):
                chosen = [examples[j] for j in order[i]]
                yield together(chosen, epoch=epoch + (i + 1) / batches)
            epoch, first = epoch + 1, 0

    def validation(self) -> Iterator[Window]:
        return read(self.collection.valid)

    def testing(self) -> Iterator[Window]:
        return read(self.collection.test)

    def probe(self) -> Window:
        """The longest of the validation examples that are of one length, so that no padding is measured."""
        valid = sorted(self.collection.valid, key=_length, reverse=True)
        alike = [[e for e in valid if _length(e) == length] for length in dict.fromkeys(map(_length, valid))]
        wanted = self.settings.measure.sequences
        chosen = next((group for group in alike if len(group) >= wanted), max(alike, key=len))
        return together(chosen[:wanted])

    def groups(self) -> tuple[str, Iterator[tuple[str, Iterator[Window]]]]:
        """What tells them apart, and each with its windows."""
        return self.collection.grouped_by, ((name, read(e)) for name, e in (self.collection.groups or {}).items())


def read(examples: Sequence[Example]) -> Iterator[Window]:
    """All of them once, in windows of similar length."""
    ranked = sorted(examples, key=_length)
    for begin in range(0, len(ranked), READ):
        yield together(ranked[begin : begin + READ])


def together(examples: Sequence[Example], *, epoch: float = 0.0) -> Window:
    """The examples as one window, each with a zero state before its first step."""
    lengths = torch.tensor([len(e.inputs) for e in examples])
    steps = int(lengths.max())
    inputs = torch.stack([_behind(e.inputs, steps, 0) for e in examples], dim=1)
    fill = math.nan if examples[0].targets.is_floating_point() else IGNORED
    targets = torch.stack([_behind(e.targets, steps, fill) for e in examples], dim=1)
    starts = torch.zeros(steps, len(examples), dtype=torch.bool)
    starts[0] = True
    return Window(inputs, targets, starts, epoch, _sources(examples), lengths)


def _sources(examples: Sequence[Example]) -> Tensor | None:
    sources = [e.source for e in examples if e.source is not None]
    if not sources:
        return None
    if sources[0].dim() > 1:
        return torch.stack(sources)
    steps = max(map(len, sources))
    before = [torch.cat([x.new_full((steps - len(x),), IGNORED), x]) for x in sources]
    return torch.stack(before, dim=1)


def _behind(x: Tensor, steps: int, fill: float) -> Tensor:
    return torch.cat([x, x.new_full((steps - len(x), *x.shape[1:]), fill)])


def _order(examples: Sequence[Example], batch: int, generator: Generator) -> list[list[int]]:
    """The batches of an epoch: shuffled, sorted by length within pools, and the batches shuffled again."""
    shuffled = torch.randperm(len(examples), generator=generator).tolist()
    pools = [shuffled[i : i + POOL * batch] for i in range(0, len(shuffled), POOL * batch)]
    ranked = [j for pool in pools for j in sorted(pool, key=lambda j: _length(examples[j]))]
    batches = [ranked[i : i + batch] for i in range(0, len(ranked), batch)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _length(example: Example) -> tuple[int, int]:
    source = example.source
    return (len(source) if source is not None and source.dim() == 1 else 0, len(example.inputs))


def _asked(targets: Tensor) -> Tensor:
    return ~targets.isnan() if targets.is_floating_point() else targets != IGNORED


def _fingerprint(splits: dict[str, Sequence[Example]]) -> str:
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(name.encode())
        for example in split:
            for x in (example.source, example.inputs, example.targets):
                if x is not None:
                    digest.update(f"{x.dtype} {tuple(x.shape)}".encode() + x.contiguous().numpy().tobytes())
    return digest.hexdigest()
