"""Where an axis puts its ticks, and what they are called.

ticks     1, 2 or 5 times a power of ten apart                   decades   whole powers of ten; between them 2 and 5
limits    the range of what is finite, never empty             labelled  none of them where nothing is finite
"""

import math
from collections.abc import Iterable

from retrograd.reports.words import power

Ticks = tuple[list[float], list[str]]  # where, and what is written there


def limits(
    values: Iterable[float], *, empty: tuple[float, float] = (0.0, 1.0), margin: float = 0.0
) -> tuple[float, float]:
    """The least and the greatest finite value, `margin` of their distance apart from the edges."""
    finite = [x for x in values if math.isfinite(x)]
    if not finite:
        return empty
    low, high = min(finite), max(finite)
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # a single value: some room on either side
        room = abs(low) / 10 or 0.5
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def labelled(marked: Ticks, values: Iterable[float]) -> Ticks:
    """The ticks of an axis for these values; none where not one of them is finite, so that there is no scale."""
    return marked if any(map(math.isfinite, values)) else ([], [])


def ticks(low: float, high: float, *, most: int = 6, whole: bool = False) -> Ticks:
    """At most `most` even ticks from `low` to `high`, with as many decimals as they need; none if they are `whole`."""
    raw = max((high - low) / max(most - 1, 1), 1.0 if whole else 0.0)
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * (1 - 1e-9))
    places = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if step >= 1e7 or decimals > 5:
        return places, [f"{x:.3g}" for x in places]
    return places, [f"{x:,.{decimals}f}" for x in places]


def decades(low: float, high: float, *, most: int = 6) -> Ticks:
    """For an axis of decimal logarithms."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if last - first >= 2:
        step = math.ceil((last - first + 1) / most)
        places = [float(i) for i in range(first, last + 1) if i % step == 0]
    else:
        for between in ((1, 2, 5), (1, 3), (1,)):
            fine = [i + math.log10(m) for i in range(first - 1, last + 2) for m in between]
            places = [x for x in fine if low <= x <= high]
            if len(places) <= most:
                break
    if len(places) < 2:
        places, _ = ticks(low, high, most=3)
    return places, [power(x) for x in places]
