"""How a run ends: its figures, its sample, its findings, written as report.json."""

import math
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from retrograd import config, runs
from retrograd.experiments import generation
from retrograd.experiments.events import Finished
from retrograd.experiments.keeping import Keeper
from retrograd.experiments.measuring import Gauge, opinion
from retrograd.experiments.objective import Evaluation, figures
from retrograd.models import RecurrentLM, parameters
from retrograd.reports import Measurement, Report, Sample
from retrograd.runs import Run
from retrograd.tasks import Task

SAMPLE = 300  # tokens


@dataclass(frozen=True)
class Outcome:
    """Writes the end of one run."""

    run: Run
    settings: config.Config
    task: Task
    model: RecurrentLM
    start: Measurement

    def of(self, status: str, step: int, gauge: Gauge, keeper: Keeper, test: Evaluation | None) -> Finished:
        """Finished or interrupted: the report is written, and the last event says so."""
        best = keeper.best if math.isfinite(keeper.best) else None
        sample = self._sample()
        report = self._report(gauge.latest or self.start, test, best, sample)
        runs.write(self.run.path / "report.json", report.to_json())
        self.run.event(status, step=step, test=test and asdict(test), measuring=round(gauge.spent, 3))
        return Finished(self.run, status, step, test, best, report, sample)

    def failed(self, latest: Measurement, reason: str) -> None:
        runs.write(self.run.path / "report.json", self._report(latest, None, None, None).to_json())
        self.run.event("failed", reason=reason)

    def _sample(self) -> str | None:
        if self.task.tokenizer is None:
            return None
        return generation.sample(self.model, self.task.tokenizer, length=SAMPLE, seed=self.settings.training.seed)

    def _report(self, latest: Measurement, test: Evaluation | None, best: float | None, sample: str | None) -> Report:
        known = self.task.need is not None
        need = self.task.need or self.settings.training.window
        ends = {} if latest is self.start else {"end": latest}
        validated = {} if best is None else {"validation nats": best}
        return Report(
            title=name(self.settings),
            subject=subject(self.settings, self.model, need, known=known),
            measurements={"start": self.start, **ends},
            findings=opinion(latest, self.settings, need=need, known=known),
            figures=validated | (figures(test, self.task.unit, hits=self.task.hits) if test else {}),
            samples=(Sample(latest.step, sample),) if sample else (),
        )


def name(settings: config.Config) -> str:
    stem = Path(settings.data.train[0]).stem if settings.data.train else settings.task
    return f"{stem} {settings.model.cell}"


def subject(settings: config.Config, model: RecurrentLM, need: int, *, known: bool) -> dict[str, Any]:
    """What was measured, in words for the report."""
    m = settings.model
    return {
        "task": settings.task,
        "cell": m.cell,
        "hidden": m.hidden,
        "layers": m.layers,
        "init": m.init,
        "parameters": parameters(model),
        **({"window": settings.training.window} if settings.task == "language" else {}),
        "need": need,
        "need is": "known" if known else "assumed: the window",
    }


def environment() -> dict[str, Any]:
    """Hardware and versions, for whoever wants to repeat the run."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
    }
