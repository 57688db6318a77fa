"""One run, from a config to a folder: plan, train, measure, validate, save, test, report.

    for event in training(settings):  show(event)        Planned, then many Progress, then Finished

Both the command line and `train` iterate the same generator. Measuring changes nothing in what is trained.
"""

import math
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from retrograd import config, runs
from retrograd.errors import NonFinite, RetrogradError
from retrograd.experiments import build, generation
from retrograd.experiments.measuring import measure, opinion, save_window
from retrograd.experiments.objective import Evaluation, evaluate, figures, objective
from retrograd.models import RecurrentLM, parameters
from retrograd.numerics import flush_denormals
from retrograd.reports import Measurement, Report
from retrograd.runs import Run
from retrograd.tasks import Task, make_task
from retrograd.tasks import tokenizers as text
from retrograd.training import checkpoint
from retrograd.training.loop import Step, tbptt
from retrograd.training.optimizers import make_optimizer
from retrograd.training.schedules import Budget, Position, make_schedule

DEFAULT_MINUTES = 5.0
VALIDATIONS = 10  # in one run, unless validate_every says otherwise
RECENT = 50  # steps over which the shown loss and share clipped are averaged
LOGGED = 10  # every so many steps a line goes to metrics.jsonl


@dataclass(frozen=True)
class Planned:
    """What is about to be done."""

    run: Run
    settings: config.Config
    counts: dict[str, int]  # tokens by split; nothing for a task that makes its own examples
    unit: str
    vocabulary: int
    parameters: int
    first_loss: float  # ln V, what guessing costs
    need: int
    need_is_known: bool
    start: Measurement


@dataclass(frozen=True)
class Progress:
    """Where the training stands after a step."""

    step: Step
    progress: float  # share of the budget
    loss: float  # recent mean, nats per token
    clipped: float  # recent share of steps clipped
    speed: float  # tokens per second
    left: float  # seconds, estimated
    validation: Evaluation | None
    measured: Measurement


@dataclass(frozen=True)
class Finished:
    """What came of it; `status` is "finished" or "interrupted"."""

    run: Run
    status: str
    steps: int
    test: Evaluation | None
    best: float | None  # validation, nats per token
    report: Report
    sample: str | None


Event = Planned | Progress | Finished


def train(settings: config.Config, *, out: str | Path | None = None) -> Finished:
    """Train to the end. Seeds torch's global random state with `training.seed`.

    Raises UsageError for what cannot be built or read, NonFinite when the loss or gradient stops being a number.
    """
    for event in training(settings, out=out):
        last = event
    assert isinstance(last, Finished)
    return last


