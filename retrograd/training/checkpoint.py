"""A checkpoint is a folder: the weights as safetensors, the rest as JSON; nothing in it can run.

    checkpoints/step-000200/model.safetensors  checkpoint.json
    checkpoints/latest.json                    {"last": "step-000400", "best": "step-000200"}

It is written under another name and renamed when it is whole; the pointer file follows last.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from retrograd import runs
from retrograd.errors import RunError, SaveFailed, UnknownName

SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where it lies and what it says of itself."""

    path: Path
    step: int
    info: dict[str, Any]


def save(folder: Path, model: nn.Module, *, step: int, best: bool, info: dict[str, Any]) -> Checkpoint:
    """Write a checkpoint into `folder`, point to it, and drop those that are neither the last nor the best."""
    path = folder / f"step-{step:06d}"
    if not path.exists():
        temporary = folder / f".{path.name}.{os.getpid()}"
        temporary.mkdir()
        try:
            _write(model, temporary / "model.safetensors")
            text = runs.to_json({"schema": SCHEMA, "step": step, **info}, indent=1)
            (temporary / "checkpoint.json").write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    names = {**_pointers(folder), "last": path.name}
    if best:
        names["best"] = path.name
    runs.write(folder / "latest.json", json.dumps(names))
    for old in folder.glob("step-*"):
        if old.name not in names.values():
            shutil.rmtree(old)
    return Checkpoint(path, step, info)


def _write(model: nn.Module, path: Path) -> None:
    try:
        save_model(model, str(path))
    except SafetensorError as error:  # a full disk comes as this, not as an OSError
        raise SaveFailed(f"The weights could not be written to {path.parent.parent}: {error}.") from None


def find(folder: Path, which: str = "best") -> Checkpoint:
    """The best checkpoint, or the last where no best is known. Raises RunError where there is none."""
    if which not in ("best", "last"):
        raise UnknownName("checkpoint", which, ["best", "last"])
    names = _pointers(folder)
    name = names.get(which) or names.get("last")
    if name is None:
        raise RunError(f"{folder.parent} holds no checkpoint yet; it was stopped before its first one was written.")
    path = folder / Path(name).name
    try:
        info = runs.from_json((path / "checkpoint.json").read_text(encoding="utf-8"))
        schema, step = info.pop("schema"), int(info.pop("step"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"The checkpoint {path} cannot be read: {error}.") from None
    if schema != SCHEMA:
        raise RunError(f"The checkpoint {path} has schema {schema}; this version of retrograd reads {SCHEMA}.")
    return Checkpoint(path, step, info)


def restore(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Read the weights into `model`. Raises RunError where the file is cut or does not fit."""
    path = checkpoint.path / "model.safetensors"
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError) as error:
        raise RunError(f"The weights in {path} cannot be read: {error}.") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunError(f"The weights in {path} do not fit the model of config.toml: {reason}") from None


def _pointers(folder: Path) -> dict[str, str]:
    try:
        names = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
        return {key: str(names[key]) for key in ("last", "best") if key in names}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, OSError) as error:
        raise RunError(f"{folder / 'latest.json'} cannot be read: {error}.") from None
