"""The command `retrograd` and its verbs."""

import io
import os
import sys
from typing import Annotated

import typer

from retrograd.cli.caption import caption
from retrograd.cli.compare import compare
from retrograd.cli.demo import demo
from retrograd.cli.diagnose import diagnose
from retrograd.cli.doctor import doctor
from retrograd.cli.evaluate import evaluate
from retrograd.cli.explore import app as explore
from retrograd.cli.fix import fix
from retrograd.cli.generate import generate
from retrograd.cli.guard import guarded
from retrograd.cli.label import label
from retrograd.cli.replay import replay
from retrograd.cli.report import report
from retrograd.cli.runs import app as runs
from retrograd.cli.train import train
from retrograd.cli.translate import translate

app = typer.Typer(
    name="retrograd",
    help="Train recurrent networks and see, exactly, how far back in time their gradients reach.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"retrograd {version('retrograd')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


for verb in (
    demo,
    train,
    compare,
    generate,
    translate,
    caption,
    label,
    evaluate,
    report,
    diagnose,
    fix,
    replay,
    doctor,
):
    app.command()(guarded(verb))
app.add_typer(runs, name="runs")
app.add_typer(explore, name="explore")


def run() -> None:
    """Run the command line. What a terminal's encoding lacks is printed as a question mark, never as a traceback."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started it; a file opened later would take its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  it stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
