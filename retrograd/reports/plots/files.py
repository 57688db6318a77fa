"""Pictures as text and as files.

inline    SVG for a page: text stays text, colours are the page's variables, ids belong to the picture's name
export    NAME.png, NAME.svg and NAME.csv on white, for papers and slides
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrograd import runs
from retrograd.errors import UsageError
from retrograd.reports.plots import FIGURES, measured
from retrograd.reports.plots.colours import LIGHT, MARKERS, themed
from retrograd.reports.plots.curves import Row
from retrograd.reports.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 220
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "retrograd",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
}
NO_DATE = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def inline(report: Report) -> dict[str, str]:
    """Every picture that has something to show, by name."""
    with styled():
        return {
            name: for_page(svg(plot.draw(report, MARKERS)), name)
            for name, plot in FIGURES.items()
            if measured(name, report)
        }


def export(report: Report, folder: str | Path, *, force: bool = False) -> list[Path]:
    """Write every picture that has something to show; the files that were written.

    Raises UsageError where something is there already, unless it may be written over.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; the figures need a folder of their own.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(f"{folder} is not empty. Name another folder, or write over its figures with --force.")
    runs.make_folder(folder)
    written = []
    with styled():
        for name, plot in FIGURES.items():
            if measured(name, report):
                figure = plot.draw(report, LIGHT)
                runs.write(folder / f"{name}.svg", svg(figure))
                runs.write(folder / f"{name}.png", png(figure))
                runs.write(folder / f"{name}.csv", table(plot.rows(report)))
                written += [folder / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
    return written


def table(rows: Iterator[Row]) -> str:
    """Comma-separated, numbers in full; what is not finite has its name, what was not measured is empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(x) for x in row] for row in rows)
    return text.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """Nothing of it stays: matplotlib's settings and the warnings' filters are as they were."""
    import warnings

    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a layer's name in another script
        yield


def svg(figure: "Figure") -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(text, metadata=NO_DATE)
    return text.getvalue()


def png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    image = io.BytesIO()
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(image)
    return image.getvalue()


def for_page(svg: str, name: str) -> str:
    """Made part of a page: no header and no style of its own, and only ids that something in it refers to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the paper
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1)
    referred = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))
    svg = re.sub(r"<\w[^>]*>", lambda tag: _tag(tag[0], name, referred), svg)  # what is written in between stays
    return re.sub(r"\n\s*", "\n", svg).strip()


def _tag(tag: str, name: str, referred: set[str]) -> str:
    """With the page's colours and font, the picture's own ids, and hundredths of a point."""
    if ' id="' in tag:
        tag = re.sub(r' id="([\w.-]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referred else "", tag)
    if "#" in tag:
        tag = re.sub(r'(?:xlink:)?(href="|url\()#', rf"\1#{name}-", themed(tag))
    if "font" in tag:
        tag = re.sub(r" font-family: [^;\"]+;?|font-size: 9px; ?", "", tag)
    return re.sub(r"(?<=\d\.\d\d)\d+", "", tag.replace("xlink:href", "href"))


def _cell(x: str | int | float | None) -> str:
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return "" if x is None else repr(x) if isinstance(x, float) else str(x)
