"""Which runs there are, and what one of them holds.

    listing(folder) -> Entry, Entry ...       details(run) -> Details

Only small text files are read and no tensor, so that two hundred runs are listed in under a second. A folder that
cannot be read is an entry too, with the reason.
"""

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # four times as fast as the json module, and a report has many numbers

from retrograd import config, runs
from retrograd.errors import RetrogradError, RunError, nearest
from retrograd.runs import Run
from retrograd.training import pointer
from retrograd.training.schedules import Budget, Position

MARKS = ("config.toml", "events.jsonl", "metrics.jsonl", "checkpoints", "report.json")  # a run has two of them at least
ALIVE = ("config.toml", "events.jsonl", "metrics.jsonl", "report.json", "checkpoints/latest.json")
TAIL = 8192  # bytes of metrics.jsonl that a listing reads: some fifty lines


@dataclass(frozen=True)
class Entry:
    """One run in a list. What is not known is None."""

    name: str  # its path under the folder that was listed
    path: str
    status: str  # Run.status(), or "unreadable"
    reason: str  # why it is unreadable
    alive: float  # its last sign of life, seconds since 1970
    size: int  # bytes on disk
    model: str | None = None  # "lstm 1x512"
    steps: int | None = None
    best: float | None = None
    measure: str | None = None  # what `best` is: "accuracy", or "nats" per token of the validation data
    horizon: str | None = None  # the last one measured: "23", ">192"; "32@0" where that was long ago, at step 0


@dataclass(frozen=True)
class Look:
    """One measured horizon."""

    name: str  # "start", "end"
    step: int
    horizon: str  # "23", ">192", or "NaN"
    low: int | None  # the interval; None where the gradient outlived what was measured, or is no number
    high: int | None
    decay: float | None  # factor per step


@dataclass(frozen=True)
class Saved:
    """One checkpoint."""

    name: str
    step: int
    size: int
    roles: tuple[str, ...]  # "last", "previous", "best": what latest.json calls it


@dataclass(frozen=True)
class Details:
    """Everything about one run."""

    entry: Entry
    started: float | None  # seconds since 1970
    events: tuple[dict[str, Any], ...]
    config: dict[str, Any]
    data: str | None  # fingerprint
    progress: float | None  # share of the budget that is used up
    seconds: float | None  # of training
    speed: float | None  # tokens per second, the median over the log
    figures: dict[str, float]
    findings: tuple[str, ...] | None  # codes of what is wrong; None where there is no report
    horizons: tuple[Look, ...]
    checkpoints: tuple[Saved, ...]
    environment: dict[str, Any]
    page: str | None  # path of report.html


def listing(folder: str | Path = "runs") -> tuple[Entry, ...]:
    """The runs in a folder and one level deeper, the last one alive first. Raises RunError where it is no folder."""
    root = Path(folder)
    if not root.is_dir():
        raise RunError(f"No folder is at {root}. Try retrograd runs FOLDER, or retrograd runs --help.")
    found = [(root, str(root))] if is_run(root) else [(path, str(path.relative_to(root))) for path in _below(root)]
    entries = [entry(path, name) for path, name in found]
    return tuple(sorted(entries, key=lambda entry: entry.alive, reverse=True))


def is_run(folder: Path) -> bool:
    """Does it look like what a training has written, whole or broken?"""
    return sum(os.path.lexists(folder / mark) for mark in MARKS) > 1


def find(name: str | Path) -> Path:
    """The run's folder at that path, or of that name under runs/. Raises RunError, with the nearest name there is."""
    root = Path("runs")
    for path in (Path(name), root / name):
        if os.path.lexists(path):
            return path
    near = nearest(str(name), [str(path.relative_to(root)) for path in _below(root)])
    hint = f"the nearest there is {near}" if near else "retrograd runs lists what there is"
    raise RunError(f"No run is at {name}, nor under runs/; {hint}.")


def details(name: str | Path) -> Details:
    """Raises RunError or ConfigError where a file of the run cannot be read."""
    run = runs.open_run(find(name))
    with _reading(run.path):
        return _details(_facts(run, run.metrics()))


