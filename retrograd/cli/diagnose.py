"""retrograd diagnose RUN: measure a trained model again and say what is wrong, with its number and remedy."""

from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    need: Annotated[int | None, typer.Option(help="Steps that the task must look back; else the window.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Measure the gradient's reach in a trained model, and say what is wrong."""
    import shutil

    from retrograd.experiments.inspection import diagnose_run
    from retrograd.reports.text import page

    found = diagnose_run(run, need=need)
    print(found.to_json() if json else page(found, width=shutil.get_terminal_size().columns))
