"""An exploration as files: a page of HTML that needs nothing else, PNG, SVG, and every number as CSV.

Nothing is written over unless that is asked for, and nothing is written where one of the files cannot be.
"""

import io
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrograd import runs
from retrograd.errors import UsageError
from retrograd.explore.exploration import Exploration
from retrograd.reports.plots import files
from retrograd.reports.plots.colours import DARK, LIGHT, MARKERS, themed
from retrograd.reports.words import visible

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

DPI = 220
KINDS = ("html", "png", "svg", "csv")


def check(targets: Mapping[str, Path], *, force: bool = False) -> None:
    """Raises UsageError where one of the files cannot be written, or is there and may not be written over."""
    places = [file.absolute() for file in targets.values()]
    if len(set(places)) < len(places):
        raise UsageError("Two of the files have the same name; give each its own.")
    for kind, file in targets.items():
        if file.is_dir():
            raise UsageError(f"{file} is a folder; a file's name is needed, such as {file / f'picture.{kind}'}.")
        if file.exists() and not force:
            raise UsageError(f"{file} is there already. Name another file, or write over it with --force.")
        folder = next(place for place in file.absolute().parents if place.exists())
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file, so nothing can be written into it. Name another folder.")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"Nothing can be written into {folder}: permission denied. Name another folder.")


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
            return page(it, result, _inline(files.svg(it.draw(result, MARKERS))))
        figure = it.draw(result, LIGHT)
        return files.svg(figure) if kind == "svg" else _png(figure)


def page(it: Exploration[Any], result: Any, picture: str) -> str:
    table = it.table(result)
    return _template().render(
        it=it, said=it.say(result), picture=picture, table=table, palette={"light": LIGHT, "dark": DARK}
    )


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    image = io.BytesIO()
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(image)
    return image.getvalue()


def _inline(svg: str) -> str:
    """As part of a page: in its colours and its font, without a header and a paper of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1)
    return re.sub(r" font-family: [^;\"]+;?|font-size: 9px; ?", "", themed(svg))


@cache
def _template() -> "Template":
    from importlib.resources import files as resources

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, finalize=finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = resources("retrograd.explore").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
