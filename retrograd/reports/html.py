"""A report as one page of HTML that needs nothing else: no script, no font, no picture from anywhere.

Pictures are SVG inside the page, text that can be read aloud and searched; the page follows the reader's light or dark
theme, prints, and fits a telephone. What a model wrote is somebody's text: it is escaped, and control characters show.
"""

import math
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrograd import runs
from retrograd.config import flat
from retrograd.errors import UsageError
from retrograd.reports import words
from retrograd.reports.plots import FIGURES, eigenvalues, gates, names
from retrograd.reports.plots.colours import DARK, LIGHT
from retrograd.reports.plots.files import inline
from retrograd.reports.report import Grid, Report
from retrograd.reports.sentences import HEADINGS
from retrograd.reports.tables import Table, tables
from retrograd.reports.templates import template
from retrograd.reports.verdicts import folder, verdict

GENERATOR = '<meta name="generator" content="Retrograd">'  # how a page of ours is known
REFRESH = 60  # seconds, while the run goes on
STATUS = {
    "measured": "One look at a model as it stands.",
    "running": "Training goes on, as of {now}, step {step:,}; this page is read again every minute.",
    "finished": "Training has finished, after {step:,} steps.",
    "preempted": "Training was preempted at step {step:,}; {resume} goes on from there.",
    "killed": "Its process was ended; what it last reported, at step {step:,}, is here. {resume} goes on from its last "
    "checkpoint.",
    "failed": "Training failed at step {step:,}. {reason}",
}


FOREIGN = {  # of somebody's own loop, which no command of ours goes on with
    "killed": "Its process was ended; what it last reported, at step {step:,}, is here.",
    "preempted": "Training was preempted at step {step:,}.",
}


def page(report: Report, *, run: str = "", now: float | None = None) -> str:
    """The whole page; `run` is the run's folder, as the commands on the page name it, `now` the seconds since 1970.

    >>> Path("report.html").write_text(page(report, run="runs/first"), encoding="utf-8")
    """
    pictures = inline(report)
    return template("reports/page.html.j2").render(
        report=report,
        generator=GENERATOR,
        refresh=REFRESH if report.status == "running" else None,
        status=_status(report, run, time.time() if now is None else now),
        palette={"light": LIGHT, "dark": DARK},
        keys=list(_keys(report)),
        verdicts=[verdict(finding, report, run=run) for finding in report.findings],
        fine=words.fault_free(report) if report.measurements else "",
        measured=_measured_at(report),
        pictures=pictures,
        grids={heading: _shown(grid) for heading, grid in report.grids.items()},
        absent=[FIGURES[name].alt(report) for name in names(report) if report.gradient and name not in pictures],
        plots=FIGURES,
        horizons=_horizons(report),
        conditions=[words.conditions(m.horizon) for m in list(report.measurements.values())[-1:]],
        which_end=words.which_end(report),
        gates=_gates(report),
        memory=_memory(report),
        blocks=_blocks(report),
        further=list(_further(report)),
        happenings=[(_when(h.time), h.name, _pairs(h.details)) for h in report.happenings],
        config=_settings(report.config),
        environment=_settings(report.environment),
        subject=_settings(report.subject),
    )


def write(report: Report, file: str | Path, *, run: str = "", force: bool = False) -> Path:
    """Write the page. Raises UsageError where a file is that is no such page, unless it may be written over."""
    file = Path(file)
    if file.is_dir():
        raise UsageError(f"{file} is a folder; the page needs the name of a file, such as {file / 'report.html'}.")
    if file.exists() and not force and GENERATOR.encode() not in file.read_bytes()[:1000]:
        raise UsageError(f"{file} is no page of Retrograd's. Name another file, or write over it with --force.")
    runs.make_folder(file.parent)
    runs.write(file, page(report, run=run))
    return file


