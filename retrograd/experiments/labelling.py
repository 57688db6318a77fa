"""Texts of one's own, labelled by a run that has learned to: a label for each text, or for each of its words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from retrograd import runs
from retrograd.errors import DataError, RunError
from retrograd.experiments import bag
from retrograd.experiments.build import LABELS, load, tokenizers_of
from retrograd.experiments.objective import answers, at_rest
from retrograd.runs import Run
from retrograd.tasks.sentiment import encoded as whole
from retrograd.tasks.tagging import encoded as by_word
from retrograd.tasks.tokenizers import Tokenizer
from retrograd.tasks.window import Window

READS = {"sentiment": whole, "tagging": by_word}  # how the texts of a task are read


@dataclass(frozen=True)
class Labelled:
    """What was read, what it is, and how sure the model is of that, 0 to 1."""

    text: str  # the whole of it, or one word
    label: str
    probability: float


def labels_of(run: Run) -> tuple[str, ...]:
    """Raises RunError where the file was cut, altered or swapped."""
    file = run.kept(LABELS)
    try:
        return tuple(map(str, json.loads(file.read_text(encoding="utf-8"))))
    except (ValueError, TypeError) as error:
        raise RunError(f"{file} is no list of labels ({error}).") from None


def label(path: str | Path, texts: Sequence[str]) -> list[list[Labelled]]:
    """Of each text its one label, or those of its words, by the best model of the run.

    Raises RunError for a run that labels no text, DataError for a text without words.
    """
    run = runs.open_run(path)
    task = run.config().task.name
    if task not in READS:
        raise RunError(f"{run.path} has learned the task {task}; only {' and '.join(READS)} give labels to texts.")
    tokenizer, _ = tokenizers_of(run)
    assert tokenizer is not None
    names = labels_of(run)
    read = [READS[task](text, tokenizer) for text in texts]
    for text, ids in zip(texts, read, strict=True):
        if not text.split() or not len(ids):
            raise DataError(f"There is no word to be read in {text!r}.")
    log_p = _log_p(run, read, tokenizer)
    if task == "sentiment":
        return [[_likeliest(text, row[-1], names)] for text, row in zip(texts, log_p, strict=True)]
    return [
        [_likeliest(word, row, names) for word, row in zip(text.split(), rows, strict=True)]
        for text, rows in zip(texts, log_p, strict=True)
    ]


def _log_p(run: Run, read: Sequence[Tensor], tokenizer: Tokenizer) -> list[Tensor]:
    """(T, labels) of each text."""
    if run.config().model.kind == "naive-bayes":
        rows = torch.from_numpy(bag.load_bag(run).log_probabilities([bag.words(ids, tokenizer) for ids in read]))
        return list(rows[:, None])
    model = load(run.path)
    with torch.no_grad(), at_rest(model):
        return [answers(model, _window(ids))[0][:, 0].log_softmax(-1) for ids in read]


def _window(ids: Tensor) -> Window:
    inputs = ids[:, None]
    return Window(inputs, torch.zeros_like(inputs), None, 0.0, lengths=torch.tensor([len(ids)]))


def _likeliest(text: str, log_p: Tensor, names: Sequence[str]) -> Labelled:
    best = int(log_p.argmax())
    return Labelled(text, names[best], float(log_p[best].exp()))
