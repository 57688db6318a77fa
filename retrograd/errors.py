"""Every exception that Retrograd raises on purpose.

    RetrogradError                 exit 1   something went wrong while it ran
    ├── NonFinite                           a loss or a gradient became NaN or infinite
    ├── SaveFailed                          a checkpoint could not be written; the older ones are intact
    ├── NotMeasured                         a quantity that this model or trace does not have
    ├── ShapeError (ValueError)             a tensor of another shape than the equation needs
    └── UsageError                 exit 2   what was asked for cannot be done as it stands
        ├── ConfigError                     an unknown key, a value of the wrong type or out of range
        ├── UnknownName                     no entry of that name; the message offers the nearest and lists them all
        ├── DataError                       a text that cannot be read or is too short
        ├── RunError                        a folder that is not a run, or a run whose files do not fit each other
        └── MissingExtra                    an optional package that is not installed

Each message is one sentence or two: what was expected, what came, what to try.
"""

import difflib
from collections.abc import Iterable


class RetrogradError(Exception):
    """Everything that Retrograd raises on purpose; `exit_code` is what the command line leaves with."""

    exit_code = 1


class NonFinite(RetrogradError):
    pass


class SaveFailed(RetrogradError):
    pass


class NotMeasured(RetrogradError):
    pass


class ShapeError(RetrogradError, ValueError):
    pass


class UsageError(RetrogradError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class UnknownName(UsageError):
    """No entry of that name.

    >>> raise UnknownName("cell", "lstn", ["gru", "lstm"])
    UnknownName: No cell is called 'lstn'; the nearest is 'lstm'. There are: gru, lstm.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = nearest(name, known)
        hint = f"; the nearest is {near!r}" if near else ""
        super().__init__(f"No {kind} is called {name!r}{hint}. There are: {', '.join(known)}.")


class DataError(UsageError):
    pass


class RunError(UsageError):
    pass


class MissingExtra(UsageError):
    """An optional package is not installed; the message is the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install 'retrograd[{extra}]'.")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None when none does."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