def _below(root: Path) -> Iterator[Path]:
    """The run folders in `root`, and those in its other folders."""
    for folder in _folders(root):
        yield from [folder] if is_run(folder) else filter(is_run, _folders(folder))


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in sorted(root.iterdir()) if not path.name.startswith(".") and path.is_dir()]
    except OSError:  # what may not be looked into is passed over
        return []


@dataclass(frozen=True)
class _Facts:
    """What is read of a run; `lines` are those of metrics.jsonl, or the last of them."""

    run: Run
    status: str
    settings: config.Config
    events: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    report: dict[str, Any]


def _facts(run: Run, lines: list[dict[str, Any]]) -> _Facts:
    return _Facts(run, run.status(), run.config(), run.events(), lines, _json(run.path / "report.json"))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A file that cannot be read, or holds JSON that no run writes, is a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"A file in {path} is not as a run writes it ({error!r}). Try retrograd runs verify.") from None


def entry(path: Path, name: str | None = None) -> Entry:
    """The run in a folder, as one line of a list; never raises for what the folder holds."""
    name = name or str(path)
    try:
        run = runs.open_run(path)
        with _reading(path):
            return _about(_facts(run, _recent(path / "metrics.jsonl")), name)
    except RetrogradError as error:
        return Entry(name, str(path), "unreadable", str(error), _alive(path), _size(path))


def _about(facts: _Facts, name: str) -> Entry:
    m, path = facts.settings.model, facts.run.path
    best, measure = _best(facts)
    steps, last = _steps(facts), next(iter(_horizons(facts)[::-1]), None)
    return Entry(
        name=name,
        path=str(path),
        status=facts.status,
        reason="",
        alive=_alive(path),
        size=_size(path),
        model=m.name or None,
        steps=steps,
        best=best,
        measure=measure,
        horizon=last.horizon + (f"@{last.step}" if last.step < steps / 2 else "") if last else None,
    )


def _details(facts: _Facts) -> Details:
    started: dict[str, Any] = next((event for event in facts.events if event["event"] == "started"), {})
    speeds = [float(line["tokens_per_second"]) for line in facts.lines if "tokens_per_second" in line]
    seconds = [float(line["seconds"]) for line in facts.lines if "seconds" in line]
    page = facts.run.path / "report.html"
    return Details(
        entry=_about(facts, facts.run.path.name),
        started=started.get("time"),
        events=tuple(facts.events),
        config=facts.settings.model_dump(mode="json", exclude_none=True),
        data=started.get("data"),
        progress=_progress(facts),
        seconds=seconds[-1] if seconds else None,
        speed=statistics.median(speeds) if speeds else None,
        figures={name: float(value) for name, value in facts.report.get("figures", {}).items()},
        findings=tuple(finding["code"] for finding in facts.report.get("findings", ())) if facts.report else None,
        horizons=tuple(_horizons(facts)),
        checkpoints=tuple(_checkpoints(facts.run.checkpoints)),
        environment=started.get("environment", {}),
        page=str(page) if page.is_file() else None,
    )


def _steps(facts: _Facts) -> int:
    """The last step that is told of: every tenth has a line in the log, and the end of a run an event."""
    told = [facts.lines[-1]] if facts.lines else []
    told += [event for event in facts.events if event["event"] in runs.STATUS][-1:]
    return max([int(values["step"]) for values in told if "step" in values], default=0)


def _best(facts: _Facts) -> tuple[float | None, str | None]:
    """The best figure and what it is. The report may be older than the log, which may be read in part."""
    measure, name, choose = "nats", "validation nats", min
    figures = facts.report.get("figures", {})
    if "accuracy" in figures or facts.settings.task.name not in config.TEXTS:
        measure, name, choose = "accuracy", "accuracy", max
    if facts.status == "finished" and name in figures:
        return float(figures[name]), measure
    key = "accuracy" if measure == "accuracy" else "validation"
    values = [float(line[key]) for line in facts.lines if key in line]
    values += [float(figures[name])] if name in figures else []
    return (choose(values), measure) if values else (None, None)


