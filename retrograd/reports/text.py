"""A report as a plain page for a terminal.

page            everything: what was measured, how far it reaches, the gates, what is wrong
horizon_line    one horizon on one line: name, lag profile, horizon with interval, decay
further         of each further measure that was taken a heading, and under it a sentence a layer
"""

import textwrap
from collections.abc import Iterator

from retrograd.measures import Horizon, LayerSaturation
from retrograd.reports.report import Grid, Measurement, Report
from retrograd.reports.sentences import HEADINGS, told
from retrograd.reports.sparkline import axis, sparkline
from retrograd.reports.verdicts import Verdict, verdict
from retrograd.reports.words import cell, conditions, decay, fault_free, interval, number, spread, which_end

NAME = 22  # columns of a line's name
WIDE = 95  # columns from which a horizon line has room for intervals
LABEL = 14  # columns before what is said of a finding
NUMBERS, FEW_NUMBERS = 46, 32  # columns that horizon and decay take, with intervals and without


def page(report: Report, *, width: int = 80) -> str:
    """The report, wrapped to `width` columns (40 at least)."""
    width = max(width, 40)
    last = list(report.measurements.values())[-1] if report.measurements else None
    parts = [
        _title(report.title),
        _pairs(report.subject, width),
        _pairs({name: number(x) for name, x in report.figures.items()}, width),
        *("\n".join(table(heading, grid)) for heading, grid in report.grids.items()),
        "\n".join(_reach(report, width)),
        "\n".join(_gates(report, width)),
        "\n".join(further(last, width) if last else ()),
        "\n".join(_findings(report, width)),
        "\n".join(_notes(report, width)),
        _sample(report.sample, width),
    ]
    return "\n\n".join(part for part in parts if part)


def horizon_line(name: str, horizon: Horizon, *, width: int = 100) -> str:
    """Such as `LSTM, torch's default  █▆▅▄▂____  horizon 13 (13 to 14)  0.59 per step`."""
    bars = max(8, width - NAME - (NUMBERS if width >= WIDE else FEW_NUMBERS))
    line = _line(horizon, bars)
    if width < WIDE:
        return f"{name:<{NAME}}  {line:<{bars}}  horizon {horizon!s:<5} {decay(horizon)}"
    reach = f"horizon {horizon}{interval(horizon)}"
    return f"{name:<{NAME}}  {line:<{bars}}  {reach:<24} {decay(horizon)}".rstrip()


def further(measurement: Measurement, width: int) -> Iterator[str]:
    """Wrapped to `width` columns.

    >>> print(*further(report.measurements["end"], 80), sep="\\n")
    Why the gradient shrinks or grows
      rnn.l0: -0.29 (-0.31 to -0.28) nats per step, a factor of 0.74, ...
    """
    for measure, sentences in told(measurement).items():
        yield from _wrapped(HEADINGS[measure], width, indent="")
        for sentence in sentences:
            yield from _wrapped(sentence, width, indent="    ", first="  ")


def _line(h: Horizon, width: int) -> str:
    """The lag profile from the reference lag on: what the read-out adds before it is told in words."""
    r = h.reference
    return sparkline(h.profile[r:], width=width, underflow=h.underflow and h.underflow - r)


def _title(title: str) -> str:
    return f"{title}\n{'=' * len(title)}"


