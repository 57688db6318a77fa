"""Numbers and other people's text, as a reader sees them.

number    1.549, 12,345, NaN            spread, interval    " (12 to 14)"
visible   a text whose control characters, lone surrogates and reading directions show instead of act
"""

import math
import re
import unicodedata

from retrograd.measures import Horizon
from retrograd.reports.report import Happening, Report

LN10 = math.log(10)
NAMES = {math.inf: "infinite", -math.inf: "minus infinity"}
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def number(x: float) -> str:
    if not math.isfinite(x):
        return NAMES.get(x, "NaN")
    return f"{x:,.0f}" if (x == int(x) or abs(x) >= 1e4) and abs(x) < 1e15 else f"{x:.4g}"


def cell(x: str | float) -> str:
    """A number, or a name as it is."""
    return x if isinstance(x, str) else number(x)


def power(exponent: float) -> str:
    """A power of ten from its exponent: 10⁻³, or as a plain number where that is short."""
    if not math.isfinite(exponent):
        return {math.inf: "infinite", -math.inf: "0"}.get(exponent, "NaN")
    if -3 < exponent < 4:
        return number(float(f"{10**exponent:.3g}"))
    whole = math.floor(exponent + 0.02)  # 0.96 and more is written as 1
    mantissa = 10 ** (exponent - whole)
    digits = str(whole).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}" if abs(mantissa - 1) < 0.05 else f"{mantissa:.2g}·10{digits}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%" if math.isfinite(share) else number(share)


def rounded(x: float) -> str:
    """Three digits: 0.51, 12.8, 1,340."""
    return number(float(f"{x:.3g}"))


def count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def losses(n: int) -> str:
    return f"{n:,} loss{'' if n == 1 else 'es'}"


def expected(predicted: float | None) -> str:
    """How far the gradient is expected to reach with a remedy."""
    if predicted is None:
        return "no reach predicted"
    return (
        f"expected to reach about {count(int(predicted), 'step')}"
        if math.isfinite(predicted)
        else "expected to reach any lag"
    )


def interval(h: Horizon) -> str:
    """The horizon's, such as " (12 to 14)"; nothing where there is none."""
    if h.low is None or h.high is None or h.censored or h.lost:
        return ""
    return f" ({h.low} to {'>' if h.high >= h.longest else ''}{h.high})"


def decay(h: Horizon) -> str:
    return "decay not measured" if math.isnan(h.decay) else f"{h.decay:.3g} per step"


def spread(h: Horizon) -> str:
    """The decay's interval."""
    if h.decay_low is None or h.decay_high is None or math.isnan(h.decay):
        return ""
    return f" ({h.decay_low:.3g} to {h.decay_high:.3g})"


def conditions(h: Horizon) -> str:
    """What a horizon was counted over."""
    first, last = h.fitted
    fitted = f"; decay fitted over the lags {first} to {last}" if last > first else ""
    counted = (
        losses(len(h.anchors))
        if h.per_step
        else "the summed loss, counted from the last step, whose lags cannot be told apart"
        if h.summed
        else "the one loss, at the last step"
    )
    readout = ""
    if h.readout is not None:
        readout = f" The read-out, lag 0 to 1, is told apart: a factor of {number(h.readout)}."
    return (
        f"The horizon is the last lag with at least {h.threshold:g} of the gradient at lag {h.reference}; median over "
        f"{counted} and {count(h.sequences, 'sequence')}{fitted}.{readout}"
    )


def place(happening: Happening) -> tuple[int, int] | None:
    """The first and the last step of training that it is about, where it names any."""
    found = [happening.details.get(key) for key in ("from", "to")] if "steps" in happening.details else []
    first, last = found or [happening.details.get("step")] * 2
    return (first, last) if isinstance(first, int) and isinstance(last, int) else None


def last_step(report: Report) -> int:
    """The last step of training that the report knows of."""
    steps = [m.step for m in report.measurements.values()] + [s.step for s in report.samples]
    steps += [last for h in report.happenings for _, last in [place(h) or (0, 0)]]
    return max([0, *steps, *(curve.steps[-1] for curve in report.curves.values() if curve.steps)])


def ended(report: Report) -> Happening | None:
    """What the run's status comes from, such as its failure; not an ending after which it was resumed."""
    return report.happenings[-1] if report.happenings and report.happenings[-1].name == report.status else None


SETTLED = ("finished", "measured")  # what was measured is all that there is to measure


def fault_free(report: Report) -> str:
    """What may be said of a report without findings, and of when."""
    if not report.measurements:
        return "None yet: nothing has been measured."
    last = list(report.measurements.values())[-1]
    if not last.horizon.finite:
        return "None, but the gradient is not finite."
    when = "" if report.status in SETTLED else f" at step {last.step:,}{'' if last.step else ', before training'}"
    return f"None{when}: nothing vanishes or explodes within the steps that were measured."


def which_end(report: Report) -> str:
    """Whose the measurement at the end is, where that is not the last step's."""
    end, last = report.measurements.get("end"), last_step(report)
    if end is None or report.status != "finished" or end.step >= last:
        return ""
    return (
        f"The end is step {end.step:,} of {last:,}: "
        "the weights that are best by validation are those that are kept, measured and tested."
    )


def visible(text: str) -> str:
    r"""The text with what would act on a page (or that UTF-8 cannot hold) written out.

    >>> visible("a\x00b")
    'a␀b'
    """
    return UNSEEN.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def at(report: Report, name: str, step: int) -> str:
    """When a measurement was taken, as a sentence begins: "At end, step 200,"."""
    return "Now" if report.foreign else f"At {one_line(name)}, step {step:,},"


def one_line(text: str, *, most: int = 60) -> str:
    """A name of somebody's choosing, short enough for a picture's label."""
    plain = visible("".join(" " if unicodedata.category(c) == "Zs" or c in "\n\t" else c for c in text))
    return plain if len(plain) <= most else plain[: most - 1] + "…"
