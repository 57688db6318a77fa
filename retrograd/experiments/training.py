"""One run, from a config to a folder: plan, train, measure, validate, save, test, report.

    for event in training(settings):  show(event)        Planned, many Progress, Evaluating, Finished

The command line and `train` iterate the same generator. Measuring changes nothing in what is trained.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from retrograd import config, runs
from retrograd.errors import NonFinite, RetrogradError
from retrograd.experiments import build
from retrograd.experiments.events import Evaluating, Event, Finished, Planned, Progress
from retrograd.experiments.keeping import Keeper
from retrograd.experiments.measuring import Gauge, save_window
from retrograd.experiments.objective import evaluate, objective
from retrograd.experiments.outcome import Outcome, environment, name
from retrograd.models import RecurrentLM, parameters
from retrograd.numerics import flush_denormals
from retrograd.reports import Measurement
from retrograd.runs import Run
from retrograd.tasks import Task, make_task
from retrograd.tasks import tokenizers as text
from retrograd.training.loop import Step, tbptt
from retrograd.training.optimizers import make_optimizer
from retrograd.training.schedules import Budget, Position, make_schedule

DEFAULT_MINUTES = 5.0
VALIDATIONS = 10  # in one run, unless validate_every says otherwise
RECENT = 50  # steps over which the shown loss and share clipped are averaged
LOGGED = 10  # every so many steps a line goes to metrics.jsonl


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
    torch.manual_seed(settings.training.seed)
    device = build.device(settings.training.device)
    model = build.build(settings, task.vocabulary).to(device)
    settings = _with(settings, backend=model.stack.backend, device=str(device))
    steps = _loop(settings, task, model, device)
    gauge = Gauge(model, task.probe().to(device), settings.measure)
    start = gauge.take(0)
    run = _begin(settings, task, gauge, out)
    keeper, outcome = Keeper(run, task, model, device), Outcome(run, settings, task, model, start)
    keeper.save(0)
    yield _planned(run, settings, task, model, start)
    model.train()
    try:
        step = yield from _watched(_flushed(steps), settings, keeper, gauge, stop=stop)
    except RetrogradError as error:
        outcome.failed(gauge.latest or start, str(error))
        raise
    if stop():
        keeper.save(step)
        gauge.take(step)
        yield outcome.of("interrupted", step, gauge, keeper, None)
        return
    keeper.validate(step)
    best = keeper.restore_best()
    yield Evaluating(task.test_tokens)
    test = evaluate(model, task.testing(), device)
    gauge.take(best)
    yield outcome.of("finished", step, gauge, keeper, test)


def _watched(
    steps: Iterator[Step], settings: config.Config, keeper: Keeper, gauge: Gauge, *, stop: Callable[[], bool]
) -> Generator[Progress, None, int]:
    """The steps with all that happens between them; the value of the expression is how many there were."""
    t, run = settings.training, keeper.run
    budget, recent, validations = Budget(t.minutes, t.steps, t.epochs), deque[Step](maxlen=RECENT), 0
    step = None
    for step in steps:
        if not step.finite:
            raise NonFinite(_not_finite(step, settings))
        recent.append(step)
        progress = budget.progress(Position(step.index, step.epoch, step.seconds))
        if taken := gauge.take_when_due(step):
            h = taken.horizon
            run.record(step=step.index, horizon=h.steps, low=h.low, high=h.high, beyond=h.censored, decay=h.decay)
        due = step.index // t.validate_every if t.validate_every else int(progress * VALIDATIONS)
        if due > validations:
            validations = due
            keeper.validate(step.index)
        keeper.save_now_and_then(step)
        shown = _progress(recent, progress, keeper, gauge)
        if step.index % LOGGED == 0:
            run.record(**_line(shown))
        yield shown
        if t.patience and keeper.worse >= t.patience:
            run.event("stopped early", step=step.index, patience=t.patience)
            break
        if stop():
            break
    return step.index if step else 0


def _flushed(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps, denormal numbers flushed inside each and nowhere between."""
    while True:
        with flush_denormals(True):
            step = next(steps, None)
        if step is None:
            return
        yield step