def _settings(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as pairs: ("model.hidden", "256")."""
    return [(name, shown(value)) for name, value in flat(values).items()]


def shown(value: Any) -> str:
    """A setting as a person would write it."""
    match value:
        case None:
            text = "not set"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = words.number(value)
        case int():
            text = f"{value:,}" if abs(value) >= 10_000 else str(value)
        case Mapping():
            text = _pairs(value) or "empty"
        case list() | tuple():
            text = ", ".join(map(shown, value)) or "empty"
        case _:
            text = str(value)
    return text


def _status(report: Report, run: str, now: float) -> str:
    """What has become of the run, in a sentence."""
    last = words.ended(report)
    place = words.place(last) if last else None
    told = (FOREIGN if report.foreign else {}).get(report.status) or STATUS.get(
        report.status, "Written at step {step:,}."
    )
    return told.format(
        step=place[1] if place else words.last_step(report),
        now=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
        resume=f"retrograd train --resume {shlex.quote(folder(run))}",
        reason=last.details.get("reason", "") if last else "",
    )


def _measured_at(report: Report) -> str:
    """When what the verdicts rest on was measured, where that is not the end of training."""
    found = [m.step for m in report.measurements.values()]
    if not found or report.status in words.SETTLED:
        return ""
    return f"Measured at step {found[-1]:,}{'' if found[-1] else ', before training'}."


def _keys(report: Report) -> Iterator[tuple[str, str, str]]:
    """The figures that a reader looks for first: name, value and a word beside it."""
    for m in list(report.measurements.values())[-1:]:
        h = m.horizon
        when = "" if report.foreign else f", at step {m.step:,}"
        yield "horizon", f"{h}", f"{'not a number' if h.lost else 'steps back'}{words.interval(h)}{when}"
        yield (
            ("decay", "not measured", "")
            if math.isnan(h.decay)
            else (
                "decay",
                f"{h.decay:.3g}",
                f"per step{words.spread(h)}",
            )
        )
    assumed = str(report.subject.get("need is", ""))
    need = f"steps back, {assumed if assumed.startswith('assumed') else 'for the task'}"
    for name, beside in {"need": need, "window": "time steps, where the gradient is cut"}.items():
        if isinstance(report.subject.get(name), int):
            yield name, shown(report.subject[name]), beside
    for name, x in report.figures.items():
        yield name, words.number(x), ""


def _shown(grid: Grid) -> Table:
    return Table(grid.heads, [tuple(map(words.cell, row)) for row in grid.rows])


def _horizons(report: Report) -> Table:
    rows = [
        (
            name,
            "-" if report.foreign else f"{m.step:,}",
            f"{m.horizon}{words.interval(m.horizon)}",
            words.decay(m.horizon) + words.spread(m.horizon),
        )
        for name, m in report.measurements.items()
    ]
    return Table(("measured at", "step", "horizon", "decay"), rows)


def _gates(report: Report) -> Table:
    """Means and shares of every non-linearity, first and last measurement."""
    names = gates.named(report)
    rows: list[tuple[str, ...]] = []
    for line in gates.lines(report):
        means = [line.mean[name] for name in names]
        shares, dead = [line.saturated[name] for name in names], [line.dead[name] for name in names]
        rows.append(
            (
                line.layer,
                line.name,
                gates.change(means, words.rounded),
                gates.change(shares, words.percent),
                gates.change(dead, words.percent),
            )
        )
    return Table(("layer", "gate", "mean", "saturated", "dead"), rows)


def _memory(report: Report) -> Table:
    rows = []
    for layer, times in gates.memory(report):
        low, middle, high = (gates.change([three[i] for three in times.values()], words.rounded) for i in range(3))
        rows.append((layer, low, middle, high))
    return Table(("layer", "memory in steps, 10 %", "median", "90 %"), rows)


def _blocks(report: Report) -> Table:
    rows: list[tuple[str, ...]] = []
    for panel in eigenvalues.panels(report):
        found = panel.blocks.values()
        radius = gates.change([block.radius for block in found], words.rounded)
        sigma = gates.change([block.sigma_max for block in found], words.rounded)
        smallest = gates.change([block.singular_values[-1] for block in found], words.rounded)
        rows.append((panel.layer, panel.gate, radius, sigma, smallest))
    return Table(("layer", "gate", "spectral radius", "largest singular value", "smallest"), rows)


def _further(report: Report) -> Iterator[tuple[str, str, Table]]:
    """The further measures that were taken: name, heading and table."""
    found = tables(report)
    for name, heading in HEADINGS.items():
        if name in found:
            yield name, heading, found[name]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {text}" for name, text in _settings(values))


def _when(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return words.number(seconds)
