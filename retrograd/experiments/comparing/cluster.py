"""The runs of a comparison spread over a Ray cluster: `--on ray`, an extra.

    driver   config, the texts' bytes, the files of a run that was begun   ->   node
    node     trains in a temporary folder of its own                       ->   the files of the run's folder

What comes back is written whole, or not at all. When the comparison is stopped the nodes save and send back what they
have, so that it goes on from there; where the driver is killed, runs on the way begin anew. Every node needs this
version of Retrograd, and no file of the driver's.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrograd import config, runs
from retrograd.errors import MissingExtra, RunError
from retrograd.experiments.comparing.plan import Entry
from retrograd.experiments.comparing.pool import TICK, Began, Ended, Happened, Stop
from retrograd.experiments.comparing.worker import End, Leash, brought_to_its_end
from retrograd.reports import Report, html

ASKED = 1.0  # seconds between two questions of a node whether to stop
NAMED = ("train", "valid", "test")  # keys of [data] that name files
Files = dict[str, bytes]  # by path in a folder


def spread(folder: Path, entries: Sequence[Entry], *, workers: int, stop: Stop) -> Iterator[Happened]:
    """As on the cores of one machine; `workers` runs at a time, each on one processor of some node.

    Joins the cluster that RAY_ADDRESS or `ray start` names, or starts one on this machine. Raises MissingExtra.
    """
    ray = require()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    leash = ray.remote(num_cpus=0)(_Leash).remote()
    task = ray.remote(num_cpus=1, max_retries=0)(_on_node)
    waiting, running, stopping = deque(entries), dict[Any, Entry](), False
    try:
        while waiting or running:
            if not stopping and stop():
                stopping = True
                waiting.clear()
                ray.get(leash.pull.remote())
            while waiting and len(running) < workers:
                entry = waiting.popleft()
                running[task.remote(_job(folder, entry), leash, version("retrograd"))] = entry
                yield Began(entry)
            done, _ = ray.wait(list(running), timeout=TICK)
            for reference in done:
                yield _ended(ray, folder, running.pop(reference), reference)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.kill(leash)


def require() -> Any:
    """The package. Raises MissingExtra."""
    try:
        return import_module("ray")
    except ImportError:
        raise MissingExtra("--on ray", "ray") from None


class _Leash:
    """An actor that every node asks whether to stop."""

    def __init__(self) -> None:
        self.is_pulled = False

    def pull(self) -> None:
        self.is_pulled = True

    def pulled(self) -> bool:
        return self.is_pulled


def _job(folder: Path, entry: Entry) -> dict[str, Any]:
    """All that a node needs: texts by their place in the config, and the run as it stands."""
    data = entry.settings.data
    texts = {f"{name}-{i}": Path(path).read_bytes() for name, i, path in _named(data)}
    return {
        "name": entry.name,
        "config": entry.settings.model_dump(mode="json", exclude_none=True),
        "texts": texts,
        "run": _read(folder / entry.name),
    }


def _named(data: config.Data) -> list[tuple[str, int, str]]:
    paths = {"train": data.train, "valid": (data.valid,), "test": (data.test,)}
    return [(name, i, path) for name in NAMED for i, path in enumerate(paths[name]) if path]


def _on_node(job: dict[str, Any], leash: Any, wanted: str) -> tuple[dict[str, Any], Files]:
    """Train on this node; what came of it, and the files of the run's folder."""
    if (here := version("retrograd")) != wanted:
        return End("failed", f"A node has Retrograd {here}; install {wanted} on every node.").values, {}
    root = Path(tempfile.mkdtemp(prefix="retrograd-"))
    try:
        run = root / job["name"]
        _write(run, job["run"])
        settings = _placed(config.make(job["config"]), root, job["texts"])
        if job["run"]:
            _say(run, settings)
        end = brought_to_its_end(run, settings, Leash(lambda: _wait(leash)), lambda _: None)
        return end.values, _read(run)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _wait(leash: Any) -> None:
    """Until the leash is pulled, or its driver is gone."""
    ray = import_module("ray")
    try:
        while not ray.get(leash.pulled.remote()):
            time.sleep(ASKED)
    except Exception:  # of many kinds, and all say that nobody holds it any more
        return


def _placed(settings: config.Config, root: Path, texts: Files) -> config.Config:
    """The config with its texts written into the folder."""
    for name, raw in texts.items():
        (root / name).write_bytes(raw)
    there = {(name, i): str(root / f"{name}-{i}") for name, i, _ in _named(settings.data)}
    data = {
        "train": tuple(there["train", i] for i in range(len(settings.data.train))),
        "valid": there.get(("valid", 0)),
        "test": there.get(("test", 0)),
    }
    return settings.model_copy(update={"data": settings.data.model_copy(update=data)})


def _ended(ray: Any, folder: Path, entry: Entry, reference: Any) -> Ended:
    try:
        end, files = ray.get(reference)
    except ray.exceptions.RayError as error:  # the node is gone, or has no memory left
        said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        return Ended(entry, "failed", f"Ray lost it: {said}")
    if files:
        _take_back(folder, entry, files)
    return Ended(entry, end["status"], end["reason"], end["context"])


def _take_back(folder: Path, entry: Entry, files: Files) -> None:
    """The run's folder with these files in the place of what was there, its texts named as they are called here."""
    path = folder / entry.name
    draft = runs.half(path)
    try:
        _write(draft, files)
        _say(draft, entry.settings)
        runs.sync(draft)
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
        runs.sync(folder)
    except OSError as error:
        raise RunError(f"The run {path} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _say(run: Path, settings: config.Config) -> None:
    """Have the config and the report of a run name the texts as these settings do."""
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
    """Every file in the folder and below, by its path; no lock, and nothing half-written."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name not in (runs.LOCK, runs.WRITER)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept if runs.HALF not in str(path)}


def _write(folder: Path, files: Files) -> None:
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
