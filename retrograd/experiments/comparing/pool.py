"""The runs of a comparison spread over the cores of this machine, each in a process of its own.

    for event in spread(folder, entries, workers=2, stop=stop):  Began, Progressed, Ended

A process is let go by closing its stdin, which the system does too when this one is gone: it saves and leaves. Ctrl-C
on the terminal reaches this process alone, so that none is asked twice.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import retrograd
from retrograd import config, runs
from retrograd.experiments.comparing.plan import Entry

MODULE = "retrograd.experiments.comparing.worker"
TICK = 0.2  # seconds between two looks at whether to stop
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Began:
    entry: Entry


@dataclass(frozen=True)
class Progressed:
    entry: Entry
    progress: float  # share of the budget


@dataclass(frozen=True)
class Ended:
    entry: Entry
    status: str  # "finished", "preempted", "failed"
    reason: str = ""
    context: dict[str, Any] | None = None


Happened = Began | Progressed | Ended


def room(training: config.Training) -> int:
    """Runs that this machine takes at a time: as many as this process may use cores for, or one on a GPU."""
    if training.device.startswith("cuda"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (training.threads or 1))


def spread(folder: Path, entries: Sequence[Entry], *, workers: int, stop: Stop) -> Generator[Happened, None, None]:
    """Bring every run to its end, so many at a time. When `stop` says yes those that run are saved and no other begins.

    Where whoever iterates goes away, the processes are killed, and lose what they did since their last checkpoint.
    """
    waiting, running, told, stopping = deque(entries), dict[str, _Process](), queue.Queue[_Line](), False
    try:
        while waiting or running:
            if not stopping and stop():
                stopping = True
                waiting.clear()
                for process in running.values():
                    process.let_go()
            while waiting and len(running) < workers:
                entry = waiting.popleft()
                running[entry.name] = _Process(folder, entry, told)
                yield Began(entry)
            with suppress(queue.Empty):
                name, line = told.get(timeout=TICK)
                if line is not None:
                    yield from running[name].heard(line)
                else:
                    yield running.pop(name).ended(stopping)
    finally:
        for process in running.values():
            process.kill()


_Line = tuple[str, bytes | None]  # whose it is, and what it said; None: it has left


class _Process:
    """One run's process, and the thread that hears what it says."""

    def __init__(self, folder: Path, entry: Entry, told: "queue.Queue[_Line]") -> None:
        self.entry, self.end, self.errors = entry, dict[str, Any](), tempfile.TemporaryFile()  # noqa: SIM115  it stays open
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=_environment(entry),
            start_new_session=True,
        )
        job = {"folder": str(folder / entry.name), "config": entry.settings.model_dump(mode="json", exclude_none=True)}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(runs.to_json(job).encode() + b"\n")
            self.process.stdin.flush()
        threading.Thread(target=self._hear, args=(told,), daemon=True).start()

    def _hear(self, told: "queue.Queue[_Line]") -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                told.put((self.entry.name, line))
        told.put((self.entry.name, None))

    def let_go(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def heard(self, line: bytes) -> Iterator[Progressed]:
        with suppress(ValueError):  # what some library prints is not for us
            values = json.loads(line)
            if isinstance(values, dict) and "progress" in values:
                yield Progressed(self.entry, float(values["progress"]))
            elif isinstance(values, dict) and "status" in values:
                self.end = values

    def ended(self, stopping: bool) -> Ended:
        self.let_go()
        code = self.process.wait()
        with self.errors:
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").split("\n")
        if self.end:
            return Ended(self.entry, self.end["status"], self.end["reason"], self.end["context"])
        if stopping:
            return Ended(self.entry, "preempted")
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        how = f"was ended by signal {-code}" if code < 0 else f"left with {code}"
        return Ended(self.entry, "failed", f"Its process {how}: {last}")

    def kill(self) -> None:
        self.let_go()
        self.process.kill()
        self.process.wait()
        self.errors.close()


def _environment(entry: Entry) -> dict[str, str]:
    """This Retrograd, wherever it lies, and no more threads than the run is to have."""
    here = str(Path(retrograd.__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(entry.settings.training.threads or 1)}