def table(heading: str, grid: Grid) -> Iterator[str]:
    yield heading
    rows = [grid.heads, *(tuple(map(cell, row)) for row in grid.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(room) for cell, room in zip(row, widths, strict=True))


def _reach(report: Report, width: int) -> Iterator[str]:
    """The lag profiles of all measurements on their axes, and beside them the window and the conditions."""
    if not report.gradient:
        return
    if not report.measurements:
        yield "Gradient reach: not measured."
        return
    yield "How far back the gradient reaches"
    for name, measured in report.measurements.items():
        yield from _profile(name if report.foreign else f"{name}, step {measured.step:,}", measured.horizon, width)
    last = list(report.measurements.values())[-1].horizon
    window = report.subject.get("window")
    said = [which_end(report), f"The window is {window} steps." if window else "", conditions(last)]
    yield from _wrapped(" ".join(filter(None, said)), width, indent="  ")


def _profile(name: str, horizon: Horizon, width: int) -> Iterator[str]:
    drawn = horizon.profile[horizon.reference :]
    bars = max(8, min(width - 4, len(drawn)))
    yield f"  {name}: horizon {horizon}{interval(horizon)}, {decay(horizon)}{spread(horizon)}"
    yield "    " + _line(horizon, bars)
    right = str(horizon.longest)
    left = f"{horizon.reference}  lag; {axis(drawn)}, log scale"
    yield "    " + left[: max(bars - len(right) - 1, 1)].ljust(bars - len(right)) + right


def _gates(report: Report, width: int) -> Iterator[str]:
    for name, measured in report.measurements.items():
        if measured.saturation:
            yield f"Gates and saturation, {name}"
            yield from _layers(measured, width)


def _layers(measured: Measurement, width: int) -> Iterator[str]:
    for layer in measured.saturation.layers if measured.saturation else ():
        yield from _wrapped(f"{layer.layer}: {_layer(layer)}", width, indent="  ")


def _layer(layer: LayerSaturation) -> str:
    gates = ", ".join(f"{name} {_short(mean)}" for name, mean in layer.gates.items())
    shares = ", ".join(f"{name} {share:.0%}" for name, share in layer.saturated.items())
    dead = ", ".join(f"{name} {share:.0%}" for name, share in layer.dead.items() if share)
    memory = ""
    if layer.timescales:
        low, middle, high = map(number, layer.timescales)
        memory = f"; memory lasts {middle} steps (80 % of units: {low} to {high})"
    return f"means {gates}; saturated {shares}" + (f"; dead {dead}" if dead else "") + memory


def _short(x: float) -> str:
    """Two decimals, or three digits of what is large."""
    return f"{x:.2f}" if abs(x) < 1e5 else number(float(f"{x:.3g}"))


def _findings(report: Report, width: int) -> Iterator[str]:
    if not report.gradient:
        return
    yield "Findings"
    if not report.findings:
        yield from _wrapped(fault_free(report), width, indent="  ")
    for finding in report.findings:
        yield from _finding(verdict(finding, report), width)


def _finding(it: Verdict, width: int) -> Iterator[str]:
    """The sentence, and under it what is said of it, the remedies in order and how to prove the first."""
    yield from _wrapped(f"{it.finding.severity}: {it.finding.message}", width, indent="  ")
    remedies = [
        ("remedies" if i == 0 else "", f"{way.written} ({way.kind}; {way.expected})") for i, way in enumerate(it.ways)
    ]
    proof = [("proof" if i == 0 else "", command) for i, command in enumerate(it.commands)]
    for label, text in (*it.facts, *remedies, *proof):
        yield from _wrapped(text, width, indent=" " * LABEL, first=f"    {label:<{LABEL - 4}}")


def _notes(report: Report, width: int) -> Iterator[str]:
    if report.notes:
        yield "Notes"
    for note in report.notes:
        yield from _wrapped(note, width, indent="  ")


def _sample(sample: str, width: int) -> str:
    if not sample:
        return ""
    lines = [piece for line in sample.splitlines() for piece in _wrapped(line, width, indent="  ") or [""]]
    return "\n".join(["What it writes", *lines])


def _pairs(values: dict[str, str | int | float | None] | dict[str, str], width: int) -> str:
    column = max(map(len, values), default=0) + 2
    lines = []
    for name, value in values.items():
        text = f"{value:,}" if isinstance(value, int) else "not measured" if value is None else str(value)
        lines += _wrapped(text, width, indent=" " * column, first=name.ljust(column))
    return "\n".join(lines)


def _wrapped(text: str, width: int, *, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
