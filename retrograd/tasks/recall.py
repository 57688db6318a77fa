"""Delayed recall over a known gap: the shortest test of memory.

    step    1        2 ... gap        gap + 1
    input   symbol   noise            ?
    target                            the symbol

The loss is asked on the last step alone, so its gradient must travel `gap` steps to reach the symbol. Guessing
costs ln(symbols). After Hochreiter and Schmidhuber (1997), experiment 2.
"""

import hashlib
from collections.abc import Iterator
from itertools import count

import torch

from retrograd import config
from retrograd.errors import UsageError
from retrograd.tasks.tokenizers import Tokenizer
from retrograd.tasks.window import IGNORED, Window

NOISE = 8  # distinct distractors
EPOCH = 100  # steps: examples are drawn afresh, so an epoch is only a unit
EXAMPLES = 256  # sequences in the validation set, and in the test set


class Recall:
    hits = True  # accuracy is the figure that says whether it is learned
    unit = "answer"
    tokenizer = None

    def __init__(self, settings: config.Config, fitted: Tokenizer | None = None) -> None:
        if settings.data.train:
            raise UsageError("Delayed recall makes its own examples; leave the text files out, or task=language.")
        self.settings = settings
        self.symbols, self.gap = settings.recall.symbols, settings.recall.gap
        self.need: int | None = self.gap
        self.vocabulary = self.symbols + NOISE + 1
        self.fingerprint = hashlib.sha256(f"recall {self.symbols} {self.gap} {NOISE}".encode()).hexdigest()

    @property
    def test_tokens(self) -> int:
        return EXAMPLES

    def training(self, start: int = 0) -> Iterator[Window]:
        """Batches without end, from the `start`-th (from 0) on: those before it are drawn and passed over."""
        generator = torch.Generator().manual_seed(self.settings.training.seed)
        for step in count(1):
            window = self.examples(self.settings.training.batch, generator, epoch=step / EPOCH)
            if step > start:
                yield window

    def validation(self) -> Iterator[Window]:
        yield self.examples(EXAMPLES, torch.Generator().manual_seed(1_000_003))

    def testing(self) -> Iterator[Window]:
        yield self.examples(EXAMPLES, torch.Generator().manual_seed(2_000_003))

    def probe(self) -> Window:
        return self.examples(self.settings.measure.sequences, torch.Generator().manual_seed(3_000_017))

    def examples(self, batch: int, generator: torch.Generator, *, epoch: float = 0.0) -> Window:
        """`batch` sequences of gap + 1 steps."""
        symbol = torch.randint(self.symbols, (batch,), generator=generator)
        inputs = torch.randint(self.symbols, self.symbols + NOISE, (self.gap + 1, batch), generator=generator)
        inputs[0] = symbol
        inputs[-1] = self.symbols + NOISE
        targets = torch.full_like(inputs, IGNORED)
        targets[-1] = symbol
        starts = torch.zeros_like(inputs, dtype=torch.bool)
        starts[0] = True
        return Window(inputs, targets, starts, epoch)
