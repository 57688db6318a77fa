"""A run of naive Bayes on a task that gives each text one label: the words count, and their order does not.

Words that are not in the vocabulary, and a text's end, are left out, in training and afterwards: a text of which no
word is known gets the classes' own shares.

for event in bagging(settings):  show(event)        Finished
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from retrograd import config, runs
from retrograd.errors import ConfigError, RunError
from retrograd.experiments import at_once
from retrograd.experiments.events import Finished
from retrograd.experiments.objective import Evaluation, figures
from retrograd.experiments.success import HEADS, row
from retrograd.experiments.work import with_paths
from retrograd.models import NaiveBayes
from retrograd.reports import Grid
from retrograd.runs import Run
from retrograd.tasks import make_task
from retrograd.tasks.collected import Collected, Example
from retrograd.tasks.tokenizers import Tokenizer
from retrograd.tasks.window import IGNORED

BAG = "naive_bayes.safetensors"
READ = {"model": {"kind"}, "training": {"seed", "batch"}, "measure": set[str]()}  # keys of each section with an effect
NOTE = "It counts words: their order has no influence, and there is no gradient."


def bagging(settings: config.Config, *, out: str | Path | None = None) -> Iterator[Finished]:
    """The events of a new run, which are one. Raises ConfigError for a task that is none of a label for a text."""
    at_once.refuse_idle(settings, READ, "naive Bayes")
    settings = settings.model_copy(update={"data": with_paths(settings.data)})
    if out is not None:
        runs.refuse_if_taken(Path(out))
    task = make_task(settings)
    if not (isinstance(task, Collected) and _one_label(task.collection.train)):
        name = settings.task.name
        raise ConfigError(f"Naive Bayes gives a text one label; it cannot learn the task {name!r}. Leave --model out.")
    c = task.collection
    texts, labels = _read(c.train, c.tokenizer)
    model = NaiveBayes.fit(texts, labels, vocabulary=c.sizes.inputs, classes=c.sizes.outputs)
    validation, test = (judged(model, split, c.tokenizer) for split in (c.valid, c.test))
    asked, groups = c.grouped_by, c.groups or {}
    rows = tuple(row(name, judged(model, examples, c.tokenizer)) for name, examples in groups.items())
    yield at_once.written(
        settings,
        task,
        (BAG, model.state()),
        out=out,
        subject={
            "task": settings.task.name,
            "model": "naive Bayes",
            "types": c.sizes.inputs,
            "labels": c.sizes.outputs,
            "bytes": model.size,
        },
        figures={"validation nats": validation.loss} | figures(test, task.unit, hits=True),
        validation=validation.loss,
        test=test,
        grids={f"Success by {asked}": Grid((asked, *HEADS), rows)} if rows else {},
        note=NOTE,
    )


def load_bag(run: Run) -> NaiveBayes:
    """Raises RunError where the tables were cut, altered or swapped."""
    file = run.kept(BAG)
    try:
        return NaiveBayes.restore(load_file(file))
    except SafetensorError as error:
        raise RunError(f"{file} is no file of tables: {error}.") from None


def words(ids: Tensor, tokenizer: Tokenizer | None) -> list[int]:
    """What counts of a text: its tokens but for the unknown ones and its end."""
    left_out = {*tokenizer.never, tokenizer.first} if tokenizer else set()
    return [i for i in ids.tolist() if i not in left_out]


def judged(model: NaiveBayes, examples: Sequence[Example], tokenizer: Tokenizer | None) -> Evaluation:
    texts, labels = _read(examples, tokenizer)
    log_p = model.log_probabilities(texts)
    chosen = log_p[np.arange(len(labels)), labels]
    right = float((log_p.argmax(1) == labels).mean())
    return Evaluation(-float(chosen.mean()), len(labels), right, right)


def _one_label(examples: Sequence[Example]) -> bool:
    """Are token ids read, and one thing asked, behind the last of them?"""
    first = examples[0]
    asked = first.targets != IGNORED
    return first.source is None and not first.inputs.is_floating_point() and int(asked.sum()) == 1 and bool(asked[-1])


def _read(examples: Sequence[Example], tokenizer: Tokenizer | None) -> tuple[list[list[int]], list[int]]:
    return [words(e.inputs, tokenizer) for e in examples], [int(e.targets[-1]) for e in examples]
