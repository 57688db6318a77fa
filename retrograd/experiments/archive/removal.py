"""Removing runs: all are checked before the first is touched, and no link is followed out of one."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from retrograd.errors import RetrogradError, RunError
from retrograd.experiments.archive import catalogue
from retrograd.experiments.archive.catalogue import Entry
from retrograd.runs import Run, half


def removable(names: Sequence[str | Path]) -> tuple[Entry, ...]:
    """The runs of these names, each once. Raises RunError where one of them must not be removed."""
    folders = dict.fromkeys(_checked(catalogue.find(name)) for name in names)
    entries = [catalogue.entry(folder) for folder in folders]
    for entry in entries:
        if entry.status == "running":
            raise RunError(f"{entry.path} is being written. Stop it first, or wait; nothing was removed.")
    return tuple(entries)


def remove(entries: Sequence[Entry]) -> None:
    """Remove runs that are `removable`. Raises RunError, with nothing removed, where one is being written by now."""
    with ExitStack() as held:
        for entry in entries:
            held.enter_context(Run(Path(entry.path)).writing())
    for entry in entries:
        path = Path(entry.path)
        out_of_sight = path.rename(half(path))  # at once, and no list shows it
        try:
            shutil.rmtree(out_of_sight)  # unlinks a link, and never follows it
        except OSError as error:
            left = f"what is left of it lies in {out_of_sight}"
            raise RetrogradError(f"{path} could not be removed whole: {error.strerror}; {left}.") from None


def _checked(path: Path) -> Path:
    """The folder as it really lies. Raises RunError where it is a link, no run, or holds another run."""
    if path.is_symlink():
        raise RunError(f"{path} is a link to {os.readlink(path)}. Remove the link itself, or name what it leads to.")
    if not catalogue.is_run(path):
        raise RunError(f"{path} is not a run, so it is not removed; retrograd runs lists what there is.{_inside(path)}")
    folder = path.resolve()
    for root, names, _ in os.walk(folder):
        for name in names:
            if catalogue.is_run(inner := Path(root, name)) and not inner.is_symlink():
                raise RunError(f"{path} holds another run, {inner.relative_to(folder)}. Remove or move that one first.")
    return folder


def _inside(path: Path) -> str:
    held = [entry.name for entry in catalogue.listing(path)] if path.is_dir() else []
    return f" It holds runs: {', '.join(held)}." if held else ""