def training(
    settings: config.Config, *, out: str | Path | None = None, stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """The events of one run. `stop` is asked after each step; when it says yes the run is saved and ends there."""
    settings = _resolve(settings)
    task = make_task(settings)
    device = build.device(settings.training.device)
    torch.manual_seed(settings.training.seed)
    model = build.build(settings, task.vocabulary).to(device)
    settings = _with(settings, backend=model.stack.backend, device=str(device))
    session = _Session(settings, task, model, device)
    session.begin(out)
    try:
        yield session.planned()
        with flush_denormals(True):
            yield from session.steps(stop)
        yield session.finish()
    except NonFinite as error:
        session.fail(str(error))
        raise
    except RetrogradError as error:
        session.run.event("failed", reason=str(error))
        raise


@dataclass
class _Session:
    """The moving parts of one run."""

    settings: config.Config
    task: Task
    model: RecurrentLM
    device: torch.device
    run: Run = field(init=False)
    start: Measurement = field(init=False)
    latest: Measurement = field(init=False)
    validation: Evaluation | None = None
    best: float = math.inf
    worse: int = 0  # validations since the best
    at: int = 0  # steps taken
    interrupted: bool = False
    spent: float = 0.0  # seconds on measuring during training
    cost: float = 0.0  # of the last measurement

    def begin(self, out: str | Path | None) -> None:
        t = self.settings.training
        self.probe = self.task.probe().to(self.device)
        self.optimizer = make_optimizer(
            t.optimizer,
            self.model.parameters(),
            lr=t.lr,
            momentum=t.momentum,
            betas=t.betas,
            weight_decay=t.weight_decay,
        )
        self.budget = Budget(t.minutes, t.steps, t.epochs)
        self.schedule = make_schedule(t.schedule, warmup=t.warmup, divide_by=t.divide_by, divide_after=t.divide_after)
        self.start = self.latest = self._measure(0)
        self.run = runs.create(out, name=_name(self.settings))
        runs.write(self.run.path / "config.toml", config.dump(self.settings))
        if self.task.tokenizer is not None:
            text.save(self.task.tokenizer, self.run.path / "tokenizer.json")
        save_window(self.probe, self.run.path / "probe.safetensors")
        self.run.event("started", data=self.task.fingerprint, environment=environment())

    def planned(self) -> Planned:
        splits = {name: getattr(self.task, name, None) for name in ("train", "valid", "test")}
        return Planned(
            run=self.run,
            settings=self.settings,
            counts={name: len(split) for name, split in splits.items() if split is not None},
            unit=self.task.unit,
            vocabulary=self.task.vocabulary,
            parameters=parameters(self.model),
            first_loss=math.log(self.task.vocabulary),
            need=self.need,
            need_is_known=self.task.need is not None,
            start=self.start,
        )

    @property
    def need(self) -> int:
        return self.task.need or self.settings.training.window

    def steps(self, stop: Callable[[], bool]) -> Iterator[Progress]:
        t = self.settings.training
        recent: deque[Step] = deque(maxlen=RECENT)
        next_validation = 1 / VALIDATIONS
        loop = tbptt(
            objective(self.model, t.reduction, self.device),
            self.task.training(),
            self.optimizer,
            schedule=self.schedule,
            budget=self.budget,
            clip_norm=t.clip_norm,
            clip_value=t.clip_value,
        )
        self.model.train()
        for step in loop:
            self.at = step.index
            if not step.finite:
                raise NonFinite(_nonfinite(step, self.settings))
            recent.append(step)
            progress = self.budget.progress(Position(step.index, step.epoch, step.seconds))
            self._measure_when_due(step)
            due = step.index % t.validate_every == 0 if t.validate_every else progress >= next_validation
            if due:
                next_validation = (math.floor(progress * VALIDATIONS) + 1) / VALIDATIONS
                self._validate(step)
            shown = _progress(step, progress, recent, self.validation, self.latest)
            if step.index % LOGGED == 0:
                self._log(shown)
            yield shown
            if t.patience and self.worse >= t.patience:
                self.run.event("stopped early", step=step.index, patience=t.patience)
                return
            if stop():
                self.interrupted = True
                return

    def finish(self) -> Finished:
        if not self.interrupted and (self.validation is None or self._last_saved() != self.at):
            self._validate(None)
        if self._last_saved() != self.at:
            self._save(best=False)
        status = "interrupted" if self.interrupted else "finished"
        if not self.interrupted:
            point = checkpoint.find(self.run.checkpoints)
            checkpoint.restore(point, self.model)
        test = None if self.interrupted else evaluate(self.model, self.task.testing(), self.device)
        self.latest = self._measure(self.at)
        sample = self._sample()
        report = self._report(test, sample)
        runs.write(self.run.path / "report.json", report.to_json())
        figures = {} if test is None else asdict(test)
        self.run.event(status, step=self.at, **figures)
        best = self.best if math.isfinite(self.best) else None
        return Finished(self.run, status, self.at, test, best, report, sample)

    def fail(self, reason: str) -> None:
        runs.write(self.run.path / "report.json", self._report(None, None).to_json())
        self.run.event("failed", step=self.at, reason=reason)

    def _measure(self, step: int) -> Measurement:
        begin = time.monotonic()
        measured = measure(self.model, self.probe, anchors=self.settings.measure.anchors, step=step)
        self.cost = time.monotonic() - begin
        return measured

    def _measure_when_due(self, step: Step) -> None:
        """Every so many steps, but never so often that measuring takes more than its share of the time."""
        m = self.settings.measure
        due = m.every and step.index % m.every == 0
        if due and self.spent + self.cost <= m.share * step.seconds:
            self.latest = self._measure(step.index)
            self.spent += self.cost
            h = self.latest.horizon
            self.run.record(step=step.index, horizon=h.steps, low=h.low, high=h.high, beyond=h.censored, decay=h.decay)

    def _validate(self, step: Step | None) -> None:
        self.validation = evaluate(self.model, self.task.validation(), self.device)
        self.run.record(step=self.at, validation=self.validation.nats, accuracy=self.validation.accuracy)
        better = self.validation.nats < self.best
        self.worse = 0 if better else self.worse + 1
        self.best = min(self.best, self.validation.nats)
        self._save(best=better)

    def _save(self, *, best: bool) -> None:
        info = {
            "vocabulary": self.task.vocabulary,
            "validation": None if self.validation is None else self.validation.nats,
        }
        checkpoint.save(self.run.checkpoints, self.model, step=self.at, best=best, info=info)

    def _last_saved(self) -> int:
        try:
            return checkpoint.find(self.run.checkpoints, "last").step
        except RetrogradError:
            return -1

    def _log(self, p: Progress) -> None:
        self.run.record(
            step=p.step.index,
            epoch=round(p.step.epoch, 4),
            seconds=round(p.step.seconds, 3),
            loss=p.loss,
            log_grad_norm=p.step.log_grad_norm,
            clipped=p.clipped,
            lr=p.step.lr,
            tokens_per_second=round(p.speed),
        )

    def _sample(self) -> str | None:
        if self.task.tokenizer is None:
            return None
        return generation.sample(self.model, self.task.tokenizer, length=300, seed=self.settings.training.seed)

    def _figures(self, test: Evaluation | None) -> dict[str, float]:
        best = {"validation nats": self.best} if math.isfinite(self.best) else {}
        return best | (figures(test, self.task.unit, hits=self.task.hits) if test else {})

    def _report(self, test: Evaluation | None, sample: str | None) -> Report:
        measured = {"start": self.start}
        if self.latest is not self.start:
            measured["end"] = self.latest
        return Report(
            title=_name(self.settings),
            subject=subject(self.settings, self.model, self.need, known=self.task.need is not None),
            measurements=measured,
            findings=opinion(self.latest, self.settings, need=self.need, known=self.task.need is not None),
            figures=self._figures(test),
            sample=sample or "",
        )


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
        "window": settings.training.window,
        "need": need,
        "need is": "the task's" if known else "assumed: the window",
    }


