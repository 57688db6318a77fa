"""retrograd replay RUN FILE.py:FUNCTION: the step of a watched training that was not finite, run again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import nn


def replay(
    run: Annotated[Path, typer.Argument(help="The folder that rg.watch(model, out=...) wrote.")],
    model: Annotated[
        str, typer.Argument(metavar="FILE.py:FUNCTION", help="A function that returns the model, or (model, loss).")
    ],
    json: Annotated[bool, typer.Option("--json", help="Both places as JSON on stdout.")] = False,
) -> None:
    """Run the first step again whose loss or gradient was not finite, and say where it breaks.

    The weights, arguments and random states of that step are in the folder; the function gives the code. The exit code
    is 1 where it does not break at the same place again.
    """
    from dataclasses import asdict

    from retrograd import runs
    from retrograd.cli import target
    from retrograd.experiments.watching.kept import again

    opened = runs.open_run(run)
    made = _model(model)
    with target.telling(target.file_of(model)):
        then, now = again(opened, made)
    same = repr(then.place) == repr(now.place)
    if json:
        print(runs.to_json({"then": asdict(then), "now": asdict(now), "same": same}))
    else:
        print(then)
        print("Run again, it broke at the same place." if same else f"Run again: {now.place or 'all of it is finite'}.")
    if not same:
        raise typer.Exit(1)


def _model(name: str) -> "nn.Module":
    from torch import nn

    from retrograd.cli import target
    from retrograd.errors import UsageError

    made = target.made(name)
    found = made[0] if isinstance(made, tuple | list) and made else made
    if not isinstance(found, nn.Module):
        raise UsageError(f"{name} must return the model, or (model, loss); got {type(found).__name__}.")
    return found
