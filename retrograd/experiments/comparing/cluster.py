"""The runs of a comparison spread over a Ray cluster: `--on ray`, an extra.

    driver   the data's bytes, once; for each run its config, and its files where it was begun   ->   node
    node     trains in a temporary folder of its own                                             ->   the run's files

What comes back is written whole, or not at all. When the comparison is stopped the nodes save and send back what they
have, so that it goes on from there; where the driver is killed, runs on the way begin anew. Every node needs this
version of Retrograd, and no file of the driver's.
"""

import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrograd import config, runs
from retrograd.errors import DataError, MissingExtra, SaveFailed, UsageError
from retrograd.experiments.comparing.plan import Entry
from retrograd.experiments.comparing.pool import TICK, Began, Ended, Happened, Progressed, Stop
from retrograd.experiments.comparing.worker import End, Leash, brought_to_its_end, put_back, set_aside
from retrograd.reports import Report, html
from retrograd.tasks.idx import labels_beside

ASKED = 0.2  # seconds between two questions of a node whether to stop
NAMED = ("train", "valid", "test")  # keys of [data] that name files
Files = dict[str, bytes]  # by path in a folder


def spread(folder: Path, entries: Sequence[Entry], *, workers: int, stop: Stop) -> Generator[Happened, None, None]:
    """As on the cores of one machine, on whichever node has room."""
    if not entries:
        return
    ray = joined()
    leash = ray.remote(num_cpus=0)(_Leash).remote()
    task = ray.remote(max_retries=0)(_on_node)
    data = ray.put(_data(entries[0].settings.data))
    waiting, running, stopping = deque(entries), dict[Any, Entry](), False
    try:
        while waiting or running:
            if not stopping and stop():
                stopping = True
                waiting.clear()
                ray.get(leash.pull.remote())
            while waiting and len(running) < workers:
                entry = waiting.popleft()
                taken = _taken(entry.settings.training)  # what counts needs less than a network
                running[task.options(**taken).remote(_job(folder, entry), data, leash)] = entry
                yield Began(entry)
            done, _ = ray.wait(list(running), timeout=TICK) if running else ([], [])
            for name, progress in ray.get(leash.told.remote()).items():
                yield from (Progressed(entry, progress) for entry in running.values() if entry.name == name)
            for reference in done:
                yield _ended(ray, folder, running.pop(reference), reference, stopping=stopping)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.kill(leash)


def joined() -> Any:
    """The package, with the cluster that RAY_ADDRESS or `ray start` names, or else one on this machine.

    Raises MissingExtra, and UsageError where that cluster does not answer.
    """
    try:
        ray = import_module("ray")
    except ImportError:
        raise MissingExtra("--on ray", "ray") from None
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"No Ray cluster could be joined: {said}. Check RAY_ADDRESS, or leave --on ray out.") from None
    return ray