def _horizons(facts: _Facts) -> list[Look]:
    """The measurements of the report, then the last of the log where that is later."""
    looks = [_look(name, measured) for name, measured in facts.report.get("measurements", {}).items()]
    logged = [line for line in facts.lines if "horizon" in line]
    if logged and facts.status != "finished" and (not looks or logged[-1]["step"] > looks[-1].step):
        line = logged[-1]
        shown = f">{line['horizon']}" if line["beyond"] else str(line["horizon"])
        low, high = (None, None) if line["beyond"] else (line["low"], line["high"])
        looks = [*looks[:1], Look("last logged", int(line["step"]), shown, low, high, float(line["decay"]))]
    return looks


def _look(name: str, measured: dict[str, Any]) -> Look:
    h = measured["horizon"]
    after = h["steps"] + 1
    if h["profile"][after : after + 1] == ["NaN"]:
        return Look(name, int(measured["step"]), "NaN", None, None, float(h["decay"]))
    if h["steps"] >= h["longest"]:
        return Look(name, int(measured["step"]), f">{h['longest']}", None, None, float(h["decay"]))
    return Look(name, int(measured["step"]), str(h["steps"]), h["low"], h["high"], float(h["decay"]))


def interval(look: Look) -> str:
    """Such as "23 (21 to 25)"."""
    return look.horizon if look.low is None else f"{look.horizon} ({look.low} to {look.high})"


def verdicts(run: Details) -> str | None:
    """Such as "vanishing"; "none" where nothing is wrong."""
    return None if run.findings is None else ", ".join(run.findings) or "none"


def _progress(facts: _Facts) -> float | None:
    """Share of the budget at the last line of the log that tells time."""
    t = facts.settings.training
    timed = [line for line in facts.lines if "seconds" in line]
    if facts.status == "finished" or not timed:
        return 1.0 if facts.status == "finished" else None
    at = Position(int(timed[-1]["step"]), float(timed[-1]["epoch"]), float(timed[-1]["seconds"]))
    return Budget(t.minutes, t.steps, t.epochs).progress(at)


def _checkpoints(folder: Path) -> Iterator[Saved]:
    named = _json(folder / "latest.json")
    for path in pointer.written(folder):
        roles = tuple(role for role in ("last", "previous", "best") if named.get(role) == path.name)
        yield Saved(path.name, pointer.step_of(path.name), _size(path), roles)


def _recent(log: Path) -> list[dict[str, Any]]:
    """The last lines of metrics.jsonl, as Run.metrics reads them, without the time that the whole of it would take."""
    if not log.exists():
        return []
    with open(log, "rb") as file:
        begin = max(0, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(begin)
        whole = file.read().split(b"\n")[1 if begin else 0 : -1]
    kept: list[dict[str, Any]] = []
    for number, raw in enumerate(whole, 1):
        line = _parsed(raw)
        if line is None and number == len(whole):
            break
        if line is None:
            raise RunError(f"A line of {log} is not a JSON object; the file was altered.")
        if "back" in line:
            kept = [earlier for earlier in kept if earlier["step"] <= line["back"]]
        else:
            kept.append(line)
    return kept


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        values = from_json(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or nothing where there is none. "NaN" and its like stay names, which float() takes."""
    try:
        values = from_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); it was cut or altered.") from None
    if not isinstance(values, dict):
        raise RunError(f"{path} holds no JSON object; it was altered.")
    return values


def _alive(path: Path) -> float:
    """When a run last wrote; a lock that was looked at is no sign of life."""
    times = [os.stat(path / name).st_mtime for name in ALIVE if os.path.exists(path / name)]
    return max(times, default=0.0)


def _size(folder: Path) -> int:
    """Bytes in the files of a folder; links are not followed. What goes while it is counted is passed over."""
    total, open_ = 0, [folder]
    while open_:
        try:
            entries = list(os.scandir(open_.pop()))
            total += sum(entry.stat(follow_symlinks=False).st_size for entry in entries if not entry.is_dir())
            open_ += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
    return total
