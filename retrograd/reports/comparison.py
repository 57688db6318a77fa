"""Several models on the same data, as one value; the table, the page and the pictures are drawn from it.

Of each model there is one run for each seed; what counts is the same for every seed and has one. Intervals are 95 %
intervals over the seeds. JSON out, as of a report: NaN and infinity by name.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from retrograd import runs
from retrograd.measures import Estimate

SCHEMA = 1
LARGEST = 709.0  # e to the power of more is beyond a float


@dataclass(frozen=True)
class Figure:
    """What is compared, on the test data."""

    name: str  # "perplexity"
    key: str  # what a report calls it: "test nats"
    rises: bool  # is more better?
    exponential: bool = False  # is it e to the power of what the report has, and differences are taken of?

    def of(self, x: float) -> float:
        """What is shown for what a report has; infinite where it is beyond a float."""
        if not self.exponential:
            return x
        return math.exp(x) if x < LARGEST else math.inf


@dataclass(frozen=True)
class Middle:
    """Of several runs the middle one, the lower of two, and the range. In steps; `beyond`: more than that, as far as
    could be measured."""

    value: float
    low: float
    high: float
    beyond: bool = False
    highest_beyond: bool = False


@dataclass(frozen=True)
class Outcome:
    """One run."""

    name: str  # of its folder
    model: str
    seed: int
    status: str  # "finished", "failed", "preempted", "killed", "running", or "not begun"
    reason: str = ""  # why it failed
    figure: float | None = None  # as a report has it, and as differences are taken of it: nats for a perplexity
    size: int | None = None  # how many parameters, n-grams or word counts
    start: str | None = None  # horizon: "23", ">192", "NaN"
    end: str | None = None
    context: dict[str, Any] | None = None  # steps, more, why
    speed: float | None = None  # tokens per second
    not_finite: int | None = None  # the first step that was skipped because its loss or gradient was not finite
    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Standing:
    """One model, over its seeds."""

    model: str
    outcomes: tuple[Outcome, ...]
    counted: bool  # made at once from the data, the same for every seed
    size: int | None
    unit: str  # of the size: "parameters", "n-grams", "word counts"
    test: Estimate | None  # the figure, of the runs that finished
    start: Middle | None  # horizon
    end: Middle | None
    context: Middle | None  # steps of the past that are used
    why: str  # the context was not measured
    speed: float | None  # the median
    steps: int | None  # the median

    @property
    def finished(self) -> int:
        return sum(one.status == "finished" for one in self.outcomes)

    @property
    def not_finite(self) -> int | None:
        """The earliest over the seeds."""
        return min((one.not_finite for one in self.outcomes if one.not_finite is not None), default=None)


@dataclass(frozen=True)
class Pair:
    """Two models over the seeds that both finished: the figure of the first less that of the second, nats for
    perplexities."""

    first: str
    second: str
    difference: Estimate
    seeds: int
    apart: bool  # does the interval leave 0 out?


@dataclass(frozen=True)
class Course:
    """A validation figure on its way, the mean and the range over the seeds."""

    at: tuple[float, ...]  # steps or minutes
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    title: str
    folder: str
    task: str
    budget: str  # "500 steps", "2 minutes"
    seeds: tuple[int, ...]
    workers: int  # runs at a time
    figure: Figure
    standings: tuple[Standing, ...]  # in the order asked for
    pairs: tuple[Pair, ...]
    said: tuple[str, ...]  # what is not distinguishable, and what else must be known to read the table
    courses: dict[str, Course] = field(default_factory=dict)  # by model
    course: str = ""  # what they show: "validation, nats per token"
    over: str = "steps"  # or "minutes"
    config: Mapping[str, Any] = field(default_factory=dict)  # what all share
    data: str = ""  # fingerprint
    schema: int = SCHEMA

    @property
    def planned(self) -> int:
        return sum(len(standing.outcomes) for standing in self.standings)

    @property
    def finished(self) -> int:
        return sum(standing.finished for standing in self.standings)

    @property
    def ranked(self) -> list[Standing]:
        """The best first; those without a figure last."""
        known = [s for s in self.standings if s.test]
        order = sorted(known, key=lambda s: s.test.value if s.test else 0.0, reverse=self.figure.rises)
        return [*order, *(s for s in self.standings if not s.test)]

    def to_json(self) -> str:
        return runs.to_json(asdict(self), indent=1)
