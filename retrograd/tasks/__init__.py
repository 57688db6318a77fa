"""What is learned, and the lag it needs. Every entry of TASKS goes through one battery (tests/tasks)."""

from retrograd import config
from retrograd.errors import UnknownName
from retrograd.tasks.language import Language
from retrograd.tasks.recall import Recall

Task = Language | Recall
TASKS: dict[str, type[Task]] = {"language": Language, "recall": Recall}


def make_task(settings: config.Config) -> Task:
    """The task that the config names, with its data read. Raises UnknownName, DataError."""
    if settings.task not in TASKS:
        raise UnknownName("task", settings.task, TASKS)
    return TASKS[settings.task](settings)
