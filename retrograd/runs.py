"""A run is a folder.

    config.toml       what it was made of: runs again as it stands
    metrics.jsonl     one line per measured step        events.jsonl   one line per thing that happened
    checkpoints/      step-000200/ ...  and latest.json, which names the last and the best
    tokenizer.json    probe.safetensors    SHA256SUMS        written once and kept as they are, with their checksums
    report.json       report.html

It appears whole, under its name, or not at all; one process writes it at a time. A log whose last line was cut, as a
power failure leaves it, is read without that line. Numbers that JSON lacks are written by name: "NaN", "Infinity".
"""

import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograd import checksums, config
from retrograd.errors import RunError, SaveFailed, UsageError

STATUS = {  # what the last of these events makes of a run
    "started": "running",
    "resumed": "running",
    "finished": "finished",
    "failed": "failed",
    "preempted": "preempted",
}
HALF = ".half"  # what the names of half-written files end in
LOCK, WRITER = ".lock", ".writer"  # the file that is held locked, and who holds it
NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Run:
    """The folder of one run; only paths and small text files, never tensors."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def config(self) -> config.Config:
        return config.make(config.read(self.path / "config.toml"))

    def keep(self, files: dict[str, bytes]) -> None:
        """Write the files that stay as they are as long as the run lives, and their checksums."""
        sums = checksums.lines(files.items()).encode()
        for name, raw in (files | {checksums.SUMS: sums}).items():
            write(self.path / name, raw)

    def kept(self, name: str) -> Path:
        """The path of such a file. Raises RunError where it was cut, altered or swapped since it was written."""
        checksums.check(self.path, name)
        return self.path / name

    def keeps(self, name: str) -> bool:
        """Is there such a file, or was there when the run was begun?"""
        return (self.path / name).exists() or checksums.tells_of(self.path, name)

    def record(self, **values: Any) -> None:
        """Append one line of numbers to metrics.jsonl."""
        _append(self.path / "metrics.jsonl", values)

    def event(self, name: str, **values: Any) -> None:
        """Append one line to events.jsonl: what happened, and when (seconds since 1970)."""
        _append(self.path / "events.jsonl", {"event": name, "time": round(time.time(), 3), **values})

    def back(self, step: int) -> None:
        """Say in metrics.jsonl that training goes on from `step`: what was logged of later steps is void."""
        self.record(back=step)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order, without those that going back has made void."""
        kept: list[dict[str, Any]] = []
        for line in _lines(self.path / "metrics.jsonl", {"step": int, "back": int}):
            if "back" in line:
                kept = [earlier for earlier in kept if earlier["step"] <= line["back"]]
            else:
                kept.append(line)
        return kept

    def events(self) -> list[dict[str, Any]]:
        return list(_lines(self.path / "events.jsonl", {"event": str}))

    def status(self) -> str:
        """'running', 'killed' (it began, and no process writes it any more), 'preempted', 'finished' or 'failed'."""
        said = [STATUS[e["event"]] for e in self.events() if e["event"] in STATUS]
        status = said[-1] if said else "running"
        return "killed" if status == "running" and not self._is_written() else status

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one process that writes this run. Raises RunError, by name of the other, where there is one."""
        from filelock import FileLock, Timeout

        _refuse_link(self.path / LOCK)
        try:
            with FileLock(self.path / LOCK, timeout=1):
                write(self.path / WRITER, f"{this_process()}, since {_clock(time.time())}")
                try:
                    yield
                finally:
                    (self.path / WRITER).unlink(missing_ok=True)
        except Timeout:
            raise RunError(f"{self.path} is being written by {self._writer()}. Stop it first, or wait.") from None

    def refuse_links(self) -> None:
        """Raises RunError where a file of the run lies elsewhere: going on would write there."""
        for path in [*self.path.iterdir(), *self.checkpoints.glob("*")]:
            _refuse_link(path)

    def halves(self) -> list[Path]:
        """What a killed process left half written, or a live one is writing."""
        return sorted([*self.path.glob(f".*{HALF}"), *self.checkpoints.glob(f".*{HALF}")])

    def mend(self) -> list[str]:
        """Drop what a killed process left half written; says what. Only for the one that writes the run."""
        for path in self.halves():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        notes = []
        for log in (self.path / "metrics.jsonl", self.path / "events.jsonl"):
            if tail := torn(log):
                os.truncate(log, log.stat().st_size - len(tail))
                notes.append(f"The last line of {log.name} was cut ({len(tail)} bytes) and is dropped: {tail[:60]!r}")
        return notes

    def _is_written(self) -> bool:
        from filelock import FileLock, Timeout

        if not (self.path / LOCK).exists() or (self.path / LOCK).is_symlink():
            return False
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return False
        except (Timeout, OSError):  # ... or it lies where this user may not write
            return True

    def _writer(self) -> str:
        try:
            return (self.path / WRITER).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "another process"


def half(path: Path) -> Path:
    """Where a file or folder lies until it is whole: under another name, and out of sight."""
    return path.with_name(f".{path.name}.{os.getpid()}-{time.time_ns()}{HALF}")


def this_process() -> str:
    """Its name to other people: "process 4711 on the machine fermat"."""
    return f"process {os.getpid()} on the machine {socket.gethostname()}"


@contextmanager
def creating(path: str | Path | None, *, name: str) -> Iterator[tuple[Run, Run]]:
    """A new run at `path`, or runs/<time>-<name>: (the draft to fill in the block, the run that it then is).

    The draft gets its name when the block ends, so that a run is there whole or not at all. Raises RunError where
    something is already there.
    """
    folder = Path(path) if path is not None else _free(Path("runs"), name)
    refuse_if_taken(folder)
    draft = half(folder)
    make_folder(draft.parent)
    make_folder(draft)
    try:
        (draft / "checkpoints").mkdir()
        yield Run(draft), Run(folder)
        sync(draft)
        refuse_if_taken(folder)
        draft.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise SaveFailed(f"The run {folder} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def new_folder(path: str | Path | None, *, name: str) -> Path:
    """An empty folder of that path, or of a free name under runs/."""
    folder = Path(path) if path is not None else _free(Path("runs"), name)
    refuse_if_taken(folder)
    make_folder(folder)
    return folder


def refuse_if_taken(folder: Path) -> None:
    """Raises RunError where a new run cannot be put."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file. Name a folder with --out.")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} already exists and is not empty. Name another folder with --out.")


