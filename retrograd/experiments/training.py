"""One run, from a config to a folder: plan, train, measure, validate, save, test, report.

    for event in training(settings):  show(event)        Planned, many Progress, Evaluating, Finished
    for event in resuming(run):  show(event)             the same, from the run's last checkpoint on

The command line, `train` and `resume` iterate the same generators. Measuring changes nothing in what is trained.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from retrograd import config, runs
from retrograd.bptt.denormals import flush_denormals
from retrograd.errors import NonFinite, RetrogradError, SaveFailed, UnknownName, UsageError
from retrograd.experiments import logbook, reporting
from retrograd.experiments.bag import bagging
from retrograd.experiments.build import fitted
from retrograd.experiments.counting import counting
from retrograd.experiments.events import Evaluating, Event, Finished, Note, Planned, Progress
from retrograd.experiments.keeping import VALIDATIONS, Keeper, rollback
from retrograd.experiments.measuring import dump_window
from retrograd.experiments.objective import Evaluation, evaluate, objective
from retrograd.experiments.reporting import SAMPLE, Reporter
from retrograd.experiments.resuming import Settled, reopen
from retrograd.experiments.success import success
from retrograd.experiments.work import Work, prepare
from retrograd.models import KINDS, parameters
from retrograd.reports import Measurement
from retrograd.reports import tensorboard as tensorboards
from retrograd.runs import Run
from retrograd.training.loop import Step, tbptt
from retrograd.training.rollback import Rollback

COUNTING = {"ngram": counting, "naive-bayes": bagging}  # kinds of model that are made at once
LOGGED = 10  # in so many steps one line goes to metrics.jsonl
Stop = Callable[[], bool]
T = TypeVar("T")


def _never() -> bool:
    return False


def train(settings: config.Config, *, out: str | Path | None = None) -> Finished:
    """Train to the end. Seeds torch's global random state with `training.seed`.

    Raises UsageError for what cannot be built or read, NonFinite when the loss or gradient stops being a number and
    going back does not help.
    """
    return _last(training(settings, out=out))


def resume(path: str | Path, *, changes: Mapping[str, Any] | None = None) -> Finished:
    """Go on with a run from its last checkpoint to its end, bit for bit as if it had never stopped.

    `changes` may give another budget, threads, device or backend: {"training": {"steps": 4000}}. Raises RunError where
    the run cannot be gone on with, UsageError where it has finished.
    """
    return _last(resuming(path, changes=changes))


def _last(events: Iterator[Event]) -> Finished:
    for event in events:
        last = event
    assert isinstance(last, Finished)
    return last


def training(
    settings: config.Config, *, out: str | Path | None = None, tensorboard: bool = False, stop: Stop = _never
) -> Iterator[Event]:
    """The events of a new run. `stop` is asked after each step; when it says yes the run is saved and ends there."""
    if settings.model.kind not in KINDS:
        raise UnknownName("model", settings.model.kind, KINDS)
    if settings.model.kind in COUNTING:
        if tensorboard:
            raise UsageError("A model that counts has no curves for TensorBoard; leave --tensorboard out.")
        yield from COUNTING[settings.model.kind](settings, out=out)
        return
    if tensorboard:
        tensorboards.require()  # here and below, before the time that preparing takes
    if out is not None:
        runs.refuse_if_taken(Path(out))
    work = prepare(settings)
    start = work.gauge.take(0, whole=True)
    with runs.creating(out, name=reporting.name(work.settings)) as (draft, run):
        keeper = Keeper(draft, work, rollback(work.settings, draft))
        reporter = Reporter(work, start, run.path)
        _begin(keeper, reporter)
    keeper.run = run
    with run.writing():
        yield _planned(run, work, start)
        yield from _to_the_end(keeper, reporter, tensorboard, stop)


def resuming(
    path: str | Path, *, changes: Mapping[str, Any] | None = None, tensorboard: bool = False, stop: Stop = _never
) -> Iterator[Event]:
    """The events of a run that goes on from its last checkpoint."""
    if tensorboard:
        tensorboards.require()
    run = runs.open_run(path)
    with run.writing():
        settled: Settled = reopen(run, changes or {})
        yield _planned(run, settled.keeper.work, settled.start)
        for note in settled.notes:
            yield Note(note)
        reporter = Reporter(settled.keeper.work, settled.start, run.path)
        yield from _to_the_end(settled.keeper, reporter, tensorboard, stop)


def _begin(keeper: Keeper, reporter: Reporter) -> None:
    """Fill the run's folder with all that is known before the first step."""
    run, work = keeper.run, keeper.work
    runs.write(run.path / "config.toml", config.dump(work.settings))
    run.keep({"probe.safetensors": dump_window(work.gauge.probe)} | fitted(work.task))
    environment = reporting.environment(work.device)
    run.event("started", data=work.task.fingerprint, environment=environment, by=runs.this_process())
    keeper.look(reporter.start)
    keeper.save()
    reporter.write(keeper, "running", due=False)


