"""A checkpoint is a folder: tensors as safetensors, the rest as JSON; nothing in it can run.

    checkpoints/step-000200/model.safetensors       the weights
                            training.safetensors    what training goes on from: optimiser, random and carried states
                            checkpoint.json         numbers
                            SHA256SUMS              of these three, as sha256sum --check reads it
    checkpoints/latest.json                         the Pointer: {"last": "step-000400", "best": "step-000200", ...}

It is written under another name, synced and renamed when it is whole; the pointer file follows last. So whenever the
process is killed, what the pointer names is whole.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from retrograd import checksums, runs
from retrograd.checksums import SUMS
from retrograd.errors import RunError, SaveFailed, UnknownName

SCHEMA = 2
WEIGHTS, TRAINING, NUMBERS = "model.safetensors", "training.safetensors", "checkpoint.json"
INTACT = "Those written before are intact."
NAME_ONE = 'Write {"last": "NAME"} into it, with the name of a folder beside it.'


@dataclass(frozen=True)
class Pointer:
    """Which checkpoints count, by name, and those that training went back to, in order."""

    last: str | None = None
    previous: str | None = None
    best: str | None = None
    returns: tuple[str, ...] = ()

    @property
    def newest_first(self) -> list[str]:
        """The checkpoints that are kept, each once: the last, the one before, the best."""
        return list(dict.fromkeys(name for name in (self.last, self.previous, self.best) if name))


@dataclass(frozen=True)
class Checkpoint:
    """Where it lies and what it says of itself."""

    path: Path
    step: int
    info: dict[str, Any]


def save(
    folder: Path,
    model: nn.Module,
    *,
    step: int,
    best: bool,
    info: Mapping[str, Any],
    training: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """Write a checkpoint, point to it, and drop those that are neither the last two nor the best.

    Raises SaveFailed where the disk is full or does not let it; what was there is then intact.
    """
    pointer = pointed(folder)
    path = _free(folder, f"step-{step:06d}", pointer)
    temporary = folder / f".{path.name}.{os.getpid()}"
    try:
        temporary.mkdir()
        files = {
            WEIGHTS: _tensors(dict([*model.named_parameters(), *model.named_buffers()])),  # a tied one once
            TRAINING: _tensors(training or {}),
            NUMBERS: runs.to_json({"schema": SCHEMA, "step": step, **info}, indent=1).encode(),
        }
        for name, raw in (files | {SUMS: checksums.lines(files.items()).encode()}).items():
            (temporary / name).write_bytes(raw)
            runs.sync(temporary / name)
        runs.sync(temporary)
        temporary.rename(path)
        runs.sync(folder)
    except OSError as error:
        raise SaveFailed(f"The checkpoint {path} could not be written: {error.strerror}. {INTACT}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    best_name = path.name if best else pointer.best
    point(folder, replace(pointer, last=path.name, previous=pointer.last, best=best_name))
    return Checkpoint(path, step, dict(info))


def pointed(folder: Path) -> Pointer:
    """What the pointer file says; nothing where it is not there yet. Raises RunError where it cannot be read."""
    try:
        values = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
        names = {key: str(values[key]) for key in ("last", "previous", "best") if values.get(key)}
        return Pointer(**names, returns=tuple(map(str, values.get("returns", ()))))
    except FileNotFoundError:
        return Pointer()
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise RunError(
            f"{folder / 'latest.json'} cannot be read ({error}); it was cut or altered. {NAME_ONE}"
        ) from None


def point(folder: Path, pointer: Pointer) -> None:
    """Have the pointer file say so, and drop the checkpoints that it no longer names."""
    runs.write(folder / "latest.json", json.dumps(asdict(pointer)))
    for old in folder.glob("step-*"):
        if old.name not in pointer.newest_first:
            shutil.rmtree(old)


def find(folder: Path, which: str = "best") -> Checkpoint:
    """The best checkpoint, or the last where no best is known, its checksums verified.

    Raises RunError where there is none, or where it was cut or altered.
    """
    if which not in ("best", "last"):
        raise UnknownName("checkpoint", which, ["best", "last"])
    pointer = pointed(folder)
    name = (pointer.best if which == "best" else None) or pointer.last
    if name is None:
        raise none_named(folder)
    return read(folder, name)


def none_named(folder: Path) -> RunError:
    """What is wrong where the pointer file names no checkpoint."""
    if any(folder.glob("step-*")):
        return RunError(f"{folder / 'latest.json'} is gone, or names no checkpoint of those that are there. {NAME_ONE}")
    return RunError(f"{folder.parent} holds no checkpoint yet; it was stopped before its first one was written.")


def read(folder: Path, name: str) -> Checkpoint:
    """The checkpoint of that name, verified."""
    path = folder / Path(name).name  # the pointer file is not trusted: nothing outside the run is read
    if path.is_symlink() or folder.is_symlink():
        raise RunError(f"The checkpoint {path} is a link; a run's files lie in the run.")
    verify(path)
    try:
        info = runs.from_json((path / NUMBERS).read_text(encoding="utf-8"))
        schema, step = info.pop("schema"), int(info.pop("step"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(f"The checkpoint {path} cannot be read: {type(error).__name__} {error}.") from None
    if schema != SCHEMA:
        raise RunError(
            f"The checkpoint {path} has schema {schema}; this version of retrograd reads {SCHEMA}. "
            f"Use the version that wrote it."
        )
    return Checkpoint(path, step, info)


def verify(path: Path) -> None:
    """Compare a checkpoint's files with their checksums. Raises RunError with the name of one that differs."""
    if not path.is_dir():
        raise RunError(f"The checkpoint {path} is not there, though latest.json names it.")
    checksums.check(path, WEIGHTS, TRAINING, NUMBERS)


def restore(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Read the weights into `model`. Raises RunError where the file is cut or does not fit."""
    path = checkpoint.path / WEIGHTS
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError) as error:
        raise RunError(f"The weights in {path} cannot be read: {error}.") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunError(
            f"The weights in {path} do not fit the model of config.toml; one of the two was altered: {reason}"
        ) from None


def training_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What training goes on from, by name."""
    path = checkpoint.path / TRAINING
    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from None


def _tensors(tensors: Mapping[str, Tensor]) -> bytes:
    return to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _free(folder: Path, name: str, pointer: Pointer) -> Path:
    """A path for a checkpoint of that name: after going back, a step may come twice, and the first be the best."""
    path, number = folder / name, 2
    while path.name in (*pointer.newest_first, *pointer.returns):
        path, number = folder / f"{name}.{number}", number + 1
    if path.exists():  # written in full, and killed before the pointer named it
        shutil.rmtree(path)
    return path
