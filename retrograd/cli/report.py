"""retrograd report RUN: what a run measured and found; in the terminal, as a page, as figures for papers and slides."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the page, drawn anew from the report.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write each figure as PNG, SVG and CSV.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what --html and --figures would write.")] = False,
) -> None:
    """Show the report of a run."""
    import shutil
    import sys

    from retrograd.experiments.inspection import read_report
    from retrograd.reports.text import page

    found, told = read_report(run), sys.stderr if json else sys.stdout
    if html:
        from retrograd.reports.html import write

        print(f"Wrote {write(found, html, run=str(run), force=force)}.", file=told)
    if figures:
        from retrograd.reports.plots.files import export

        written = export(found, figures, force=force)
        names = ", ".join(dict.fromkeys(path.stem for path in written)) or "none: nothing was measured"
        print(f"Wrote {len(written)} files into {figures}: {names}; each as PNG, SVG and CSV.", file=told)
    if json:
        print(found.to_json())
    elif not (html or figures):
        print(page(found, width=shutil.get_terminal_size().columns))
