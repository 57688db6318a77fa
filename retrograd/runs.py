"""A run is a folder.

    config.toml       what it was made of: runs again as it stands
    metrics.jsonl     one line per measured step        events.jsonl   one line per thing that happened
    checkpoints/      step-000200/ ...  and latest.json, which names the last and the best
    tokenizer.json    report.json

Numbers that JSON lacks are written by name: "NaN", "Infinity", "-Infinity".
"""

import json
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograd import config
from retrograd.errors import RunError

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

    def record(self, **values: Any) -> None:
        """Append one line of numbers to metrics.jsonl."""
        _append(self.path / "metrics.jsonl", values)

    def event(self, name: str, **values: Any) -> None:
        """Append one line to events.jsonl: what happened, and when (seconds since 1970)."""
        _append(self.path / "events.jsonl", {"event": name, "time": round(time.time(), 3), **values})

    def metrics(self) -> Iterator[dict[str, Any]]:
        return _lines(self.path / "metrics.jsonl")

    def events(self) -> Iterator[dict[str, Any]]:
        return _lines(self.path / "events.jsonl")

    def status(self) -> str:
        """'running', 'finished', 'failed' or 'interrupted': the last event that says so."""
        ends = {
            "started": "running",
            "finished": "finished",
            "failed": "failed",
            "interrupted": "interrupted",
        }
        said = [ends[e["event"]] for e in self.events() if e["event"] in ends]
        return said[-1] if said else "running"


def create(path: str | Path | None, *, name: str) -> Run:
    """A new run folder: `path`, or runs/<time>-<name>. Raises RunError where something is already there."""
    folder = new_folder(path, name=name)
    (folder / "checkpoints").mkdir()
    return Run(folder)


def new_folder(path: str | Path | None, *, name: str) -> Path:
    """An empty folder of that path, or of a free name under runs/."""
    folder = Path(path) if path is not None else _free(Path("runs"), name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} already exists and is not empty. Name another folder with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {folder} cannot be made: {error.strerror}. Try another --out.") from None
    return folder


def open_run(path: str | Path) -> Run:
    """The run in a folder that holds one. Raises RunError where it does not."""
    folder = Path(path)
    if not folder.exists():
        raise RunError(f"No run is at {folder}. A run is a folder that retrograd train has made, such as runs/NAME.")
    if not (folder / "config.toml").is_file():
        raise RunError(f"{folder} is not a run: it holds no config.toml. A run is a folder made by retrograd train.")
    return Run(folder)


def write(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(_named(value), indent=indent, allow_nan=False, ensure_ascii=False)


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


def _append(path: Path, values: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(to_json(values) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield from_json(line)
            except json.JSONDecodeError:
                raise RunError(f"Line {number} of {path} is not JSON; the file was cut or altered.") from None


def _free(root: Path, name: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "run"
    stem = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    path, number = stem, 2
    while path.exists():
        path, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return path
