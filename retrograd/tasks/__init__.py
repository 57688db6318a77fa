"""What is learned, and the lag it needs. Every entry of TASKS goes through one battery (tests/tasks).

a text, read in windows with the state carried on     Language      language agreement
examples drawn afresh, never seen twice               Drawn         recall adding copying temporal-order latch
a set of examples in three splits                     Collected     digits sentiment tagging translation captioning
"""

from collections.abc import Callable

from retrograd import config
from retrograd.errors import ConfigError, UnknownName
from retrograd.tasks import agreement
from retrograd.tasks.adding import adding
from retrograd.tasks.captioning import captioning
from retrograd.tasks.collected import Collected
from retrograd.tasks.copying import copying
from retrograd.tasks.digits import digits
from retrograd.tasks.drawn import Drawn, Problem
from retrograd.tasks.language import Language
from retrograd.tasks.latch import latch
from retrograd.tasks.recall import recall
from retrograd.tasks.sentiment import sentiment
from retrograd.tasks.tagging import tagging
from retrograd.tasks.temporal_order import temporal_order
from retrograd.tasks.tokenizers import NONE, Fitted
from retrograd.tasks.translation import translation

Task = Language | Drawn | Collected


def _drawn(problem: Callable[[config.Task], Problem]) -> Callable[[config.Config, Fitted], Task]:
    return lambda settings, fitted: Drawn(settings, problem(settings.task))


TASKS: dict[str, Callable[[config.Config, Fitted], Task]] = {
    "language": lambda settings, fitted: Language(settings, fitted[0]),
    "agreement": lambda settings, fitted: agreement.written(settings, fitted[0]),
    "recall": _drawn(recall),
    "adding": _drawn(adding),
    "copying": _drawn(copying),
    "temporal-order": _drawn(temporal_order),
    "latch": _drawn(latch),
    "digits": lambda settings, fitted: digits(settings),
    "sentiment": lambda settings, fitted: Collected(settings, sentiment(settings, fitted[0])),
    "tagging": lambda settings, fitted: Collected(settings, tagging(settings, fitted[0])),
    "translation": lambda settings, fitted: Collected(settings, translation(settings, fitted), hits=False),
    "captioning": lambda settings, fitted: Collected(settings, captioning(settings, fitted)),
}

LENGTH = {"task.length"}  # also where a task refuses it, in its own words
TEXT = {"data.level", "data.vocabulary", "training.window", "training.carry"}
PAIRS = {"data.level", "data.vocabulary", "task.examples", "task.held_out"}
READ: dict[str, set[str]] = {  # of the keys that not every task reads
    "language": TEXT | {"data.document_separator"},
    "agreement": TEXT | LENGTH | {"task.examples"},
    "recall": LENGTH | {"task.symbols"},
    "adding": LENGTH,
    "copying": LENGTH | {"task.symbols"},
    "temporal-order": LENGTH | {"task.bits"},
    "latch": LENGTH | {"task.symbols"},
    "digits": LENGTH | {"task.permuted"},
    "sentiment": LENGTH | {"task.examples"},
    "tagging": LENGTH | {"task.examples"},
    "translation": LENGTH | PAIRS,
    "captioning": LENGTH | PAIRS,
}


def refuse_unread(settings: config.Config) -> None:
    """Raises ConfigError for a key that is given, and that the task does not read."""
    name = settings.task.name
    usual = config.make({"task": name})
    for key in sorted(set().union(*READ.values()) - READ.get(name, set())):
        section, field = key.split(".")
        if getattr(getattr(settings, section), field) != getattr(getattr(usual, section), field):
            raise ConfigError(f"{key} has no effect on the task {name}; leave it out.")


def make_task(settings: config.Config, fitted: Fitted = NONE) -> Task:
    """The task that the config names, with its data read. Raises UnknownName, ConfigError, DataError.

    `fitted`: tokenizers that were fitted before, instead of fitting them to the training data.
    """
    if settings.task.name not in TASKS:
        raise UnknownName("task", settings.task.name, TASKS)
    return TASKS[settings.task.name](settings, fitted)
