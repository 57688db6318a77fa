"""One run of a comparison, brought to its end by a process of its own.

    python -m retrograd.experiments.comparing.worker

    stdin    a line of JSON: folder, config       and then nothing, for as long as it may run
    stdout   lines of JSON: {"progress": 0.4} ... {"status": "finished", "context": {"steps": 37, ...}}

When stdin ends the run is saved at the next step and the process leaves: because it was let go, or because whoever
started it is gone, however it ended. What the folder holds decides what is left to be done, so that it may be started
again at any time.
"""

import _thread
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograd import config, runs
from retrograd.errors import RetrogradError
from retrograd.experiments.comparing import context
from retrograd.experiments.events import Event, Progress
from retrograd.experiments.own_process import begin_own_process
from retrograd.experiments.training import resuming, training
from retrograd.runs import Run

EVERY = 1.0  # seconds between two lines of progress
ON_ITS_WAY = 0.1  # seconds until an interruption that was sent is there, at most
PATIENCE = 300.0  # seconds that a run may still be written by one that was let go
ASIDE = f".aside{runs.HALF}"  # what the name ends in of a run in whose place another is being put
Tell = Callable[[dict[str, Any]], None]


class Leash:
    """Says when to stop. Before there is anything to save, it ends what is being done at once."""

    def __init__(self, pull: Callable[[], object]) -> None:
        """`pull` returns when it is pulled."""
        self.pulled, self.saves, self.interrupted, self._pull = threading.Event(), False, False, pull
        self._lock = threading.RLock()  # a signal may let go while this very thread holds it
        threading.Thread(target=self._hold, daemon=True).start()

    def _hold(self) -> None:
        self._pull()
        self.let_go()

    def let_go(self, *_: object) -> None:
        self.pulled.set()
        with self._lock:
            if not self.saves and not self.interrupted:
                self.interrupted = True
                _thread.interrupt_main()

    def may_save(self) -> None:
        """From now on nothing is ended at once; an interruption that is on its way is waited for and dropped."""
        try:
            with self._lock:
                self.saves = True
            deadline = time.monotonic() + ON_ITS_WAY
            while self.interrupted and time.monotonic() < deadline:
                time.sleep(ON_ITS_WAY / 100)
        except KeyboardInterrupt:
            self.saves = True


@dataclass(frozen=True)
class End:
    """What came of it: "finished", "preempted" or "failed"."""

    status: str
    reason: str = ""
    context: dict[str, Any] | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {"status": self.status, "reason": self.reason, "context": self.context}


def brought_to_its_end(folder: Path, settings: config.Config, leash: Leash, tell: Tell) -> End:
    """Begin the run, or go on with it, or leave it as it is. Raises nothing that a run may meet."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder.with_name(f".{folder.name}{runs.LOCK}"), timeout=PATIENCE):
            _clear(folder)
            status = _trained(folder, settings, leash, tell)
            found = context.used(folder).values if status == "finished" and not leash.pulled.is_set() else None
            return End(status, context=found)
    except KeyboardInterrupt:
        return End("preempted")
    except RetrogradError as error:
        return End("failed", str(error))
    except Timeout:
        return End("failed", f"{folder} is still being written by another process. Stop it first, or wait.")
    except (OSError, RuntimeError, MemoryError) as error:
        return End("failed", " ".join(f"{type(error).__name__}: {error}".split()))


def _clear(folder: Path) -> None:
    """Put back the run that another was to replace, and drop what else a killed process left half made."""
    import shutil

    put_back(folder)
    for left in folder.parent.glob(f".{folder.name}.*{runs.HALF}"):
        shutil.rmtree(left, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Where a run lies, whole, while another is put in its place."""
    half = runs.half(folder)
    return half.with_name(half.name.removesuffix(runs.HALF) + ASIDE)


def put_back(folder: Path) -> None:
    """Have the run that was set aside in its place where no other came into it."""
    aside = [file.parent for file in folder.parent.glob(f".{folder.name}.*{ASIDE}/config.toml")]
    if aside and not folder.exists():
        max(aside, key=lambda path: path.stat().st_mtime).rename(folder)
        runs.sync(folder.parent)


def _trained(folder: Path, settings: config.Config, leash: Leash, tell: Tell) -> str:
    run, stop = Run(folder), leash.pulled.is_set
    if (folder / "config.toml").exists():
        if run.status() == "finished":
            leash.may_save()
            return "finished"
        if reason := diverged(run):
            raise RetrogradError(reason)
        return _last(resuming(folder, stop=stop), leash, tell)
    return _last(training(settings, out=folder, stop=stop), leash, tell)


def diverged(run: Run) -> str:
    """Why a run ended that did not stay finite, and would not if it went on; "" of any other."""
    events = run.events()
    failed = events[-1] if events and events[-1]["event"] == "failed" else {}
    skipped = [e.get("step") for e in events if e["event"] == "skipped"]
    return str(failed.get("reason", "")) if skipped and failed.get("step") == skipped[-1] else ""


def _last(events: Iterator[Event], leash: Leash, tell: Tell) -> str:
    shown = 0.0
    for event in events:
        if not leash.saves:
            leash.may_save()
        if isinstance(event, Progress) and time.monotonic() >= shown + EVERY:
            shown = time.monotonic()
            tell({"progress": event.progress, "step": event.step.index})
    return str(getattr(event, "status", "failed"))


def main() -> None:
    begin_own_process()
    job = json.loads(sys.stdin.buffer.readline())
    leash = Leash(lambda: os.read(0, 1))
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leash.let_go)
    end = brought_to_its_end(Path(job["folder"]), config.make(job["config"]), leash, _print)
    _print(end.values)


def _print(values: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody hears it any more; the run is saved all the same
        print(runs.to_json(values), flush=True)


if __name__ == "__main__":
    main()
