"""The report of a run, written into its folder whenever something is saved and when it ends."""

import math
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from retrograd import config, runs
from retrograd.bptt.denormals import denormals_are_flushed
from retrograd.bptt.native import Library, library
from retrograd.diagnosis import Finding
from retrograd.errors import NonFinite, SaveFailed
from retrograd.experiments import clipped, generation, logbook
from retrograd.experiments.keeping import Keeper
from retrograd.experiments.measuring import opinion
from retrograd.experiments.objective import Evaluation, figures
from retrograd.experiments.success import Success
from retrograd.experiments.work import Work
from retrograd.measures import Clipping
from retrograd.models import Network, Recurrent, WindowLM, parameters
from retrograd.reports import Happening, Measurement, Report
from retrograd.runs import Run

NOTHING = Success()
ONE_STEP = "Its sequences have one step each: there is nothing before it that a gradient could reach."
BLIND = "It reads {} tokens at a time: nothing before them has any influence, and there is no state to follow back."
SAMPLE, SHORT_SAMPLE = 300, 120  # tokens at the end, and on the way
SHARE = 0.01  # of the time of a training goes into drawing its page, at most, until it ends


@dataclass
class Reporter:
    """Writes one run's report.json and report.html."""

    work: Work
    start: Measurement | None  # None: of a model without a recurrent layer
    path: Path  # of the run, as its page names it
    latest: float = 0.0  # seconds that the last report took, with its page
    spent: float = 0.0  # ... that all took

    def write(
        self,
        keeper: Keeper,
        status: str,
        *,
        test: Evaluation | None = None,
        found: Success = NOTHING,
        due: bool = True,
    ) -> Report:
        """The report of now. The page is drawn where it is `due` or where its share of the time allows."""
        begin = time.monotonic()
        report = self.report(keeper, status, test, found)
        runs.write(keeper.run.path / "report.json", report.to_json())
        if due or self.spent + self.latest <= SHARE * keeper.place.at.seconds:
            self._draw(report, keeper.run)
            self.latest = time.monotonic() - begin
        self.spent += time.monotonic() - begin
        return report

    def _draw(self, report: Report, run: Run) -> None:
        from retrograd.reports import html  # which draws with matplotlib

        try:
            runs.write(run.path / "report.html", html.page(report, run=str(self.path)))
        except SaveFailed:
            raise
        except Exception as error:  # no picture is worth a night's training
            run.event("not drawn", reason=f"{type(error).__name__}: {error}")

    def sample(self, length: int = SHORT_SAMPLE) -> str | None:
        """What the model writes now, the same prompt and seed each time; None for a task without text
        and for a model that has exploded."""
        model, tokenizer, seed = self.work.model, self.work.task.tokenizer, self.work.settings.training.seed
        if tokenizer is None or not isinstance(model, Recurrent | WindowLM) or not self.work.task.carries:
            return None
        with suppress(NonFinite):
            return generation.sample(model, tokenizer, length=length, seed=seed)
        return None

    def _findings(self, latest: Measurement, best: float, cut: Clipping | None, clip: float) -> tuple[Finding, ...]:
        work = self.work
        return opinion(
            latest,
            work.settings,
            need=work.need,
            assumed=work.assumed,
            loss=best if math.isfinite(best) and work.task.sizes.measure == "nats" else None,
            clipping=cut,
            clip=clip,
            guess=math.log(work.task.sizes.outputs),  # among all types: what an untrained model lies a little over
        )

    def report(self, keeper: Keeper, status: str, test: Evaluation | None, found: Success = NOTHING) -> Report:
        work, run, latest = self.work, keeper.run, self.work.gauge.latest or self.start
        measure = work.task.sizes.measure
        lines, best = run.metrics(), keeper.best
        t = work.settings.training
        cut, clip = clipped.of_training(run, t), clipped.clip_norm(run, t)
        started = next((e for e in run.events() if e["event"] == "started"), {})
        validated = {f"validation {measure}": best} if math.isfinite(best) else {}
        tested = figures(test, work.task.unit, measure=measure, hits=work.task.hits) if test else {}
        window = work.settings.model.kind == "window"
        blind = () if latest else (BLIND.format(work.settings.model.context) if window else ONE_STEP,)
        return Report(
            title=name(work.settings),
            subject=subject(work.settings, work.model, work.need, assumed=work.assumed),
            measurements=_named(self.start, latest),
            findings=self._findings(latest, best, cut, clip) if latest else (),
            figures=validated | tested | found.figures | (clipped.figures(cut) if cut else {}) | clipped.stumbles(run),
            grids=found.grids,
            gradient=latest is not None,
            notes=(*blind, *found.notes),
            samples=logbook.samples(lines),
            status=status,
            curves=logbook.curves(lines, measure=measure),
            config=work.settings.model_dump(mode="json", exclude_none=True),
            environment={**started.get("environment", {}), "data sha256": started.get("data")},
            happenings=(*logbook.happenings(run), *_ended(keeper, status)),
        )


def _named(start: Measurement | None, latest: Measurement | None) -> dict[str, Measurement]:
    named = {"start": start, "end": None if latest is start else latest}
    return {name: measured for name, measured in named.items() if measured}


def _ended(keeper: Keeper, status: str) -> tuple[Happening, ...]:
    """The last event of a finished run, which is written when its report is safe."""
    return (Happening("finished", time.time(), {"step": keeper.place.at.step}),) if status == "finished" else ()


def name(settings: config.Config) -> str:
    stem = Path(settings.data.train[0]).stem if settings.data.train else settings.task.name
    return f"{stem} {settings.model.name.split()[0]}"


def subject(settings: config.Config, model: Network, need: int, *, assumed: str | None) -> dict[str, Any]:
    """What was measured, in words for the report."""
    recurrent = settings.model.kind != "window"
    needed = {"need": need, "need is": f"assumed: {assumed}" if assumed else "known"} if recurrent else {}
    return {
        "task": settings.task.name,
        **(_of_cells(settings.model) if recurrent else _of_window(settings.model)),
        "parameters": parameters(model),
        **({"window": settings.training.window} if settings.task.name in config.TEXTS else {}),
        **needed,
    }


def _of_cells(m: config.Model) -> dict[str, Any]:
    both = {"reads": "from both ends"} if m.bidirectional else {}
    return {"cell": m.cell, "hidden": m.hidden, "layers": m.layers, "init": m.init, **both}


def _of_window(m: config.Model) -> dict[str, Any]:
    return {"model": m.name, "hidden": m.hidden, "looks back": m.context}


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, for whoever wants to repeat the run."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    kernels = library()
    reached = isinstance(kernels, Library) and kernels.team is not None  # then each step flushes in every thread
    everywhere = reached or torch.get_num_threads() == 1 or denormals_are_flushed()
    return {
        **gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),  # the kernels that torch picks for it
        "kernels": kernels.set if isinstance(kernels, Library) else "none",
        "denormals": "flushed" if everywhere else "flushed on one thread",
        "threads": torch.get_num_threads(),
        "retrograd": version("retrograd"),
    }
