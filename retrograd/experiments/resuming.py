"""A run taken up again: from its last checkpoint, on the same data, with the same tokenizer and settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrograd import config, runs
from retrograd.errors import ConfigError, RunError, UsageError
from retrograd.experiments.build import refuse_what_counts, tokenizers_of
from retrograd.experiments.keeping import Keeper, rollback
from retrograd.experiments.reporting import environment
from retrograd.experiments.work import Work, prepare
from retrograd.reports import Measurement, Report
from retrograd.runs import Run
from retrograd.training import checkpoint
from retrograd.training.checkpoint import Checkpoint
from retrograd.training.pointer import pointed

CHANGEABLE = config.BUDGETS | {"threads", "device", "backend"}
EXACT = (
    "torch",
    "machine",
    "processor",
    "kernels",
    "gpu",
    "threads",
    "denormals",
)  # what must be the same for the same bits


@dataclass(frozen=True)
class Settled:
    """A run as its last checkpoint left it, ready to go on."""

    keeper: Keeper
    start: Measurement | None
    notes: tuple[str, ...]


def reopen(run: Run, changes: Mapping[str, Any]) -> Settled:
    """Read the run back. Raises RunError where it cannot go on, UsageError where it has finished."""
    _refuse_other(changes)
    run.refuse_links()
    before = run.config()
    refuse_what_counts(run)
    _refuse_finished(run, changes)
    run.metrics()  # a log that cannot be read is told now, not when the report is written
    settings = config.make(config.merge(before.model_dump(exclude_none=True), changes))
    work = prepare(settings, tokenizers_of(run), resumed=True)
    started = next((e for e in run.events() if e["event"] == "started"), {})
    _refuse_other_data(run, started.get("data"), work.task.fingerprint)
    keeper = Keeper(run, work, rollback(settings, run))
    damaged = checkpoint.damaged(run.checkpoints)
    point = _newest_whole(run, damaged)
    then = _config_of(point)
    _refuse_altered(run, then, before)
    keeper.put_back(point)
    _refuse_small(run, keeper, changes)
    notes = [f"{reason} It is set aside." for reason in damaged.values()]
    start = _looks(run, work, notes)
    notes += _inexact(then, keeper, started.get("environment", {}))
    notes = [*run.mend(), *notes]  # nothing was written before: what is refused stays as it was
    checkpoint.set_aside(run.checkpoints, damaged)
    keeper.best = pointed(run.checkpoints).nats
    if any(getattr(then.training, name) != getattr(work.settings.training, name) for name in config.BUDGETS):
        keeper.spread_anew()
    if settings != before:
        runs.write(run.path / "config.toml", config.dump(work.settings))
    run.back(point.step)
    now = environment(work.device)
    run.event("resumed", step=point.step, by=runs.this_process(), changes=changes, notes=notes, environment=now)
    return Settled(keeper, start, (f"Goes on from step {point.step:,}.", *notes))


def _refuse_other(changes: Mapping[str, Any]) -> None:
    given = [f"{section}.{key}" for section, values in changes.items() for key in values]
    other = [key for key in given if key not in {f"training.{name}" for name in CHANGEABLE}]
    if other:
        raise UsageError(
            f"A resumed run keeps its own config; got {', '.join(other)}. Only its budget, threads, device and backend "
            f"can be changed; for the rest start a new run with --config RUN/config.toml."
        )


def _refuse_other_data(run: Run, then: str | None, now: str) -> None:
    new = f"start a new run with --config {run.path / 'config.toml'}"
    if then is None:
        log = run.path / "events.jsonl"
        raise RunError(f"{log} does not tell which data the run began with; it was altered. Mend it, or {new}.")
    if then != now:
        raise RunError(
            f"The data of {run.path} is not what it began with; a resumed run must see the same text. "
            f"Put that text back, or {new}."
        )


def _newest_whole(run: Run, damaged: Mapping[str, str]) -> Checkpoint:
    """The last checkpoint, or the newest of the others where that one is damaged."""
    pointer = pointed(run.checkpoints).without(damaged)
    if pointer.last is None:
        raise RunError(next(iter(damaged.values()))) if damaged else checkpoint.none_named(run.checkpoints)
    return checkpoint.read(run.checkpoints, pointer.last)


def _config_of(point: Checkpoint) -> config.Config:
    """The config with which a checkpoint was written."""
    try:
        return config.make(point.info["config"])
    except (KeyError, TypeError, ConfigError) as error:
        raise RunError(
            f"The checkpoint {point.path} cannot be gone on from: its config is not one ({error})."
        ) from None


def _refuse_altered(run: Run, then: config.Config, now: config.Config) -> None:
    """The texts may lie elsewhere by now, and measuring changes nothing; the rest makes another run."""
    before, after = (config.flat(settings.model_dump(exclude_none=True)) for settings in (then, now))
    free = {f"training.{name}" for name in CHANGEABLE} | {"data.train", "data.valid", "data.test", "model.weights"}
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and key not in free and not key.startswith("measure."):
            file, was, came = run.path / "config.toml", before.get(key), after.get(key)
            raise RunError(
                f"{file} was altered: {key} was {was} and is {came}. Put it back, or start a new run with --config "
                f"{file}."
            )


def _refuse_finished(run: Run, changes: Mapping[str, Any]) -> None:
    if run.status() == "finished" and not config.BUDGETS & changes.get("training", {}).keys():
        raise UsageError(f"{run.path} has finished; there is nothing to resume. Give a larger budget, such as --steps.")


def _refuse_small(run: Run, keeper: Keeper, changes: Mapping[str, Any]) -> None:
    if config.BUDGETS & changes.get("training", {}).keys() and keeper.work.budget.progress(keeper.place.at) >= 1:
        at, t = keeper.place.at, keeper.work.settings.training
        taken = f"{at.step:,} steps, {at.epoch:.3g} epochs and {at.seconds / 60:.3g} minutes"
        name = next(name for name in ("steps", "minutes", "epochs") if getattr(t, name))
        raise UsageError(
            f"{run.path} has taken {taken} already; got a budget of {getattr(t, name):g} {name}. A budget counts from "
            f"the run's beginning: give a larger one."
        )


def _looks(run: Run, work: Work, notes: list[str]) -> Measurement | None:
    """The measurement from the start, and the gauge set to the latest one, as the report has them."""
    if not work.gauge.recurrent:
        return None
    try:
        report = Report.from_json((run.path / "report.json").read_text(encoding="utf-8"))
        start = report.measurements["start"]
        work.gauge.latest = report.measurements.get("end", start)
        return start
    except (OSError, UnicodeDecodeError, KeyError, RunError) as error:
        notes.append(f"report.json cannot be read ({error}), so 'start' in the report is the reach of now.")
        return work.gauge.take(0, whole=True)


def _inexact(before: config.Config, keeper: Keeper, environment_then: Mapping[str, Any]) -> list[str]:
    """Why the rest will not be, bit for bit, what an unbroken run would have been."""
    then, now = before.training, keeper.work.settings.training
    reasons = [
        f"{key} was {environment_then.get(key)} and is {value}"
        for key, value in environment(keeper.work.device).items()
        if key in EXACT and environment_then.get(key) != value
    ]
    reasons += [
        f"{key} was {getattr(then, key)} and is {getattr(now, key)}"
        for key in ("device", "backend", *sorted(config.BUDGETS))
        if getattr(then, key) != getattr(now, key)
    ]
    if any(getattr(then, name) != getattr(now, name) for name in config.BUDGETS):
        at, work = keeper.place.at, keeper.work
        factor = work.schedule(at, work.budget.progress(at)) * keeper.rollback.scale
        reasons.append(f"the learning rate goes by the new budget, on from {now.lr * factor:.3g}")
    if now.minutes is not None:
        left = now.minutes * (1 - keeper.work.budget.progress(keeper.place.at))
        reasons.append(f"the budget is in minutes, of which {left:.2g} remain")
    return [f"Not bit for bit what an unbroken run gives: {'; '.join(reasons)}."] if reasons else []