def _loop(settings: config.Config, task: Task, model: RecurrentLM, device: torch.device) -> Iterator[Step]:
    t = settings.training
    optimizer = make_optimizer(
        t.optimizer, model.parameters(), lr=t.lr, momentum=t.momentum, betas=t.betas, weight_decay=t.weight_decay or 0.0
    )
    return tbptt(
        objective(model, t.reduction, device),
        task.training(),
        optimizer,
        schedule=make_schedule(t.schedule, warmup=t.warmup, divide_by=t.divide_by, divide_after=t.divide_after),
        budget=Budget(t.minutes, t.steps, t.epochs),
        clip_norm=t.clip_norm,
        clip_value=t.clip_value,
    )


def _begin(settings: config.Config, task: Task, gauge: Gauge, out: str | Path | None) -> Run:
    """The run's folder, with all in it that is known before the first step."""
    run = runs.create(out, name=name(settings))
    runs.write(run.path / "config.toml", config.dump(settings))
    if task.tokenizer is not None:
        text.save(task.tokenizer, run.path / "tokenizer.json")
    save_window(gauge.probe, run.path / "probe.safetensors")
    run.event("started", data=task.fingerprint, environment=environment())
    return run


def _planned(run: Run, settings: config.Config, task: Task, model: RecurrentLM, start: Measurement) -> Planned:
    splits = {split: getattr(task, split, None) for split in ("train", "valid", "test")}
    return Planned(
        run=run,
        settings=settings,
        counts={split: len(stream) for split, stream in splits.items() if stream is not None},
        unit=task.unit,
        vocabulary=task.vocabulary,
        parameters=parameters(model),
        first_loss=math.log(task.vocabulary),
        need=task.need or settings.training.window,
        need_is_known=task.need is not None,
        start=start,
    )


def _progress(recent: deque[Step], progress: float, keeper: Keeper, gauge: Gauge) -> Progress:
    step = recent[-1]
    seconds = step.seconds - recent[0].seconds
    tokens = sum(s.tokens for s in recent) - recent[0].tokens
    assert gauge.latest is not None
    return Progress(
        step=step,
        progress=progress,
        loss=sum(s.loss for s in recent) / len(recent),
        clipped=sum(s.clipped for s in recent) / len(recent),
        speed=tokens / seconds if seconds > 0 else 0.0,
        left=step.seconds * (1 - progress) / progress if progress > 0 else math.inf,
        validation=keeper.latest,
        measured=gauge.latest,
    )


def _line(p: Progress) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "step": p.step.index,
        "epoch": round(p.step.epoch, 4),
        "seconds": round(p.step.seconds, 3),
        "loss": p.loss,
        "log_grad_norm": p.step.log_grad_norm,
        "clipped": p.clipped,
        "lr": p.step.lr,
        "tokens_per_second": round(p.speed),
    }


def _not_finite(step: Step, settings: config.Config) -> str:
    t = settings.training
    what = "loss" if not math.isfinite(step.loss) else "gradient"
    clip = f"clipped at {t.clip_norm:g}" if t.clip_norm else "not clipped"
    remedy = f"--lr {t.lr / 4:.2g}" if t.clip_norm else "--clip 1"
    return (
        f"The {what} stopped being finite at step {step.index} (learning rate {step.lr:.3g}, gradient norm {clip}). "
        f"Try {remedy} or --init orthogonal."
    )


def _resolve(settings: config.Config) -> config.Config:
    """Leave nothing open: a start, a budget, the number of threads, absolute paths."""
    t, d = settings.training, settings.data
    if t.threads is not None:
        torch.set_num_threads(t.threads)
    model = settings.model
    init = model.init or ("forget_bias=1" if model.cell == "lstm" else "default")
    # as an L2 penalty, which the other optimisers make of it, 0.1 would keep a model from learning at all
    decay = t.weight_decay if t.weight_decay is not None else 0.1 if t.optimizer == "adamw" else 0.0
    budget = {} if t.minutes or t.steps or t.epochs else {"minutes": DEFAULT_MINUTES}
    paths = {
        "train": tuple(str(Path(path).absolute()) for path in d.train),
        "valid": d.valid and str(Path(d.valid).absolute()),
        "test": d.test and str(Path(d.test).absolute()),
    }
    sections = {"data": d.model_copy(update=paths), "model": model.model_copy(update={"init": init})}
    settings = settings.model_copy(update=sections)
    return _with(settings, threads=torch.get_num_threads(), weight_decay=decay, **budget)


def _with(settings: config.Config, **changes: Any) -> config.Config:
    return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})
