"""What a few seeds can tell: Student's t.

    one model     mean(x) ± t[n-1] s(x) / sqrt(n)                        x: its figure, one for each of n seeds
    two models    mean(d) ± t[n-1] s(d) / sqrt(n)        d[i] = a[i] - b[i], both trained with seed i

t[n-1] leaves 2.5 % of Student's distribution with n - 1 degrees of freedom on either side. Two models are told apart
where the interval of their difference leaves 0 out. With the same seed they meet the same data in the same order, so
that what a seed does to both cancels. Each pair is judged at 95 % by itself. The intervals are over the seeds; the test
data is the same for all, and another text would give other figures.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from retrograd.measures import Estimate

OUTSIDE = 0.05  # share of the distribution that an interval leaves out, half of it on either side


def interval(values: Sequence[float]) -> Estimate:
    """The mean and its 95 % interval; none from a single value.

    >>> interval([1.0, 2.0, 3.0])
    Estimate(value=2.0, low=-0.484..., high=4.484...)
    """
    n, mean = len(values), fmean(values)
    if n < 2:
        return Estimate(mean, None, None)
    off = quantile(1 - OUTSIDE / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - off, mean + off)


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[Estimate, int] | None:
    """Of two models' figures by seed, a - b over the seeds that both have, and how many these are; None for no seed."""
    seeds = sorted(a.keys() & b.keys())
    return (interval([a[seed] - b[seed] for seed in seeds]), len(seeds)) if seeds else None


def apart(found: Estimate) -> bool:
    """Does the interval leave 0 out?"""
    return found.low is not None and found.high is not None and not found.low <= 0 <= found.high


def quantile(p: float, freedom: int) -> float:
    """The t under which Student's distribution has the share p, 0.5 <= p < 1."""
    low, high = 0.0, 1.0
    while share(high, freedom) < p:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle, freedom) < p else (low, middle)
    return high


def share(t: float, freedom: int) -> float:
    """P(T <= t), t >= 0, by the finite sum for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    c2 = math.cos(angle) ** 2
    first = 0 if freedom % 2 == 0 else 1
    term = 1.0 if first == 0 else math.cos(angle)
    total = term if freedom > 1 else 0.0
    for k in range(first + 2, freedom - 1, 2):
        term *= c2 * (k - 1) / k
        total += term
    within = math.sin(angle) * total if first == 0 else 2 / math.pi * (angle + math.sin(angle) * total)
    return 0.5 + within / 2
