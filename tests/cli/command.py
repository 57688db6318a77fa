"""The command itself, in a process of its own, and what it may leave behind."""

import os
import subprocess
import sys
from pathlib import Path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "retrograd", *map(str, arguments)]


def retrograd(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run to its end; stdin is empty."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.run(command(*arguments), text=True, check=False, timeout=240, **options)


def everything(folder: Path) -> dict[str, object]:
    """All that is in a folder, to the byte; the file that a lock is held by may come."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            kept[str(path)] = os.readlink(path)
        elif path.name != ".lock":
            kept[str(path)] = path.is_dir() or path.read_bytes()
    return kept


def one_sentence(shown: str, errors: str) -> None:
    assert not shown
    assert "Traceback" not in errors
    if not errors.startswith("Usage: "):  # of click's own
        assert errors.startswith("retrograd: ")
        assert errors.count("\n") == 1
