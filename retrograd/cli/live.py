"""What a training looks like while it runs: a live bar on a terminal, a line now and then elsewhere."""

import math
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from retrograd import runs
from retrograd.config import TEXTS, Model, Training
from retrograd.experiments import events
from retrograd.reports.text import page
from retrograd.reports.words import count
from retrograd.tasks.window import Sizes
from retrograd.training.schedules import Budget

EVERY = 15.0  # seconds between two plain lines


class Piped(Console):
    """Where who reads along has left, rich would end the process, and a training with it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Shows the events of one run; with `json` all goes to stderr but one object at the end on stdout."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json, self.quiet = json, quiet
        self.console = Piped(stderr=json, highlight=False, soft_wrap=True)
        self.bar = Progress(BarColumn(8), TextColumn("{task.description}"), console=self.console, transient=True)
        self.task: TaskID | None = None
        self.next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop()

    def show(self, event: events.Event) -> None:
        match event:
            case events.Planned():
                self._plan(event)
            case events.Note():
                if not self.quiet:
                    self._print(event.text)
            case events.Progress():
                self._progress(event)
            case events.Evaluating():
                self._evaluating(event)
            case events.Finished():
                self._finish(event)

    def _stop(self) -> None:
        if self.task is not None:
            self.bar.stop()

    def _print(self, line: str = "") -> None:
        self.console.print(Text(line))

    def _plan(self, plan: events.Planned) -> None:
        if self.quiet:
            return
        for line in plan_lines(plan):
            self._print(line)
        self._print()
        if self.console.is_terminal:
            self.task = self.bar.add_task("", total=1.0)
            self.bar.start()

    def _progress(self, p: events.Progress) -> None:
        if self.quiet:
            return
        if self.task is not None:
            self.bar.update(self.task, completed=p.progress, description=progress_line(p))
        elif p.speed and time.monotonic() >= self.next_line:
            self._print(progress_line(p))
            self.next_line = time.monotonic() + EVERY

    def _evaluating(self, event: events.Evaluating) -> None:
        if self.task is not None:
            self.bar.update(self.task, completed=1.0, description=f"reading the test data, {event.tokens:,} tokens")
        elif not self.quiet:
            self._print(f"reading the test data, {event.tokens:,} tokens")

    def _finish(self, result: events.Finished) -> None:
        self._stop()
        if self.json:
            print(runs.to_json(summary(result)), file=sys.stdout)
            return
        if self.quiet:
            for name, value in result.report.figures.items():
                self._print(f"{name}: {value:.6g}")
            self._print(f"run: {result.run.path}")
            return
        self._print(page(result.report, width=self.console.width))
        self._print()
        self._print(ending(result))


def plan_lines(plan: events.Planned) -> list[str]:
    """What is about to be trained, on what, for how long, and how far the gradient reaches before it starts."""
    m, t = plan.settings.model, plan.settings.training
    counted = ", ".join(f"{n:,} {NAMES[split]}" for split, n in plan.counts.items())
    data = f"{counted} {plan.unit if plan.settings.task.name in TEXTS else 'example'}s; " if counted else ""
    lag = plan.assumed or "the task's lag"
    window = f"window {t.window}, " if plan.settings.task.name in TEXTS else ""
    return [
        f"data      {data}{_read(plan.sizes)}",
        f"model     {_model(m, t)}, {plan.parameters:,} parameters, on {t.device}, {t.threads} threads",
        *_without_kernels(plan),
        f"training  {length(Budget(t.minutes, t.steps, t.epochs))}, {window}batch {t.batch}, "
        f"{t.optimizer} at {t.lr:g} ({t.schedule}), clip {t.clip_norm or t.clip_value or 'off'}",
        f"expected  {_guess(plan)}",
        *([f"horizon   {plan.start.horizon} at the start, in steps; {lag} is {plan.need}"] if plan.start else ()),
        f"run       {plan.run.path}",
    ]


def _model(m: Model, t: Training) -> str:
    if m.kind == "window":
        return f"window of {m.context} tokens, {m.hidden} units"
    return f"{m.layers} x {m.hidden} {m.cell} ({m.init}), {t.backend} backend"


def _without_kernels(plan: events.Planned) -> list[str]:
    """Why a network that could have had the native kernels has to do without."""
    from retrograd.bptt.native import library

    found, settings = library(), plan.settings
    if not isinstance(found, str) or settings.training.device != "cpu" or settings.model.kind == "window":
        return []
    return [f"kernels   torch's, for {found}; retrograd doctor says more"]


def _read(sizes: Sizes) -> str:
    """What is read at each step, and how much there is to tell apart."""
    read = f"{count(sizes.inputs, 'number')} a step" if sizes.numbers else f"{sizes.inputs:,} types"
    return read if sizes.outputs in (sizes.inputs, 1) else f"{read}, {sizes.outputs:,} answers"


def _guess(plan: events.Planned) -> str:
    if plan.sizes.measure != "nats":
        return f"a guess costs {plan.guess:.3g} of {plan.sizes.measure}"
    alike = round(math.exp(plan.guess))  # so many answers, each as likely as the next
    equal = f"ln {alike} = " if math.isclose(plan.guess, math.log(alike), abs_tol=1e-9) else ""
    return f"first loss {equal}{plan.guess:.3f} nats"


USE = {  # what the model of a task is for
    **dict.fromkeys(TEXTS, ('generate {run} --prompt "The "', "evaluate {run} OTHER.txt")),
    **dict.fromkeys(("sentiment", "tagging"), ('label {run} "a sentence"',)),
    "translation": ('translate {run} "a sentence"',),
    "captioning": ("caption {run} PICTURE.png",),
}
NAMES = {"train": "training", "valid": "validation", "test": "test"}


def length(budget: Budget) -> str:
    if budget.steps is not None:
        return f"{budget.steps:,} steps"
    return f"{budget.epochs} epochs" if budget.epochs is not None else f"{budget.minutes:g} minutes"


def progress_line(p: events.Progress) -> str:
    validation = f"{p.validation.loss:.4g}" if p.validation else "-"
    norm = math.exp(p.step.log_grad_norm) if p.step.log_grad_norm < 709 else math.inf
    clipped = f" clipped {p.clipped:.0%}" if p.clipped else ""
    return (
        f"{clock(p.left)} left, step {p.step.index} loss {p.loss:.4g} valid {validation} |g| {norm:.2g}{clipped} "
        f"{_horizon(p)}{p.speed / 1000:.3g}k/s"
    )


def _horizon(p: events.Progress) -> str:
    """With the step at which it was measured, where that is long ago."""
    if p.measured is None:
        return ""
    since = f"@{p.measured.step}" if p.measured.step < p.step.index / 2 else ""
    return f"horizon {p.measured.horizon}{since} "


def clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def ending(result: events.Finished) -> str:
    run = result.run.path
    if result.status == "preempted":
        return f"Stopped at step {result.steps:,}. To go on:\n  retrograd train --resume {run}"
    verbs = ["report {run}", *USE.get(str(result.report.subject["task"]), ())]
    if result.report.measurements:  # what counts has no gradient
        verbs.append("diagnose {run}")
    return "\n  retrograd ".join(["Run {run}", *verbs]).format(run=run)


def summary(result: events.Finished) -> dict[str, object]:
    """The one JSON object of `train --json`."""
    return {
        "run": str(result.run.path),
        "status": result.status,
        "steps": result.steps,
        "sample": result.sample,
        "report": runs.from_json(result.report.to_json()),
    }
