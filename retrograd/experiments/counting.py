"""A run of a model that counts: the text is read once, nothing is differentiated, and nothing reaches back.

    for event in counting(settings):  show(event)        Finished

Its folder is that of any other run, with the tables in place of checkpoints.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retrograd import config, runs
from retrograd.errors import ConfigError, RunError
from retrograd.experiments import at_once, generation
from retrograd.experiments.build import COUNTS, load_with_tokenizer
from retrograd.experiments.events import Finished
from retrograd.experiments.objective import Evaluation, figures
from retrograd.experiments.success import of_pairs
from retrograd.experiments.work import with_paths
from retrograd.models import NGram
from retrograd.models.arpa import lines
from retrograd.models.ngram import Ints, Marks
from retrograd.reports import Grid
from retrograd.tasks import make_task
from retrograd.tasks.language import Language
from retrograd.tasks.window import Stream

LENGTH = 100  # tokens of what it writes
READ = {  # the keys of each section that have an effect; no text may be shorter than the window
    "model": {"kind", "order"},
    "training": {"seed", "carry", "window"},
    "measure": set[str](),
}


def counting(settings: config.Config, *, out: str | Path | None = None) -> Iterator[Finished]:
    """The events of a new run, which are one. Raises ConfigError for a key that would have no effect."""
    if (name := settings.task.name) not in config.TEXTS:
        raise ConfigError(f"An n-gram model reads text; it cannot learn the task {name!r}. Leave --model out.")
    at_once.refuse_idle(settings, READ, "an n-gram model")
    settings = settings.model_copy(update={"data": with_paths(settings.data)})
    if out is not None:
        runs.refuse_if_taken(Path(out))
    task = make_task(settings)
    assert isinstance(task, Language)
    models = [fitted(task, n) for n in range(1, settings.model.order + 1)]
    model = models[-1]
    validation, test = (read(model, stream, carry=task.carry) for stream in (task.valid, task.test))
    sample = generation.sample(model, task.tokenizer, length=LENGTH, seed=settings.training.seed, anew=not task.carry)
    found = of_pairs(model, task)
    yield at_once.written(
        settings,
        task,
        (COUNTS, model.state()),
        out=out,
        subject=_subject(model, task),
        figures={"validation nats": validation.loss} | figures(test, task.unit) | found.figures,
        validation=validation.loss,
        test=test,
        grids={"What each order is worth": by_order(task, models)} | found.grids,
        note="It counts: nothing before the tokens that it looks back on has any influence, and there is no gradient.",
        sample=sample,
    )


def fitted(task: Language, order: int) -> NGram:
    ids, starts = _arrays(task.train, carry=task.carry)
    return NGram.fit(ids, starts, order=order, vocabulary=task.vocabulary)


def read(model: NGram, text: Stream, *, carry: bool) -> Evaluation:
    """The text in one piece, each token counted once; how many are named right is not asked of it."""
    log_p = model.log_probabilities(*_arrays(text, carry=carry))
    return Evaluation(-float(log_p.mean()), len(log_p), math.nan)


def by_order(task: Language, models: Sequence[NGram]) -> Grid:
    """Each of the models, of orders 1, 2 ..., on the test text; the bytes are those of all orders up to it."""
    rows = []
    for n, model in enumerate(models, start=1):
        perplexity = math.exp(read(model, task.test, carry=task.carry).loss)
        unseen = model.unseen(*_arrays(task.test, carry=task.carry))[-1]
        rows.append((float(n), perplexity, unseen, float(len(model.orders[-1].keys)), float(model.size)))
    return Grid(("order", "perplexity", "share never seen", "n-grams", "bytes"), tuple(rows))


def to_arpa(path: str | Path, file: str | Path, *, force: bool = False) -> Path:
    """Write the model of a run as an ARPA file, whole or not at all.

    Raises RunError where the run's model does not count, UsageError where the file cannot be written or is
    there, unless it may be written over, and where two types would have one name there.
    """
    run, file = runs.open_run(path), Path(file)
    kind = run.config().model.kind
    if kind != "ngram":
        raise RunError(f"{run.path} holds a {kind} model; only one of n-grams can be written as ARPA.")
    runs.refuse_file(file, force=force, example="model.arpa")
    model, tokenizer = load_with_tokenizer(run.path)
    assert isinstance(model, NGram)
    text = "".join(f"{line}\n" for line in lines(model, tokenizer.names))
    runs.make_folder(file.parent)
    runs.write(file, text)
    return file


def _arrays(text: Stream, *, carry: bool) -> tuple[Ints, Marks]:
    """Token ids, and where the history ends: nowhere but at the beginning where it is carried on."""
    starts = text.starts.numpy()
    return text.ids.numpy(), np.zeros_like(starts) if carry else starts


def _subject(model: NGram, task: Language) -> dict[str, str | int | float | None]:
    order = len(model.orders)
    return {
        "task": task.settings.task.name,
        "model": f"{order}-gram",
        "types": task.vocabulary,
        "n-grams": sum(len(one.keys) for one in model.orders),
        "bytes": model.size,
        "looks back": order - 1,
    }