def make_folder(folder: Path) -> None:
    """With those above it. Raises RunError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {folder} cannot be made: {error.strerror}. Name another one.") from None


def refuse_file(file: Path, *, force: bool, example: str) -> None:
    """Raises UsageError where a file cannot be written, or is there and may not be written over."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder; a file's name is needed, such as {file / example}.")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already. Name another file, or write over it with --force.")
    folder = next(place for place in file.absolute().parents if place.exists())
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, so nothing can be written into it. Name another folder.")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"Nothing can be written into {folder}: permission denied. Name another folder.")


def open_run(path: str | Path) -> Run:
    """The run in a folder that holds one. Raises RunError where it does not."""
    folder = Path(path)
    if not folder.exists():
        raise RunError(f"No run is at {folder}. A run is a folder that retrograd train has made, such as runs/NAME.")
    if not (folder / "config.toml").is_file():
        raise RunError(f"{folder} is not a run: it holds no config.toml. A run is a folder made by retrograd train.")
    return Run(folder)


def write(path: Path, content: str | bytes) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part."""
    temporary = half(path)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise SaveFailed(f"{path} could not be written: {error.strerror}. What was there is intact.") from None
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of names, reach the disk: what follows may rely on it after a power failure."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def torn(log: Path) -> bytes:
    """The end of a log that was cut while it was written: what follows its last whole line."""
    raw = log.read_bytes() if log.exists() else b""
    whole, _, tail = raw.rpartition(b"\n")
    if tail:
        return tail
    _, _, last = whole.rpartition(b"\n")
    return b"" if _parsed(last) is not None or not whole else last + b"\n"


def to_json(value: Any, *, indent: int | None = None) -> str:
    text = json.dumps(_named(value), indent=indent, allow_nan=False, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as in a path that is not UTF-8: only its escape can be written
        text = json.dumps(_named(value), indent=indent, allow_nan=False)
    return text


def from_json(text: str) -> Any:
    return _numbered(json.loads(text))


def _named(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    return value


def _numbered(value: Any) -> Any:
    if isinstance(value, str):
        return NAMES.get(value, value)
    if isinstance(value, dict):
        return {key: _numbered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbered(item) for item in value]
    return value


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise RunError(
            f"{path} is a link; a run's files lie in the run. Put what it leads to in its place, or remove it."
        )


def _append(path: Path, values: dict[str, Any]) -> None:
    try:
        with open(path, "ab") as file:
            file.write((to_json(values) + "\n").encode())
    except OSError as error:
        raise SaveFailed(f"{path} could not be written: {error.strerror}. What it holds is intact.") from None


def _lines(path: Path, keys: dict[str, type]) -> Iterator[dict[str, Any]]:
    """Every whole line. Raises RunError where one before the last is not an object with one of the keys."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    lines.pop()  # what follows the last line's end: nothing, or a line that was cut
    for number, line in enumerate(lines, 1):
        values = _parsed(line)
        told = [isinstance(values[key], kind) for key, kind in keys.items() if values and key in values]
        if values is not None and told and all(told):
            yield values
        elif values is not None or number < len(lines):
            wanted = " or ".join(map(repr, sorted(keys)))
            raise RunError(
                f"Line {number} of {path} is not a JSON object with {wanted}; the file was altered. "
                f"Mend that line, or take it out."
            )


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        values = from_json(line.decode())
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return values if isinstance(values, dict) else None


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _free(root: Path, name: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "run"
    stem = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    path, number = stem, 2
    while path.exists() or any(root.glob(f".{path.name}.*")):
        path, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return path