def environment() -> dict[str, Any]:
    """Hardware and versions, for whoever wants to repeat the run."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _resolve(settings: config.Config) -> config.Config:
    """Leave nothing open: a budget, the number of threads, absolute paths."""
    t, d = settings.training, settings.data
    if t.threads is not None:
        torch.set_num_threads(t.threads)
    budget = {} if t.minutes or t.steps or t.epochs else {"minutes": DEFAULT_MINUTES}
    data = d.model_copy(
        update={
            "train": tuple(str(Path(path).absolute()) for path in d.train),
            "valid": d.valid and str(Path(d.valid).absolute()),
            "test": d.test and str(Path(d.test).absolute()),
        }
    )
    return _with(settings.model_copy(update={"data": data}), threads=torch.get_num_threads(), **budget)


def _with(settings: config.Config, **changes: Any) -> config.Config:
    return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})


def _name(settings: config.Config) -> str:
    stem = Path(settings.data.train[0]).stem if settings.data.train else settings.task
    return f"{stem} {settings.model.cell}"


def _progress(
    step: Step, progress: float, recent: deque[Step], validation: Evaluation | None, measured: Measurement
) -> Progress:
    seconds = step.seconds - recent[0].seconds
    tokens = sum(s.tokens for s in recent) - recent[0].tokens
    return Progress(
        step=step,
        progress=progress,
        loss=sum(s.loss for s in recent) / len(recent),
        clipped=sum(s.clipped for s in recent) / len(recent),
        speed=tokens / seconds if seconds > 0 else 0.0,
        left=step.seconds * (1 - progress) / progress if progress > 0 else math.inf,
        validation=validation,
        measured=measured,
    )


def _nonfinite(step: Step, settings: config.Config) -> str:
    what = "loss" if not math.isfinite(step.loss) else "gradient"
    clip = settings.training.clip_norm
    remedy = "Try --clip 1" if clip == 0 else f"Try --lr {settings.training.lr / 4:.2g}"
    return (
        f"The {what} stopped being finite at step {step.index} (learning rate {step.lr:.3g}, "
        f"clip {clip if clip else 'off'}). {remedy}, or --init orthogonal."
    )
