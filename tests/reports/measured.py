"""The further measures with numbers made up, sound and broken, to be put into the reports of `examples`."""

import dataclasses
import math
import random

from retrograd.measures import (
    Attribution,
    Depth,
    Estimate,
    Exponents,
    Forgetting,
    Jacobians,
    LayerAttribution,
    LayerDepth,
    LayerForgetting,
    LayerJacobians,
    LayerWindow,
    LyapunovSpectrum,
    WindowAdequacy,
)
from retrograd.measures.window import Truncation
from retrograd.reports import Report

PATHS = {"LSTM": ("memory", "gate i", "gate f", "gate g", "gate o"), "GRU": ("keep", "gate r", "gate z", "gate n")}
NAMES = ("attribution", "window", "jacobians", "lyapunov", "forgetting", "depth")


def estimate(x, wide=0.02):
    return Estimate(x, x - wide, x + wide)


def attribution(cell="LSTM", layers=1, rate=-0.3):
    def layer(i):
        paths = PATHS.get(cell, ())
        shares = {name: estimate(0.9 if n == 0 else (0.1 + 0.02 * i) * (-1) ** n) for n, name in enumerate(paths)}
        parts = {} if paths else {"activation": estimate(0.3 * rate), "weights": estimate(0.7 * rate)}
        return LayerAttribution(f"l{i}", cell, estimate(rate + 0.01 * i), parts, shares, 1520, 16, 0, 0)

    return Attribution(tuple(map(layer, range(layers))))


def window(cell="LSTM", layers=1, rate=-0.3, longest=192):
    sizes = sorted({*(2**i for i in range(8)), *(3 * 2**i for i in range(7)), longest})

    def cosine(p):
        return 1 - 0.6 * math.exp(rate * p)

    def layer(i):
        logs = (*(1.2 - 0.1 * i + rate * l for l in range(longest - 1)), -math.inf)
        errors = tuple(math.exp(rate * p) for p in sizes)
        sliding = Truncation(errors, tuple(map(cosine, sizes)))
        chunks = Truncation(errors, tuple(cosine(0.6 * p) if p < longest else 1.0 for p in sizes))
        return LayerWindow(f"l{i}", cell, logs, sliding, chunks)

    return WindowAdequacy(tuple(map(layer, range(layers))), tuple(sizes), 0.99, tuple(range(12, 192, 24)), 16, ())


def jacobians(cell="LSTM", layers=1, rate=-0.3):
    lags = tuple(2**i for i in range(8))

    def spread(x, wide=0.1):
        return (x - wide * abs(x), x, x + wide * abs(x))

    def layer(i):
        largest = 1.2 + 0.05 * i
        return LayerJacobians(
            layer=f"l{i}",
            cell=cell,
            size=256,
            sequences=2,
            steps=24,
            largest=spread(largest),
            median=spread(0.5),
            smallest=spread(0.01),
            lags=lags,
            products=tuple(max(1, 192 // lag) for lag in lags),
            log_largest=tuple(spread(rate * lag) for lag in lags),
            log_volume=tuple(spread((rate - 0.6) * lag) for lag in lags),
            log_chain=tuple(spread(math.log(largest) * lag, 0.02) for lag in lags),
            log_bound=None if cell != "Elman" else tuple(0.3 * lag for lag in lags),
        )

    return Jacobians(tuple(map(layer, range(layers))))


def lyapunov(cell="LSTM", layers=1, rate=-0.3):
    rng = random.Random(layers)

    def one(name, members):
        found = sorted((rate - 0.4 * rng.random() for _ in range(8)), reverse=True)
        low, high = tuple(x - 0.03 for x in found), tuple(x + 0.03 for x in found)
        cells = (cell,) * len(members)
        return Exponents(name, tuple(members), cells, 256, tuple(found), low, high, 8, 1152, 48, 10)

    each = [f"l{i}" for i in range(layers)]
    return LyapunovSpectrum(tuple(one(name, [name]) for name in each), (one("l", each),) if layers > 1 else ())


def forgetting(cell="LSTM", layers=1, rate=-0.3, steps=192):
    rounding = math.ceil(-34 / rate) if rate < 0 and -34 / rate < steps else None

    def layer(i):
        middle = tuple(max(rate * t, -36.0) for t in range(steps + 1))
        return LayerForgetting(
            layer=f"l{i}",
            cell=cell,
            sequences=16,
            steps=steps,
            distance=middle,
            distance_low=tuple(x - 0.1 * math.sqrt(t) for t, x in enumerate(middle)),
            distance_high=tuple(x + 0.1 * math.sqrt(t) for t, x in enumerate(middle)),
            rounding=rounding,
            rate=rate,
            rate_low=rate - 0.01,
            rate_high=rate + 0.01,
            half_life=math.log(2) / -rate if rate < 0 else math.inf,
            half_life_low=math.log(2) / (0.01 - rate) if rate < 0.01 else math.inf,
            half_life_high=math.log(2) / (-0.01 - rate) if rate < -0.01 else math.inf,
            exponent=rate + 0.02,
            exponent_low=rate,
            exponent_high=rate + 0.04,
            transient=48,
            blocks=10,
        )

    return Forgetting(tuple(map(layer, range(layers))), ())


def depth(cell="LSTM", layers=1):
    each = 1.0 if cell == "Elman" else 2.0
    skip = 1.0 if cell == "Elman" else math.inf
    own = tuple(LayerDepth(f"l{i}", cell, each, each, skip, at_least=False) for i in range(layers))
    feeds = tuple((f"l{i}", f"l{i + 1}") for i in range(layers - 1))
    return Depth(each, layers * each, skip, own, feeds, joined=True, at_least=False)


def everything(cell="LSTM", layers=1, rate=-0.3):
    """The fields of a Measurement."""
    made = {f.__name__: f(cell, layers, rate) for f in (attribution, window, jacobians, lyapunov, forgetting)}
    return made | {"depth": depth(cell, layers)}


def measured(report, cell="LSTM", *, layers=1):
    """The report with everything in each of its measurements; training has lengthened the memory."""
    rates = [-0.3 / (i + 1) for i in range(len(report.measurements))]
    looks = {
        name: dataclasses.replace(m, **everything(cell, layers, rate))
        for (name, m), rate in zip(report.measurements.items(), rates, strict=True)
    }
    return dataclasses.replace(report, measurements=looks)


def alone(m, **fields):
    """A report of one look, at somebody's own model."""
    return Report("theirs", {}, {"now": dataclasses.replace(m, **fields)}, status="measured", foreign=True)


def spoiled(it, bad):
    """The measure with every number in its layers made `bad`, or each in turn one of three."""
    three = [math.nan, math.inf, -math.inf]
    turn = iter(range(10**9))

    def value(x):
        if isinstance(x, tuple):
            return tuple(map(value, x))
        if isinstance(x, dict):
            return {name: value(y) for name, y in x.items()}
        if isinstance(x, float):
            number = next(turn)
            return bad if bad is not None else three[number % 3] if number % 4 == 2 else x
        return dataclasses.replace(x, **fields(x)) if dataclasses.is_dataclass(x) else x

    def fields(x):
        return {f.name: value(getattr(x, f.name)) for f in dataclasses.fields(x) if f.name != "wanted"}

    return value(it)
