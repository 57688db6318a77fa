"""What can be asked of a run afterwards: its report, its figures on another text, its reach measured again."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from retrograd import config, runs
from retrograd.diagnosis import Finding
from retrograd.errors import DataError, NotMeasured, RunError, UsageError
from retrograd.experiments import counting, logbook
from retrograd.experiments.build import load, load_with_tokenizer, sizes_of
from retrograd.experiments.clipped import clip_norm
from retrograd.experiments.examination import everything
from retrograd.experiments.measuring import load_window, measure, opinion, supposed
from retrograd.experiments.objective import evaluate, figures, losses
from retrograd.experiments.reporting import subject
from retrograd.models import NGram
from retrograd.reports import Report
from retrograd.runs import Run
from retrograd.tasks import language
from retrograd.tasks.window import cut
from retrograd.training import checkpoint


def read_report(path: str | Path) -> Report:
    """The report that a run last wrote. Raises RunError where there is none, or none that can be read."""
    run = runs.open_run(path)
    file = run.path / "report.json"
    if not file.is_file():
        raise RunError(f"{run.path} has no report yet: its status is {run.status()!r}.")
    try:
        report = Report.from_json(file.read_text(encoding="utf-8"))
        return _of_now(report, run) if report.status == "running" else report
    except UnicodeDecodeError:
        raise RunError(f"{file} is not UTF-8 text; it was cut or altered. Try retrograd diagnose.") from None


def _of_now(report: Report, run: Run) -> Report:
    """A run that goes on, or was killed, has logged more since its report."""
    lines = run.metrics()
    curves, samples, told = logbook.curves(lines), logbook.samples(lines), logbook.happenings(run)
    return replace(report, status=run.status(), curves=curves, samples=samples, happenings=told)


def evaluate_text(path: str | Path, texts: Sequence[str]) -> dict[str, float]:
    """The best model's figures on other texts, read as one sequence, every token counted once."""
    run = runs.open_run(path)
    settings = run.config()
    model, tokenizer = load_with_tokenizer(path)
    separator = settings.data.document_separator
    pieces = [(text, True) for text in language.documents(texts, separator, type(tokenizer))]
    stream = language.stream(pieces, tokenizer)
    if not len(stream):
        raise DataError(f"The text holds no {tokenizer.unit}s to predict.")
    carry = settings.training.carry == "always"
    if isinstance(model, NGram):
        result = counting.read(model, stream, carry=carry)
    else:
        result = evaluate(model, cut(stream, batch=1, window=512, carry=carry), torch.device("cpu"))
    named = figures(result, tokenizer.unit)
    unknown = sum(int((stream.ids == i).sum()) for i in tokenizer.never)
    return named | {"unknown share": unknown / len(stream)}


def diagnose_run(path: str | Path, *, need: int | None = None, all: bool = False) -> Report:
    """The run's report with its best model measured again, and findings for a task that must reach `need` back.

    `all` takes every measure there is, as `diagnose` does of anybody's model. Raises NotMeasured where the slice is
    too short to tell.
    """
    if need is not None and need < 1:
        raise UsageError(f"--need is a number of steps, at least 1; got {need}.")
    run = runs.open_run(path)
    settings, model = run.config(), load(path)
    point = checkpoint.find(run.checkpoints)
    probe, step = load_window(run.kept("probe.safetensors"), sizes_of(point)), point.step
    measured = measure(model, probe, anchors=settings.measure.anchors, step=step)
    told = point.info.get("need")
    asked = need or int(told or 0)
    need, assumed = (asked, None) if asked else supposed(settings, probe)
    h = measured.horizon
    if h.censored and need > h.longest:
        windows = math.ceil(need / settings.training.window * 4 / 3) + 1
        longer = f"measure.windows={windows}" if settings.task.name in config.TEXTS else f"task.length={need + 1}"
        raise NotMeasured(
            f"The gradient outlives the {h.longest} steps that the run's slice can show, so whether it reaches {need} "
            f"is not known. Train with --set {longer}."
        )
    more, notes = everything(model.eval(), partial(losses, window=probe)) if all else ({}, ())
    measured = replace(measured, **more)
    findings: tuple[Finding, ...] = opinion(
        measured, settings, need=need, assumed=assumed, clip=clip_norm(run, settings.training)
    )
    return Report(
        title=run.path.name,
        subject=subject(settings, model, need, assumed=assumed),
        measurements={"now": measured},
        findings=findings,
        status="measured",
        notes=notes,
    )
