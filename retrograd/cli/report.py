"""retrograd report RUN: what a run measured and found, as it was written at its end."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Show the report of a run."""
    import shutil

    from retrograd.experiments.inspection import read_report
    from retrograd.reports.text import page

    found = read_report(run)
    print(found.to_json() if json else page(found, width=shutil.get_terminal_size().columns))
