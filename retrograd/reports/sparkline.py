"""A profile of logarithms as one line of blocks, high for large.

█ ... ▁   from the largest value, or 1 if that is larger, down to 1e-6, evenly in the logarithm
_         under 1e-6, underflow included          0   exactly zero: no path leads there
?         NaN                                     ∞   infinite                     ·   not measured
"""

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
FLOOR = math.log(1e-6)


def sparkline(log_values: Sequence[float | None], *, width: int = 40, underflow: int | None = None) -> str:
    """At most `width` of the values, evenly spaced, the first and the last among them.

    From the index `underflow` on, -inf stands for a number too small to be held, not for a true zero.

    >>> sparkline([0.0, -7.0, -14.0, -math.inf])
    '█▄_0'
    """
    top = max([0.0, *(x for x in log_values if x is not None and math.isfinite(x))])
    last = len(log_values) - 1
    shown = [round(i * last / (width - 1)) for i in range(width)] if last >= width > 1 else range(len(log_values))
    return "".join(_mark(log_values[i], top, vanished=underflow is not None and i >= underflow) for i in shown)


def axis(profile: Sequence[float | None]) -> str:
    """The scale that `sparkline` draws this profile on: "1 to 1e-06"."""
    top = max([0.0, *(x for x in profile if x is not None and math.isfinite(x))])
    return f"{_power(top)} to {_power(FLOOR)}"


def _mark(x: float | None, top: float, *, vanished: bool) -> str:
    if x is None:
        return "·"
    if not math.isfinite(x):
        zero = "_" if vanished else "0"
        return "?" if math.isnan(x) else "∞" if x > 0 else zero
    if x < FLOOR - 1e-9:
        return "_"
    return BLOCKS[round((x - FLOOR) / (top - FLOOR) * (len(BLOCKS) - 1))]


def _power(log: float) -> str:
    power = log / math.log(10)
    return "1" if abs(power) < 0.05 else f"10^{power:.0f}"
