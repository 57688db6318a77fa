"""What a training tells whoever watches it: Planned, a Progress for each step, Evaluating, Finished; and Notes."""

from dataclasses import dataclass

from retrograd import config
from retrograd.experiments.objective import Evaluation
from retrograd.reports import Measurement, Report
from retrograd.runs import Run
from retrograd.tasks.window import Sizes
from retrograd.training.loop import Step


@dataclass(frozen=True)
class Planned:
    """What is about to be done."""

    run: Run
    settings: config.Config
    counts: dict[str, int]  # tokens by split; nothing for a task that makes its own examples
    unit: str
    sizes: Sizes
    parameters: int
    guess: float  # loss of the best answer that looks at no input: ln V
    need: int
    assumed: str | None  # what the need is supposed from, where the task does not say it
    start: Measurement | None  # None: of a model without a recurrent layer


@dataclass(frozen=True)
class Progress:
    """Where the training stands after a step."""

    step: Step
    progress: float  # share of the budget
    loss: float  # recent mean, nats per token
    clipped: float  # recent share of steps clipped
    speed: float  # tokens per second
    left: float  # seconds, estimated
    validation: Evaluation | None
    measured: Measurement | None


@dataclass(frozen=True)
class Note:
    """A sentence on something that happened on the way: training goes on from a checkpoint, or went back to one."""

    text: str


@dataclass(frozen=True)
class Finished:
    """What came of it; `status` is "finished" or "preempted"."""

    run: Run
    status: str
    steps: int
    test: Evaluation | None
    best: float | None  # validation, nats per token
    report: Report
    sample: str | None


@dataclass(frozen=True)
class Evaluating:
    """The budget is used up; the best weights now read the test data, which may take a while."""

    tokens: int


Event = Planned | Note | Progress | Evaluating | Finished
