"""A task whose examples are drawn afresh as they are needed, and never seen twice.

    training     fresh, from the run's seed                  validation, test     fixed, the same for every run

Success is told by length on fresh sequences of each of the problem's lengths.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Generator, Tensor

from retrograd import config
from retrograd.errors import ConfigError, UsageError
from retrograd.tasks.window import Sizes, Window

EPOCH = 100  # steps: examples are drawn afresh, so an epoch is only a unit
VALIDATED = 256  # sequences
CHUNK = 500  # sequences that are tested at a time
VALID_SEED, TEST_SEED, PROBE_SEED, LENGTH_SEED = 1_000_003, 2_000_003, 3_000_017, 4_000_037


@dataclass(frozen=True)
class Problem:
    """What is drawn and what is asked.

    `draw(batch, generator, length)` gives inputs and targets of so many sequences, as in a Window; every sequence
    begins at a zero state.
    """

    draw: Callable[[int, Generator, int], tuple[Tensor, Tensor]]
    sizes: Sizes
    length: int
    need: Callable[[int], int]  # steps that a gradient must reach back, by length
    guess: float  # loss of the best answer that looks at no input
    lengths: tuple[int, ...]  # by which success is told
    shortest: int  # length
    tested: int = 10_000  # fresh sequences
    answers: int = 1  # asked of each
    counts: str = "length"  # what a length is: "gap", "blanks"
    version: str = ""  # of the definition, with all that the config chose of it but the length


class Drawn:
    """The task of a problem. Raises UsageError for data that it would ignore, ConfigError for too short a length."""

    hits = True  # accuracy is the figure that says whether it is learned
    unit = "answer"
    tokenizer = None
    source_tokenizer = None
    labels: tuple[str, ...] = ()
    carries = False  # does the state go on from window to window?

    def __init__(self, settings: config.Config, problem: Problem) -> None:
        name = settings.task.name
        if settings.data.train:
            raise UsageError(f"The task {name} makes its own examples; leave the files out, or choose another --task.")
        if problem.length < problem.shortest:
            raise ConfigError(
                f"The task {name} needs task.length of {problem.shortest} at least; got {problem.length}."
            )
        self.settings, self.problem, self.sizes = settings, problem, problem.sizes
        self.need: int | None = problem.need(problem.length)
        self.guess = problem.guess
        made = f"{name} {problem.length} {problem.sizes} {problem.version}"
        self.fingerprint = hashlib.sha256(made.encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        return {}

    @property
    def test_tokens(self) -> int:
        return self.problem.tested * self.problem.answers

    def training(self, start: int = 0) -> Iterator[Window]:
        """Batches without end, from the `start`-th (from 0) on: those before it are drawn and passed over."""
        generator = _seeded(self.settings.training.seed)
        for step in count(1):
            window = self.examples(self.settings.training.batch, generator, epoch=step / EPOCH)
            if step > start:
                yield window

    def validation(self) -> Iterator[Window]:
        yield self.examples(VALIDATED, _seeded(VALID_SEED))

    def testing(self) -> Iterator[Window]:
        return self._fresh(self.problem.length, self.problem.tested, TEST_SEED)

    def probe(self) -> Window:
        return self.examples(self.settings.measure.sequences, _seeded(PROBE_SEED))

    def groups(self) -> tuple[str, Iterator[tuple[int, Iterator[Window]]]]:
        """What a length is, and each with as many fresh sequences as are validated on."""
        lengths = sorted({*self.problem.lengths, self.problem.length})
        return self.problem.counts, ((n, self._fresh(n, VALIDATED, LENGTH_SEED)) for n in lengths)

    def examples(self, batch: int, generator: Generator, *, epoch: float = 0.0, length: int | None = None) -> Window:
        inputs, targets = self.problem.draw(batch, generator, length or self.problem.length)
        starts = torch.zeros(inputs.shape[:2], dtype=torch.bool)
        starts[0] = True
        return Window(inputs, targets, starts, epoch)

    def _fresh(self, length: int, sequences: int, seed: int) -> Iterator[Window]:
        generator = _seeded(seed)
        for begin in range(0, sequences, CHUNK):
            yield self.examples(min(CHUNK, sequences - begin), generator, length=length)


def _seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)
