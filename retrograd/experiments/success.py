"""What a trained model gets right, by what is asked of it: by length, or by group of the test set."""

from collections.abc import Iterable

import torch
from torch import nn

from retrograd.experiments.objective import evaluate
from retrograd.reports import Grid
from retrograd.tasks import Task
from retrograd.tasks.window import Window

HEADS = ("answers right", "sequences all right", "answers")


def by_group(model: nn.Module, task: Task, device: torch.device) -> dict[str, Grid]:
    """A table for a task whose tests are told apart, on sequences that it was not trained on; else none."""
    asked, groups = task.groups()
    rows = tuple(_row(name, model, windows, device) for name, windows in groups)
    return {f"Success by {asked}": Grid((asked, *HEADS), rows)} if rows else {}


def _row(name: str | int, model: nn.Module, windows: Iterable[Window], device: torch.device) -> tuple[str | float, ...]:
    found = evaluate(model, windows, device)
    return (name, found.accuracy, found.whole, found.tokens)
