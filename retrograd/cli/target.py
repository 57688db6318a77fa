"""Somebody's model, named on the command line: FILE.py:FUNCTION.

    def make():
        return model, loss                 loss(model)
        return model, loss, batches        loss(model, batch), and a list of batches or a function that gives them

Only what is named there is run, and only because it is named there: no config and no run holds such a name.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from retrograd.cli.signals import Stopped
from retrograd.errors import RetrogradError, UsageError, nearest


def is_target(name: str) -> bool:
    """Is it FILE.py:FUNCTION, and not a run's folder?"""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


class Target(NamedTuple):
    """What the function returned; without batches the loss takes the model alone."""

    model: Any
    loss: Callable[..., Any]
    batches: Any = None


def load(name: str) -> Target:
    """What the function gives. Raises UsageError where the file, the function or what it returns is not as expected."""
    found = made(name)
    good = isinstance(found, tuple | list) and len(found) in (2, 3) and callable(found[0]) and callable(found[1])
    if not good:
        raise UsageError(
            f"{name} must return (model, loss), where loss(model) gives the losses, or (model, loss, batches), where "
            f"loss(model, batch) does; got {_kind(found)}."
        )
    return Target(*found)


def made(name: str) -> Any:
    """Whatever the function returns. Raises UsageError where there is no such file or function."""
    file, colon, function = name.rpartition(":")
    if not colon or not function:
        raise UsageError(f"{name} names no function; expected FILE.py:FUNCTION, a function that returns (model, loss).")
    module = _imported(Path(file))
    make = getattr(module, function, None)
    if not callable(make):
        near = nearest(function, [key for key, value in vars(module).items() if callable(value)])
        hint = f"the nearest is {near!r}" if near else "it must be defined at the top level"
        raise UsageError(f"{file} has no function {function!r}; {hint}.")
    with telling(Path(file)):
        return make()


def file_of(name: str) -> Path:
    """The file of FILE.py:FUNCTION."""
    return Path(name.rpartition(":")[0])


@contextmanager
def telling(file: Path) -> Iterator[None]:
    """What their code raises is one sentence, with its line; what it prints goes where it does not disturb."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (RetrogradError, KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # sys.exit too: who asks must not take it for health
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file.absolute()]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise RetrogradError(f"{file}{where} raised {type(error).__name__}: {error}.") from None


def _imported(file: Path) -> ModuleType:
    if not file.is_file():
        raise UsageError(f"No file is at {file}; expected FILE.py:FUNCTION, a function that returns (model, loss).")
    path = file.absolute()
    name = f"retrograd_target_{path.stem}"  # no library's own, whatever the file is called
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.append(str(path.parent))  # its own neighbours can be imported, and hide no library
    sys.modules[name] = module
    sys.dont_write_bytecode = True  # for as long as this process lives: their folder is left as it was
    with telling(file):
        spec.loader.exec_module(module)
    return module


def _kind(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return type(value).__name__
