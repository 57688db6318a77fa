"""What a person sees when something goes wrong: one sentence on stderr and an exit code, never a traceback.

2   usage: what was asked for cannot be done as it stands
1   a failure while it ran

A signal leaves with 128 and its number, 130 for Ctrl-C: signals.py.
"""

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

import typer

from retrograd.errors import RetrogradError

P = ParamSpec("P")


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """The verb, with its errors turned into a sentence and an exit code."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
            sys.stdout.flush()  # here, where it can be said that it failed
        except RetrogradError as error:
            _leave(str(error), error.exit_code)
        except BrokenPipeError:
            drop_what_is_left()
            raise typer.Exit(1) from None
        except typer.Exit:  # which is a RuntimeError, as Abort is
            raise
        except typer.Abort:
            _leave("Nothing was done.", 1)
        except (RuntimeError, MemoryError, ValueError, OverflowError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if isinstance(error, MemoryError) or "allocate memory" in reason or "out of memory" in reason:
                _leave(f"There is not enough memory. Try a smaller --hidden, --window or training.batch. ({reason})", 1)
            _leave(f"This could not be computed: {reason}", 1)
        except OSError as error:
            drop_what_is_left()
            where = f" ({error.filename})" if error.filename else ""
            _leave(f"The system refused a file operation: {error.strerror}{where}.", 1)

    return run


def drop_what_is_left() -> None:
    """Python writes what is still to be printed when it leaves, and would fail once more."""
    with suppress(OSError, ValueError):  # where stdout is no file there is nothing that could
        stdout = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)


def _leave(sentence: str, code: int) -> None:
    print(f"retrograd: {' '.join(sentence.split())}", file=sys.stderr)
    raise typer.Exit(code)
