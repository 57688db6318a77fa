"""Is every file of a run whole, and do they fit each other: can it be read, measured, and gone on with?

config.toml   metrics.jsonl   events.jsonl   tokenizer.json   probe.safetensors   report.json
checkpoints/latest.json, and each checkpoint: its checksums, its weights in the model of config.toml, and the
state that training goes on from in its optimiser
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retrograd import config, runs
from retrograd.errors import MissingExtra, RetrogradError, RunError
from retrograd.experiments.archive import catalogue
from retrograd.experiments.bag import BAG, load_bag
from retrograd.experiments.build import (
    COUNTS,
    LABELS,
    SOURCE,
    TOKENIZER,
    build,
    load_with_tokenizer,
    sizes_of,
    tokenizers_of,
)
from retrograd.experiments.labelling import labels_of
from retrograd.experiments.measuring import load_window
from retrograd.experiments.watching.kept import NUMBERS, TENSORS
from retrograd.reports import Report
from retrograd.runs import Run
from retrograd.tasks.window import Sizes
from retrograd.training import checkpoint, pointer, snapshot
from retrograd.training.optimizers import make_optimizer

DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)  # what reading a spoiled file raises


@dataclass(frozen=True)
class Checked:
    """One file: what is wrong with it, or nothing. A note is nothing wrong."""

    file: str
    problem: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        return self.problem or ("ok" + (f"; {self.note}" if self.note else ""))


@dataclass(frozen=True)
class Verified:
    """One run, file by file."""

    run: str
    files: tuple[Checked, ...]

    @property
    def whole(self) -> bool:
        return not any(checked.problem for checked in self.files)


def verify(name: str | Path) -> Verified:
    """Read everything in a run; what is wrong is said, not raised. Raises RunError where there is no run."""
    run = Run(catalogue.find(name))
    if not catalogue.is_run(run.path):
        raise RunError(f"{run.path} is not a run. A run is a folder made by retrograd train; it holds config.toml.")
    return Verified(str(run.path), (*_small_files(run), *_checkpoints(run), *_left_over(run)))


def _small_files(run: Run) -> Iterator[Checked]:
    yield (first := _checked("config.toml", lambda: _config(run)))
    settings = None if first.problem else run.config()
    sizes = _sizes(run)
    yield _checked("metrics.jsonl", lambda: _log(run.path / "metrics.jsonl", run.metrics, {"step"}))
    yield _checked("events.jsonl", lambda: _log(run.path / "events.jsonl", run.events, {"event", "time"}))
    if settings and settings.task.name == "watched":  # somebody's own loop: no text, no slice and no checkpoint is kept
        for name in (NUMBERS, TENSORS):
            if (run.path / name).exists():
                yield _checked(name, lambda name=name: str(run.kept(name)) and "")  # type: ignore[misc]
        yield _checked("report.json", lambda: _report(run, None))
        return
    if settings and settings.model.kind == "naive-bayes":
        yield _checked(TOKENIZER, lambda: _tokenizer(run, settings, None))
        yield _checked(LABELS, lambda: _labels(run))
        yield _checked(BAG, lambda: _bag(run))
        yield _checked("report.json", lambda: _report(run, settings))
        return
    if settings and settings.model.kind == "ngram":
        yield _checked(TOKENIZER, lambda: _tokenizer(run, settings, None))
        yield _checked(COUNTS, lambda: _tables(run))
        yield _checked("report.json", lambda: _report(run, settings))
        return
    if settings and (settings.task.name in config.TEXTS or run.keeps(TOKENIZER)):
        yield _checked(TOKENIZER, lambda: _tokenizer(run, settings, sizes))
    if run.keeps(LABELS):
        yield _checked(LABELS, lambda: _labels(run))
    if run.keeps(SOURCE):
        yield _checked(SOURCE, lambda: _source(run, sizes))
    yield _checked("probe.safetensors", lambda: _probe(run, sizes))
    yield _checked("report.json", lambda: _report(run, settings))
    yield _checked("checkpoints/latest.json", lambda: _pointer(run))


def _checked(file: str, check: Callable[[], str]) -> Checked:
    """`check` returns a note, or raises with what is wrong."""
    try:
        return Checked(file, note=check())
    except MissingExtra as error:
        return Checked(file, note=f"not checked: {error}")
    except RetrogradError as error:
        return Checked(file, problem=str(error))
    except DAMAGE as error:
        return Checked(file, problem=f"It cannot be read: {type(error).__name__} {error}.")


def _config(run: Run) -> str:
    runs.open_run(run.path).config()
    return ""


def _log(path: Path, read: Callable[[], list[dict[str, Any]]], needed: set[str]) -> str:
    if not path.exists():
        raise RunError(f"{path} is missing; every run has one from its beginning on.")
    for number, line in enumerate(read(), 1):
        if missing := needed - line.keys():
            raise RunError(f"Entry {number} of {path} has no {' and no '.join(sorted(missing))}; the file was altered.")
    tail = runs.torn(path)
    return f"the last line was cut ({len(tail)} bytes) and will be dropped" if tail else ""


def _tokenizer(run: Run, settings: config.Config, sizes: Sizes | None) -> str:
    tokenizer = tokenizers_of(run)[0]
    assert tokenizer is not None
    if settings.task.name == "language" and tokenizer.level != settings.data.level:
        raise RunError(f"Its level is {tokenizer.level}, and config.toml says {settings.data.level}.")
    return _fitting(tokenizer.size, sizes.inputs if sizes else None)


def _source(run: Run, sizes: Sizes | None) -> str:
    tokenizer = tokenizers_of(run)[1]
    assert tokenizer is not None
    return _fitting(tokenizer.size, sizes.source if sizes else None)


def _fitting(types: int, wanted: int | None) -> str:
    if wanted and types != wanted:
        raise RunError(f"It has {types} types and the checkpoints {wanted}; one is another run's.")
    return ""


def _labels(run: Run) -> str:
    labels_of(run)
    return ""


def _bag(run: Run) -> str:
    load_bag(run)
    return ""


def _tables(run: Run) -> str:
    load_with_tokenizer(run.path)
    return ""


def _probe(run: Run, sizes: Sizes | None) -> str:
    load_window(run.kept("probe.safetensors"), sizes)
    return ""


def _report(run: Run, settings: config.Config | None) -> str:
    path = run.path / "report.json"
    if not path.exists():
        if run.status() == "finished":
            raise RunError("It is missing, though the run has finished.")
        return "not written yet"
    subject = Report.from_json(path.read_text(encoding="utf-8")).subject
    for key in ("cell", "hidden", "layers"):
        if settings and key in subject and subject[key] != getattr(settings.model, key):
            wanted = getattr(settings.model, key)
            raise RunError(f"Its {key} is {subject[key]}, and config.toml says {wanted}; one of them is another run's.")
    return ""


def _pointer(run: Run) -> str:
    if not (run.checkpoints / "latest.json").exists():
        raise checkpoint.none_named(run.checkpoints)
    names = pointer.pointed(run.checkpoints).newest_first
    gone = [name for name in names if not (run.checkpoints / name).is_dir()]
    if gone or not names:
        raise RunError(f"It names {', '.join(gone)}, which is not there." if gone else "It names no checkpoint.")
    return ""


def _checkpoints(run: Run) -> Iterator[Checked]:
    for path in pointer.written(run.checkpoints):
        checked = _checked(f"checkpoints/{path.name}", lambda name=path.name: _checkpoint(run, name))  # type: ignore[misc]
        if path.exists():  # it may be a training's own, dropped meanwhile
            yield checked


def _checkpoint(run: Run, name: str) -> str:
    """The weights fit the model, the rest its optimiser; the random state is left as it was found."""
    point = checkpoint.read(run.checkpoints, name)
    settings, sizes = run.config(), sizes_of(point)
    with torch.random.fork_rng(devices=[]):
        model = build(settings, sizes)
        checkpoint.restore(point, model)
        optimizer = make_optimizer(settings.training.optimizer, model.parameters(), lr=settings.training.lr)
        snapshot.put_back(checkpoint.training_tensors(point), optimizer, torch.device("cpu"))
    named = pointer.pointed(run.checkpoints).newest_first
    return "" if name in named else "latest.json does not name it; it will be dropped"


def _sizes(run: Run) -> Sizes | None:
    """Of the checkpoints, where they agree."""
    sizes = set()
    for path in pointer.written(run.checkpoints):
        try:
            sizes.add(sizes_of(checkpoint.read(run.checkpoints, path.name)))
        except RetrogradError:  # said of the checkpoint itself
            continue
    return sizes.pop() if len(sizes) == 1 else None


def _left_over(run: Run) -> Iterator[Checked]:
    for path in run.halves():
        yield Checked(str(path.relative_to(run.path)), note="left half written; it will be dropped")
    for path in sorted(run.checkpoints.glob("damaged-*")):
        yield Checked(str(path.relative_to(run.path)), note="set aside, because it was damaged")