def _to_the_end(keeper: Keeper, reporter: Reporter, tensorboard: bool, stop: Stop) -> Iterator[Event]:
    """Train, then test; whatever happens, the report says so."""
    work, run = keeper.work, keeper.run
    try:
        if tensorboard:
            keeper.board = tensorboards.Board(run.path / "tensorboard")
            keeper.board.back(keeper.place.at.step)
            if keeper.place.at.step == 0 and reporter.start:
                keeper.board.add(0, **logbook.looked(reporter.start))
        yield from _trained(keeper, reporter, stop)
        if stop():
            keeper.save()
            yield _preempted(keeper, reporter, keeper.place.at.step)
            return
        keeper.validate(reporter.sample)
        best = keeper.restore_best()
        yield Evaluating(work.task.test_tokens)
        test = evaluate(work.model, _until(stop, work.task.testing()), work.device)
        if stop():
            yield _preempted(keeper, reporter, best)
            return
        if not math.isfinite(test.loss):
            raise NonFinite(
                f"The loss of the trained model is {test.loss} on the test data. "
                "Try --clip 1, a smaller --lr, or --init orthogonal."
            )
        yield _finished(keeper, reporter, best, test)
    except RetrogradError as error:
        with suppress(SaveFailed):  # where the disk is full, what is there is all that can be said
            run.event("failed", step=keeper.place.at.step, reason=str(error))
            reporter.write(keeper, "failed")
        raise
    finally:
        if keeper.board:
            keeper.board.close()


def _trained(keeper: Keeper, reporter: Reporter, stop: Stop) -> Generator[Event, None, None]:
    """The steps with all that happens between them."""
    steps = _steps(keeper)
    while not (stop() or keeper.had_enough) and (step := next(steps, None)) is not None:
        keeper.place = step.place
        due = keeper.rollback.due(step)
        if not step.finite:
            keeper.run.event("skipped", step=step.index, loss=step.loss, log_grad_norm=step.log_grad_norm)
            if due:
                yield Note(_go_back(keeper, step))
                steps = _steps(keeper)
            continue
        keeper.recent.append(step)
        if step.index // LOGGED > keeper.counts.logged // LOGGED:
            keeper.counts.logged = step.index
            keeper.log(**_line(_progress(keeper, step)))
        before = keeper.saved
        _look(keeper, reporter, step)
        if keeper.saved != before:
            reporter.write(keeper, "running", due=False)
        yield _progress(keeper, step)
    if keeper.had_enough:
        _once(keeper.run, "stopped early", step=keeper.place.at.step, patience=keeper.counts.worse)


def _once(run: Run, name: str, **values: Any) -> None:
    """An event that a run which was killed after it may have told already."""
    if not any(e["event"] == name and e.get("step") == values["step"] for e in run.events()):
        run.event(name, **values)


def _look(keeper: Keeper, reporter: Reporter, step: Step) -> None:
    """Measure, validate and save when it is time."""
    t, counts = keeper.work.settings.training, keeper.counts
    if taken := keeper.work.gauge.take_when_due(step):
        keeper.look(taken)
    progress = keeper.work.budget.progress(step.place.at)
    due = step.index // t.validate_every if t.validate_every else int(progress * VALIDATIONS)
    if due > counts.validations:
        counts.validations = due
        keeper.validate(reporter.sample)
    keeper.save_now_and_then()


def _go_back(keeper: Keeper, step: Step) -> str:
    """Return to an earlier checkpoint; says what was done. Raises NonFinite where that was done often enough."""
    done = keeper.go_back(step)
    if done is None:
        raise NonFinite(_not_finite(step, keeper.work.settings.training, keeper.rollback))
    return done


