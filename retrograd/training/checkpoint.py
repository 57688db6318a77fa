"""A checkpoint is a folder: tensors as safetensors, the rest as JSON; nothing in it can run.

    checkpoints/step-000200/model.safetensors       the weights
                            training.safetensors    what training goes on from: optimiser, random and carried states
                            checkpoint.json         numbers
                            SHA256SUMS              of these three, as sha256sum --check reads it
    checkpoints/latest.json                         which of them count: pointer.py

It is written under another name, synced and renamed when it is whole; the pointer file follows last. So whenever the
process is killed, what the pointer names is whole.
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from retrograd import checksums, runs
from retrograd.checksums import SUMS
from retrograd.errors import RunError, SaveFailed, UnknownName
from retrograd.training.pointer import NAME_ONE, Pointer, point, pointed, step_of, written

SCHEMA = 2
WEIGHTS, TRAINING, NUMBERS = "model.safetensors", "training.safetensors", "checkpoint.json"
INTACT = "Those written before are intact."
T = TypeVar("T")


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
    info: Mapping[str, Any],
    training: Mapping[str, Tensor] | None = None,
    milestone: bool = True,
    best: float | None = None,
) -> Checkpoint:
    """Write a checkpoint, point to it, and drop those that do not count any more.

    `best`: what it was validated at, where no other is better; `milestone`: see Pointer. Raises SaveFailed where the
    disk is full or does not let it; what was there is then intact.
    """
    pointer = pointed(folder)
    path = _free(folder, f"step-{step:06d}", pointer)
    temporary = runs.half(path)
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
    pointer = replace(pointer, last=path.name, previous=pointer.last)
    if milestone:
        pointer = replace(pointer, milestones=(path.name, *pointer.milestones[:1]))
    if best is not None:
        pointer = replace(pointer, best=path.name, nats=best)
    point(folder, pointer)
    return Checkpoint(path, step, dict(info))


def damaged(folder: Path) -> dict[str, str]:
    """Those that the pointer names and that cannot be read, the newest first, and why."""
    reasons = {}
    for name in pointed(folder).newest_first:
        try:
            read(folder, name)
        except RunError as error:
            reasons[name] = str(error)
    return reasons


def set_aside(folder: Path, names: Collection[str]) -> None:
    """Point to the others, and give these another name, under which they are neither used nor dropped."""
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            path.rename(_unused(folder, f"damaged-{path.name}"))
    point(folder, pointed(folder).without(names))


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


def steadily(folder: Path, which: str, use: Callable[[Checkpoint], T]) -> T:
    """`use` of `find`, once more where a training has dropped that checkpoint for another meanwhile."""
    while True:
        before = pointed(folder)
        try:
            return use(find(folder, which))
        except RunError:
            if pointed(folder) == before:
                raise


def none_named(folder: Path) -> RunError:
    """What is wrong where the pointer file names no checkpoint."""
    if written(folder):
        return RunError(f"{folder / 'latest.json'} is gone, or names no checkpoint of those that are there. {NAME_ONE}")
    return RunError(f"{folder.parent} holds no checkpoint yet; it was stopped before its first one was written.")


def read(folder: Path, name: str) -> Checkpoint:
    """The checkpoint of that name, verified."""
    path = folder / name
    if path.is_symlink() or folder.is_symlink():
        raise RunError(f"The checkpoint {path} is a link; a run's files lie in the run.")
    verify(path)
    try:
        info = runs.from_json((path / NUMBERS).read_text(encoding="utf-8"))
        schema, step = info.pop("schema"), int(info.pop("step"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(f"The checkpoint {path} cannot be read: {type(error).__name__} {error}.") from None
    if step != step_of(name):
        raise RunError(f"The checkpoint {path} is of step {step}, under the name of another.")
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
    path = _unused(folder, name, among={*pointer.newest_first, *pointer.returns})
    if path.exists():  # written in full, and killed before the pointer named it
        shutil.rmtree(path)
    return path


def _unused(folder: Path, name: str, *, among: Collection[str] | None = None) -> Path:
    """That name or, where it is taken, the same with a number; taken are those `among`, else those in the folder."""
    path, number = folder / name, 2
    while path.name in among if among is not None else path.exists():
        path, number = folder / f"{name}.{number}", number + 1
    return path
