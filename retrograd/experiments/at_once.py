"""A run of a model that counts: its data is read once, nothing is differentiated, and nothing reaches back.

Its folder is that of any other run, with the model's tables in place of checkpoints.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from retrograd import config, runs
from retrograd.errors import ConfigError
from retrograd.experiments import reporting
from retrograd.experiments.build import fitted
from retrograd.experiments.events import Finished
from retrograd.experiments.objective import Evaluation
from retrograd.reports import Grid, Report, Sample
from retrograd.runs import Run
from retrograd.tasks import Task


def written(
    settings: config.Config,
    task: Task,
    tables: tuple[str, Mapping[str, NDArray[Any]]],
    *,
    out: str | Path | None,
    subject: dict[str, Any],
    figures: dict[str, float],
    validation: float,
    test: Evaluation,
    grids: dict[str, Grid],
    note: str,
    sample: str | None = None,
) -> Finished:
    """Write the run's folder, whole or not at all. `tables`: the name of their file, and the model's state."""
    from retrograd.reports.html import page  # which draws with matplotlib

    environment = reporting.environment(torch.device("cpu"))
    report = Report(
        title=reporting.name(settings),
        subject=subject,
        measurements={},
        figures=figures,
        grids=grids,
        gradient=False,
        notes=(note,),
        samples=(Sample(0, sample),) if sample else (),
        config=settings.model_dump(mode="json", exclude_none=True),
        environment={**environment, "data sha256": task.fingerprint},
    )
    with runs.creating(out, name=report.title) as (draft, run):
        _fill(draft, settings, task, tables)
        draft.event("started", data=task.fingerprint, environment=environment, by=runs.this_process())
        draft.record(step=0, validation=validation, **({"sample": sample} if sample else {}))
        runs.write(draft.path / "report.json", report.to_json())
        runs.write(draft.path / "report.html", page(report, run=str(run.path)))
        draft.event("finished", step=0)
    return Finished(run, "finished", 0, test, validation, report, sample)


def _fill(draft: Run, settings: config.Config, task: Task, tables: tuple[str, Mapping[str, NDArray[Any]]]) -> None:
    runs.write(draft.path / "config.toml", config.dump(settings))
    name, state = tables
    draft.keep({name: save({key: np.ascontiguousarray(table) for key, table in state.items()})} | fitted(task))


def refuse_idle(settings: config.Config, read: Mapping[str, set[str]], kind: str) -> None:
    """Raises ConfigError for a key of a section that is given, and not among those that are `read`."""
    usual = config.make({"task": settings.task.name})
    for section, names in read.items():
        given, otherwise = getattr(settings, section), getattr(usual, section)
        for name in type(given).model_fields:
            if name not in names and getattr(given, name) != getattr(otherwise, name):
                raise ConfigError(
                    f"{section}.{name} has no effect on {kind}, which counts and is not trained; leave it out."
                )
