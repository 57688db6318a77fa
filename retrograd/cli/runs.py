"""retrograd runs: what there is, everything about one, several side by side; remove and verify."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from retrograd.cli.guard import guarded

if TYPE_CHECKING:
    from retrograd.experiments.archive.catalogue import Entry

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
One = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or its name under runs/.")]
Many = Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs' folders, or their names under runs/.")]


class ListsByDefault(TyperGroup):
    """`retrograd runs FOLDER` is `retrograd runs list FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if asked else ["list", *args])


app = typer.Typer(cls=ListsByDefault, add_completion=False, rich_markup_mode=None)


@app.callback()
def runs() -> None:
    """List the runs there are; show, compare, remove, verify, write as ARPA."""


def list_(
    folder: Annotated[Path | None, typer.Argument(help="A folder with runs in it; else runs.")] = None,
    json: Json = False,
) -> None:
    """List the runs in a folder, the last one alive first."""
    from retrograd import runs
    from retrograd.cli.overview import lines
    from retrograd.experiments.archive.catalogue import listing

    here = folder or Path("runs")
    found = listing(here) if folder or here.exists() else ()
    if json:
        print(runs.to_json({"folder": str(here), "runs": [asdict(entry) for entry in found]}))
    elif found:
        print("\n".join(lines(found)))
    else:
        print(f"No run is in {here}. Try: retrograd train TEXT.txt, or retrograd demo.")


def show(run: One, json: Json = False) -> None:
    """Show everything about one run.

    Where it stands, what befell it, figures, horizons, checkpoints, environment.
    """
    from retrograd import runs
    from retrograd.cli.overview import page
    from retrograd.experiments.archive.catalogue import details

    found = details(run)
    print(runs.to_json(asdict(found)) if json else "\n".join(page(found)))


def compare(run: Many, json: Json = False) -> None:
    """Show several runs side by side.

    First the config keys that differ, then what came of them.
    """
    from retrograd import runs
    from retrograd.cli.overview import compared
    from retrograd.experiments.archive.comparison import comparison

    found = comparison(run)
    print(runs.to_json(asdict(found)) if json else "\n".join(compared(found)))


def rm(
    run: Many,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove runs.

    All are checked before the first is removed. One that is being written is refused.
    """
    from retrograd import runs
    from retrograd.experiments.archive.removal import removable, remove

    found = removable(run)
    if not (yes or _agreed(found)):
        print("Nothing was removed.", file=sys.stderr)
        raise typer.Exit(1)
    remove(found)
    if json:
        print(runs.to_json({"removed": [entry.path for entry in found]}))
        return
    for entry in found:
        print(f"removed {entry.path}")


def verify(run: Many, json: Json = False) -> None:
    """Check that every file of a run is whole.

    And that they fit each other. The exit code is 1 where something is wrong.
    """
    from retrograd import runs
    from retrograd.cli import tables
    from retrograd.experiments.archive.verification import verify as verified

    results = [verified(name) for name in run]
    if json:
        print(runs.to_json({"runs": [{**asdict(result), "whole": result.whole} for result in results]}))
    for result in results if not json else ():
        print(result.run)
        for line in tables.pairs({c.file: c.verdict for c in result.files}, room=tables.width(), indent="  "):
            print(line)
    if not all(result.whole for result in results):
        raise typer.Exit(1)


def arpa(
    run: One,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write an n-gram run as an ARPA file.

    kenlm, SRILM and others read it, and find the same probabilities.
    """
    from retrograd.experiments.archive.catalogue import find
    from retrograd.experiments.counting import to_arpa

    print(f"Wrote {to_arpa(find(run), file, force=force)}.")


app.command("list")(guarded(list_))
app.command()(guarded(show))
app.command()(guarded(compare))
app.command()(guarded(rm))
app.command()(guarded(verify))
app.command()(guarded(arpa))


def _agreed(found: "tuple[Entry, ...]") -> bool:
    """Ask on the terminal. Raises UsageError where there is none."""
    from retrograd.cli.tables import age, size
    from retrograd.errors import UsageError

    if not _terminal():
        raise UsageError("Removing asks first, and there is no terminal to ask on. Add --yes to remove without asking.")
    for entry in found:
        steps = "" if entry.steps is None else f", {entry.steps:,} steps"
        print(
            f"{entry.path}: {entry.status}{steps}, {size(entry.size)}, last sign of life {age(entry.alive)} ago",
            file=sys.stderr,
        )
    try:
        return typer.confirm("Remove " + ("it?" if len(found) == 1 else f"these {len(found)} runs?"), err=True)
    except typer.Abort:
        return False


def _terminal() -> bool:
    return sys.stdin.isatty()