def room(training: config.Training) -> int:
    """Runs that the whole cluster takes at a time."""
    there, taken = joined().cluster_resources(), _taken(training)
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return max(1, min(int(there.get(names[key], 0) // each) for key, each in taken.items()))


def _taken(training: config.Training) -> dict[str, int]:
    """What a run takes of its node."""
    return {"num_cpus": training.threads or 1} | ({"num_gpus": 1} if training.device.startswith("cuda") else {})


class _Leash:
    """An actor that every node asks whether to stop, and tells how far it has come."""

    def __init__(self) -> None:
        self.is_pulled, self.shares = False, dict[str, float]()

    def pull(self) -> None:
        self.is_pulled = True

    def pulled(self) -> bool:
        return self.is_pulled

    def tell(self, name: str, progress: float) -> None:
        self.shares[name] = progress

    def told(self) -> dict[str, float]:
        """What is new."""
        shares, self.shares = self.shares, {}
        return shares


def _job(folder: Path, entry: Entry) -> dict[str, Any]:
    """All that a node needs beside the data: the config, and the run as it stands."""
    put_back(folder / entry.name)
    return {
        "name": entry.name,
        "config": entry.settings.model_dump(mode="json", exclude_none=True),
        "run": _read(folder / entry.name),
        "version": version("retrograd"),
    }


def _data(data: config.Data) -> Files:
    """Every file that the data is made of, by its place on a node: TRAIN-0/NAME of a file, and so on of a folder."""
    found: Files = {}
    for place, path in _named(data):
        own = _read(path) if path.is_dir() else {"": path.read_bytes()}
        found |= {f"{place}/{path.name}/{name}".rstrip("/"): raw for name, raw in own.items()}
        with suppress(DataError):  # most data has no labels beside it
            labels = Path(labels_beside(str(path)))
            found |= {f"{place}/{labels.name}": labels.read_bytes()} if labels.is_file() else {}
    return found


def _named(data: config.Data) -> list[tuple[str, Path]]:
    paths = {"train": data.train, "valid": (data.valid,), "test": (data.test,)}
    return [(f"{name}-{i}", Path(path)) for name in NAMED for i, path in enumerate(paths[name]) if path]


def _on_node(job: dict[str, Any], data: Files, leash: Any) -> tuple[dict[str, Any], Files]:
    """Train on this node; what came of it, and the files of the run's folder."""
    if (here := version("retrograd")) != job["version"]:
        return End("failed", f"A node has Retrograd {here}; install {job['version']} on every node.").values, {}
    root = Path(tempfile.mkdtemp(prefix="retrograd-"))
    try:
        run, settings = root / job["name"], _placed(config.make(job["config"]), root)
        _write(root, data)
        _write(run, job["run"])
        if job["run"]:
            _say(run, settings)
        over = threading.Event()
        hold = Leash(lambda: _wait(leash, over))
        end = brought_to_its_end(run, settings, hold, lambda told: leash.tell.remote(job["name"], told["progress"]))
        hold.may_save()  # the next run of this process is none of its business
        over.set()
        return end.values, _read(run)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _wait(leash: Any, over: threading.Event) -> None:
    """Until the leash is pulled, its driver is gone, or the run is over."""
    ray = import_module("ray")
    try:
        while not over.is_set() and not ray.get(leash.pulled.remote()):
            time.sleep(ASKED)
    except Exception:  # of many kinds, and all say that nobody holds it any more
        return


def _placed(settings: config.Config, root: Path) -> config.Config:
    """The config with its data where it lies on the node."""
    there = {place: str(root / place / path.name) for place, path in _named(settings.data)}
    data = {
        "train": tuple(there[f"train-{i}"] for i in range(len(settings.data.train))),
        "valid": there.get("valid-0"),
        "test": there.get("test-0"),
    }
    return settings.model_copy(update={"data": settings.data.model_copy(update=data)})


def _ended(ray: Any, folder: Path, entry: Entry, reference: Any, *, stopping: bool) -> Ended:
    try:
        end, files = ray.get(reference)
    except ray.exceptions.RayError as error:  # the node is gone, or has no memory left
        said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        return Ended(entry, "preempted") if stopping else Ended(entry, "failed", f"Ray lost it: {said}")
    if files:
        _take_back(folder, entry, files)
    return Ended(entry, end["status"], end["reason"], end["context"])


def _take_back(folder: Path, entry: Entry, files: Files) -> None:
    """The run's folder with these files in the place of what was there, its data named as it is called here."""
    path = folder / entry.name
    draft, before = runs.half(path), set_aside(path)
    try:
        _write(draft, files)
        _say(draft, entry.settings)
        if path.exists():
            path.rename(before)
        draft.rename(path)
        runs.sync(folder)
    except OSError as error:
        raise SaveFailed(f"The run {path} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            put_back(path)
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)


def _say(run: Path, settings: config.Config) -> None:
    """Have the config and the report of a run name the data as these settings do."""
    data = {key: x for key in NAMED if (x := getattr(settings.data, key)) is not None}
    own = config.make(config.read(run / "config.toml"))
    own = own.model_copy(update={"data": own.data.model_copy(update=data)})
    runs.write(run / "config.toml", config.dump(own))
    if (file := run / "report.json").is_file():
        report = Report.from_json(file.read_text(encoding="utf-8"))
        report = replace(report, config=own.model_dump(mode="json", exclude_none=True))
        runs.write(file, report.to_json())
        runs.write(run / "report.html", html.page(report, run=str(run)))


def _read(folder: Path) -> Files:
    """Every file in a folder and below, by its path; no lock, and nothing half-written."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {own.as_posix(): path.read_bytes() for own, path in found.items() if not any(map(_stays, own.parts))}


def _stays(name: str) -> bool:
    """Is it of this machine alone?"""
    return name in (runs.LOCK, runs.WRITER) or name.endswith(runs.HALF)


def _write(folder: Path, files: Files) -> None:
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.write(path, raw)
