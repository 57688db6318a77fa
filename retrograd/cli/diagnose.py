"""retrograd diagnose RUN, or FILE.py:FUNCTION: measure a model and say what is wrong, with its number and remedy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from retrograd.reports import Report

FOUND = 3  # the exit code where something is wrong


def diagnose(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE.py:FUNCTION",
            help="A run, or a function that returns (model, loss) or (model, loss, batches).",
        ),
    ],
    need: Annotated[int | None, typer.Option(help="Steps that the task must look back.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Take every measure.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the page.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what --html would write.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Measure how far back the gradient reaches, and say what is wrong.

    The exit code is 3 where a finding is an error. Without --need a run is held against its window and another model
    against the length of its sequence; that it does not reach so far is then a note, and no error.
    """
    import shutil
    import sys

    from retrograd.reports.text import page

    file = html and html.absolute()  # before their code, which may go elsewhere
    found = _report(model, need, everything=all)
    if file:
        from retrograd.reports.html import write

        write(found, file, run=model, force=force)
        print(f"Wrote {html}.", file=sys.stderr if json else sys.stdout)
    if json:
        print(found.to_json())
    elif not file:
        print(page(found, width=shutil.get_terminal_size().columns))
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(FOUND)


def _report(name: str, need: int | None, *, everything: bool) -> "Report":
    from retrograd.cli import target

    if not target.is_target(name):
        from retrograd.experiments.inspection import diagnose_run

        return diagnose_run(name, need=need, all=everything)
    from retrograd.experiments.calling import MEASURED, taken
    from retrograd.experiments.examination import diagnose as examine

    model, loss, batches = target.load(name)
    with target.telling(target.file_of(name)):
        return examine(model, loss, need=need, batches=taken(batches, MEASURED), all=everything)
