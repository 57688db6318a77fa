"""What is learned, and the lag it needs. Every entry of TASKS goes through one battery (tests/tasks)."""

from retrograd import config
from retrograd.errors import UnknownName
from retrograd.tasks.language import Language
from retrograd.tasks.recall import Recall
from retrograd.tasks.tokenizers import Tokenizer

Task = Language | Recall
TASKS: dict[str, type[Task]] = {"language": Language, "recall": Recall}


def make_task(settings: config.Config, tokenizer: Tokenizer | None = None) -> Task:
    """The task that the config names, with its data read. Raises UnknownName, DataError.

    `tokenizer`: one that was fitted before, instead of fitting one to the training text.
    """
    if settings.task not in TASKS:
        raise UnknownName("task", settings.task, TASKS)
    return TASKS[settings.task](settings, tokenizer)