def _steps(keeper: Keeper) -> Iterator[Step]:
    """The steps from where training stands on, denormal numbers flushed inside each and nowhere between."""
    work, t, scale = keeper.work, keeper.work.settings.training, keeper.rollback.scale
    work.model.train()
    steps = tbptt(
        objective(work.model, t.reduction, work.device),
        work.task.training(keeper.place.at.step),
        work.optimizer,
        schedule=lambda at, progress: scale * work.schedule(at, progress),
        budget=work.budget,
        clip_norm=keeper.rollback.clip_norm(t.clip_norm),
        clip_value=t.clip_value,
        beside=lambda: work.course.step(work.model),
        start=keeper.place,
    )
    while True:
        with flush_denormals(True):
            step = next(steps, None)
        if step is None:
            return
        yield step


def _preempted(keeper: Keeper, reporter: Reporter, weights: int) -> Finished:
    """Stopped with the weights of step `weights` in the model, which are looked at once more."""
    step = keeper.place.at.step
    keeper.run.event("preempted", step=step)
    latest = keeper.work.gauge.latest or reporter.start
    if latest and weights != latest.step:
        keeper.look(keeper.work.gauge.take(weights))
    report = reporter.write(keeper, "preempted")
    return Finished(keeper.run, "preempted", step, None, _best(keeper), report, None)


def _finished(keeper: Keeper, reporter: Reporter, best: int, test: Evaluation) -> Finished:
    """The best weights, measured and written of. The last event comes last: without it a run goes on from here."""
    keeper.look(keeper.work.gauge.take(best, whole=True))
    found, step = success(keeper.work.model, keeper.work.task, keeper.work.device), keeper.place.at.step
    sample = found.sample or reporter.sample(SAMPLE)
    if sample and not any(line["step"] == step and "sample" in line for line in keeper.run.metrics()):
        keeper.log(sample=sample)
    report = reporter.write(keeper, "finished", test=test, found=found)
    spent = {"measuring": keeper.work.gauge.spent, "saving": keeper.saving, "reporting": reporter.spent}
    rounded = {name: round(seconds, 3) for name, seconds in spent.items()}
    keeper.run.event("finished", step=step, test=asdict(test), seconds=rounded)
    return Finished(keeper.run, "finished", step, test, _best(keeper), report, sample)


def _best(keeper: Keeper) -> float | None:
    return keeper.best if math.isfinite(keeper.best) else None


def _until(stop: Stop, values: Iterable[T]) -> Iterator[T]:
    for value in values:
        if stop():
            return
        yield value


def _planned(run: Run, work: Work, start: Measurement | None) -> Planned:
    task = work.task
    return Planned(
        run=run,
        settings=work.settings,
        counts=task.counts,
        unit=task.unit,
        sizes=task.sizes,
        parameters=parameters(work.model),
        guess=task.guess,
        need=work.need,
        assumed=work.assumed,
        start=start,
    )


def _progress(keeper: Keeper, step: Step) -> Progress:
    recent, progress = keeper.recent, keeper.work.budget.progress(step.place.at)
    seconds = step.seconds - recent[0].seconds
    tokens = sum(s.tokens for s in recent) - recent[0].tokens
    return Progress(
        step=step,
        progress=progress,
        loss=sum(s.loss for s in recent) / len(recent),
        clipped=sum(s.clipped for s in recent) / len(recent),
        speed=tokens / seconds if seconds > 0 else 0.0,
        left=step.seconds * (1 - progress) / progress if progress > 0 else math.inf,
        validation=keeper.latest,
        measured=keeper.work.gauge.latest,
    )


def _line(p: Progress) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": round(p.step.epoch, 4),
        "seconds": round(p.step.seconds, 3),
        "loss": p.loss,
        "log_grad_norm": p.step.log_grad_norm,
        "clipped": p.clipped,
        "lr": p.step.lr,
        "tokens_per_second": round(p.speed),
    }


def _not_finite(step: Step, t: config.Training, back: Rollback) -> str:
    if not back.moved and step.index == t.tolerance:
        return f"The {step.broken} is not finite from the first step on. Try --init orthogonal or a smaller --window."
    clip = back.clip_norm(t.clip_norm)
    clipped, remedy = (f"clipped at {clip:g}", f"--lr {t.lr / 4:.2g}") if clip else ("not clipped", "--clip 1")
    remedy = "a smaller --window" if back.tried else remedy  # smaller steps were taken, and clipped
    after = f", after {len(back.tried)} returns to earlier checkpoints" if back.tried else ""
    return (
        f"The {step.broken} stopped being finite at step {step.index}{after} (learning rate {step.lr:.3g}, gradient "
        f"norm {clipped}). Try {remedy} or --init orthogonal."
    )
