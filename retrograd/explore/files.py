"""An exploration as files: a page of HTML that needs nothing else, PNG, SVG, and every number as CSV.

Nothing is written over unless that is asked for, and nothing is written where one of the files cannot be.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrograd import runs
from retrograd.errors import UsageError
from retrograd.explore.exploration import Exploration
from retrograd.reports.plots import files
from retrograd.reports.plots.colours import DARK, LIGHT, MARKERS
from retrograd.reports.templates import template

KINDS = ("html", "png", "svg", "csv")


def check(targets: Mapping[str, Path], *, force: bool = False) -> None:
    """Raises UsageError where one of the files cannot be written, or is there and may not be written over."""
    places = [file.absolute() for file in targets.values()]
    if len(set(places)) < len(places):
        raise UsageError("Two of the files have the same name; give each its own.")
    for kind, file in targets.items():
        runs.refuse_file(file, force=force, example=f"picture.{kind}")


def write(it: Exploration[Any], result: Any, targets: Mapping[str, Path], *, force: bool = False) -> list[Path]:
    """The files of each kind in KINDS that is named, in that order.

    >>> write(EXPLORATIONS["scalar"], scalar(), {"png": Path("scalar.png")})
    """
    check(targets, force=force)
    made = {kind: contents(it, result, kind) for kind in KINDS if kind in targets}
    for kind, content in made.items():
        runs.make_folder(targets[kind].parent)
        runs.write(targets[kind], content)
    return [targets[kind] for kind in made]


def contents(it: Exploration[Any], result: Any, kind: str) -> str | bytes:
    """What a file of that kind holds."""
    if kind == "csv":
        return files.table(it.rows(result))
    with files.styled():
        if kind == "html":
            return page(it, result, files.for_page(files.svg(it.draw(result, MARKERS)), "picture"))
        figure = it.draw(result, LIGHT)
        return files.svg(figure) if kind == "svg" else files.png(figure)


def page(it: Exploration[Any], result: Any, picture: str) -> str:
    table = it.table(result)
    return template("explore/page.html.j2").render(
        it=it, said=it.say(result), picture=picture, table=table, palette={"light": LIGHT, "dark": DARK}
    )
