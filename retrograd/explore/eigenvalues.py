"""What becomes of a vector under a matrix, again and again: its eigenvalues one by one, and its singular values.

    W v = w v  ->  W^t v = w^t v          radius = max |w|          sigma_max = max |W v| / |v|

|w| over 1 grows and under 1 decays; a complex pair turns, once in 2 pi / |arg w| steps; a negative real alternates.
Where W is not normal some vector grows first even if every |w| < 1: sigma_max(W^t) is the most that it can.
"""

import cmath
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from retrograd.errors import ConfigError
from retrograd.explore import checks
from retrograd.explore.eigenvalues_drawn import draw
from retrograd.explore.exploration import Exploration, Row, Table
from retrograd.explore.products import log_norms
from retrograd.explore.spectra import Eigenvalue, Eigenvalues
from retrograd.explore.starts import seeded, weights
from retrograd.numerics import unit
from retrograd.reports.words import LN10, count, number, power, rounded

START = "default"  # torch's own
LARGEST = 256  # rows
EVEN = 1e-9  # by which a modulus may differ from 1, and an imaginary part from 0, by rounding
SHOWN = 12  # eigenvalues in the table


def eigenvalues(
    matrix: Sequence[Sequence[float]] | None = None,
    *,
    start: str | None = None,
    size: int = 32,
    seed: int = 0,
    vector: Sequence[float] | None = None,
    steps: int = 30,
) -> Eigenvalues:
    """Of a matrix given by its rows, or of the W_hh that a start by name gives, and the orbit of a vector.

    The vector is drawn from the seed where none is given.

    >>> eigenvalues([[0.5, 1], [-1, 0.5]]).radius
    1.118033988749895
    """
    if matrix is not None and start is not None:
        raise ConfigError("Give a matrix or a start, not both.")
    checks.whole("steps", steps, most=200)
    if matrix is None:
        checks.whole("size", size, most=LARGEST)
        name = start or START
        W, source = weights(name, size, seed=seed)[0][0], f"the start {name!r}, {size} units, seed {seed}"
    else:
        rows = checks.square(matrix, most=LARGEST)
        W, source = torch.tensor(rows, dtype=torch.float64), "given by hand"
    v = _vector(vector, len(W), seed)
    found = sorted(
        (_eigenvalue(w) for w in torch.linalg.eigvals(W).tolist()),
        key=lambda w: (-round(w.modulus, 9), -w.real, -w.imaginary),
    )
    norms, points = _orbit(W, v, steps)
    return Eigenvalues(
        source=source,
        eigenvalues=tuple(found),
        radius=max(w.modulus for w in found),
        singular_values=tuple(torch.linalg.svdvals(W).tolist()),
        vector=tuple(v.tolist()),
        log_norms=norms,
        log_most=(0.0, *log_norms([W] * steps)),
        points=points if len(W) == 2 else (),
    )


def _vector(given: Sequence[float] | None, size: int, seed: int) -> Tensor:
    if given is not None:
        v = torch.tensor(checks.numbers("the vector", given, least=size, most=size), dtype=torch.float64)
        if not v.any():
            raise ConfigError("The vector must not be zero: it would stay so.")
        return v
    with seeded(seed):
        v = torch.randn(size, dtype=torch.float64)
    length: Tensor = torch.linalg.vector_norm(v)
    return v / length


def _eigenvalue(w: complex) -> Eigenvalue:
    modulus, angle = cmath.polar(w)
    if abs(w.imag) <= EVEN * modulus:
        w = complex(w.real, 0.0)
        angle = math.pi if w.real < 0 else 0.0
    size = "steady" if abs(modulus - 1) <= EVEN else "growing" if modulus > 1 else "decaying"
    turn = "rotation" if w.imag else "oscillation" if angle else ""
    kind = f"{size} {turn}" if turn else {"growing": "growth", "decaying": "decay"}.get(size, size)
    return Eigenvalue(w.real, w.imag, modulus, kind, 2 * math.pi / abs(angle) if angle else math.inf)


def _orbit(W: Tensor, v: Tensor, steps: int) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """ln |W^t v| / |v|, and W^t v itself."""
    direction, first = unit(v)
    log, logs, points = torch.zeros_like(first), [0.0], [tuple(v.tolist())]
    size = W.abs().max().clamp(min=torch.finfo(W.dtype).tiny)
    for _ in range(steps):
        direction, stretch = unit(W / size @ direction)
        log = log + stretch + size.log()
        logs.append(float(log))
        points.append(tuple(((first + log).exp() * direction).tolist()))
    return tuple(logs), tuple(points)


def say(it: Eigenvalues) -> str:
    kinds = Counter(w.kind for w in it.eigenvalues)
    told = ", ".join(f"{n} of {kind}" for kind, n in kinds.items())
    steps = len(it.log_norms) - 1
    sigma = it.singular_values
    grown = f"After {steps} steps the vector is {power(it.log_norms[-1] / LN10)} times as long"
    peak = max(range(steps + 1), key=lambda t: it.log_most[t])
    first = ""
    if it.radius < 1 - EVEN and peak and it.log_most[peak] > EVEN:
        most = power(it.log_most[peak] / LN10)
        first = f"; though all decays, some vector is first stretched {most} times, at t = {peak}"
    many = count(len(it.eigenvalues), "eigenvalue")
    return (
        f"The matrix ({it.source}) has {many}: {told}. Its spectral radius is {rounded(it.radius)}; one step stretches "
        f"by {rounded(sigma[-1])} to {rounded(sigma[0])}, its singular values. {grown}{first}."
    )


def table(it: Eigenvalues) -> Table:
    steps = len(it.log_norms) - 1
    upper = [w for w in it.eigenvalues if w.imaginary >= 0]
    shown = [
        (
            _written(w),
            rounded(w.modulus),
            w.kind,
            "" if math.isinf(w.period) else f"{w.period:.4g} steps",
            power(steps * math.log10(w.modulus)) if w.modulus else "0",
        )
        for w in upper[:SHOWN]
    ]
    if len(upper) > SHOWN:
        shown.append((f"{len(upper) - SHOWN} more", f"to {rounded(upper[-1].modulus)}", "", "", ""))
    return Table(("eigenvalue", "modulus", "what it does", "a turn takes", f"after {steps} steps"), shown)


def _written(w: Eigenvalue) -> str:
    return f"{number(w.real)} ± {number(w.imaginary)}i" if w.imaginary else number(w.real)


def rows(it: Eigenvalues) -> Iterator[Row]:
    yield ("what", "number", "real part or value", "imaginary part", "kind")
    for i, w in enumerate(it.eigenvalues, start=1):
        yield ("eigenvalue", i, w.real, w.imaginary, w.kind)
    for i, x in enumerate(it.singular_values, start=1):
        yield ("singular value", i, x, None, None)
    for name, logs in (("ln |W^t v| / |v| at t", it.log_norms), ("ln sigma_max(W^t) at t", it.log_most)):
        for t, x in enumerate(logs):
            yield (name, t, x, None, None)
    for t, (x, y) in enumerate(it.points):
        yield ("W^t v at t", t, x, y, None)


EXPLORATION = Exploration(
    title="Eigenvalues, and what becomes of a vector",
    about="The eigenvalues of a matrix given by hand, or of a recurrent start given by name, around the unit circle: "
    "growth outside it, decay inside, rotation off the real axis, oscillation where negative. After the notes on "
    "eigenvalues and singular values.",
    explore=eigenvalues,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
