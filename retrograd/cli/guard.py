"""What a person sees when something goes wrong: one sentence on stderr and an exit code, never a traceback.

2   usage: what was asked for cannot be done as it stands
1   a failure while it ran
130 Ctrl-C
"""

import functools
import os
import sys
from collections.abc import Callable
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
        except RetrogradError as error:
            _leave(str(error), error.exit_code)
        except KeyboardInterrupt:
            _leave("Stopped by Ctrl-C.", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except typer.Exit:  # which is a RuntimeError, as Abort is
            raise
        except typer.Abort:
            _leave("Nothing was done.", 1)
        except (RuntimeError, MemoryError, ValueError, OverflowError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            _leave(f"This could not be computed: {reason[0]}", 1)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            _leave(f"The system refused a file operation: {error.strerror}{where}.", 1)

    return run


def _leave(sentence: str, code: int) -> None:
    print(f"retrograd: {' '.join(sentence.split())}", file=sys.stderr)
    raise typer.Exit(code)
