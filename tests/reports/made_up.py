"""Measures and curves with numbers made up, sound ones of any cell, for the reports of `examples`."""

import dataclasses
import math
import random

from retrograd.measures import (
    BlockSpectrum,
    Contributions,
    Horizon,
    LayerSaturation,
    LayerSpectrum,
    Saturation,
    Spectrum,
)
from retrograd.reports import Curve

GATES = {"LSTM": "ifgo", "GRU": "rzn", "Elman": "h"}
KEEPS = {"LSTM": "f", "GRU": "z", "Elman": None}
SQUASHED = {"LSTM": {"i", "f", "o"}, "GRU": {"r", "z"}, "Elman": set()}


def horizon(decay=0.8, *, longest=192, spread=0.25, memory=True, **changes):
    """A gradient that shrinks by a factor per step, with the interval widening as it goes."""
    r, log = int(memory), math.log(decay)
    profile = [(l - r) * log + 0.15 * math.sin(l / 5) for l in range(longest + 1)]
    steps = next((l - 1 for l, x in enumerate(profile) if x < math.log(1e-3)), longest)
    wide = [spread * math.sqrt(l) for l in range(longest + 1)]
    known = Horizon(
        steps=max(steps, r),
        low=max(steps - 3, r),
        high=min(steps + 4, longest),
        threshold=1e-3,
        longest=longest,
        reference=r,
        profile=tuple(profile),
        upper=tuple(x + 2.5 * w for x, w in zip(profile, wide, strict=True)),
        profile_low=tuple(x - w for x, w in zip(profile, wide, strict=True)),
        profile_high=tuple(x + w for x, w in zip(profile, wide, strict=True)),
        decay=decay,
        decay_low=decay - 0.01,
        decay_high=decay + 0.01,
        fitted=(r, max(steps, r) + 1),
        readout=0.6 if memory else None,
        anchors=tuple(range(longest, longest + 24)),
        sequences=16,
        per_step=True,
        summed=False,
        underflow=None,
    )
    return dataclasses.replace(known, **changes)


def saturation(cell="LSTM", *, layers=1, open_=0.5):
    keeps = KEEPS[cell]

    def layer(i):
        return LayerSaturation(
            layer=f"l{i}",
            cell=cell,
            saturated={gate: 0.02 + 0.1 * n + 0.03 * i for n, gate in enumerate(GATES[cell])},
            dead=dict.fromkeys(GATES[cell], 0.0),
            gates={gate: open_ + 0.07 * n for n, gate in enumerate(sorted(SQUASHED[cell]))},
            keeping=keeps,
            timescales=(1.3 * open_, 8.5 * open_, 140.0 * open_) if keeps else None,
        )

    return Saturation(tuple(layer(i) for i in range(layers)))


def spectrum(cell="LSTM", *, layers=1, hidden=24, scale=0.6, seed=0):
    rng = random.Random(seed)

    def block(gate):
        half = [
            (scale * math.sqrt(rng.random()) * math.cos(a), scale * math.sqrt(rng.random()) * math.sin(a))
            for a in (rng.uniform(0, math.pi) for _ in range(hidden // 2))
        ]
        pairs = tuple((x, sign * y) for x, y in half for sign in (1, -1))
        singular = tuple(2 * scale * (hidden - i) / hidden for i in range(hidden))
        return BlockSpectrum(gate, pairs, max(math.hypot(*p) for p in pairs), singular)

    return Spectrum(
        tuple(LayerSpectrum(f"l{i}", cell, tuple(block(gate) for gate in GATES[cell])) for i in range(layers))
    )


def contributions(*, rows=24, columns=96, decay=0.85):
    times = tuple(round((i + 1) * 192 / rows) for i in range(rows))
    states = tuple(2 * k for k in range(columns))
    rate = math.log(decay)

    def cell(t, k):
        return None if k > t else -math.inf if t - k > 170 else (t - k) * rate - 2 + 0.2 * math.sin(k)

    return Contributions(times, states, tuple(tuple(cell(t, k) for k in states) for t in times))


def curve(unit, f, *, points=60, last=3777, spread=0.0):
    steps = tuple(round(1 + i * (last - 1) / max(points - 1, 1)) for i in range(points))
    values = tuple(float(f(i / max(points - 1, 1))) for i in range(points))
    low = tuple(x - spread * (1 + 0.5 * math.sin(3 * i)) for i, x in enumerate(values)) if spread else ()
    high = tuple(x + spread * (1 + 0.5 * math.cos(2 * i)) for i, x in enumerate(values)) if spread else ()
    return Curve(unit, steps, values, low, high)


def curves(points=60, last=3777):
    rng = random.Random(1)
    return {
        "loss": curve(
            "nats per character", lambda s: 1.5 + 2.67 * math.exp(-9 * s), points=points, spread=0.07, last=last
        ),
        "validation": curve("nats per character", lambda s: 1.55 + 2.5 * math.exp(-8 * s), points=19, last=last),
        "gradient norm": curve(
            "ln norm",
            lambda s: -0.6 + 1.8 * math.exp(-12 * s) + 0.1 * rng.gauss(0, 1),
            points=points,
            spread=0.4,
            last=last,
        ),
        "clipped": curve("share", lambda s: 0.9 * math.exp(-14 * s), points=points, last=last),
        "learning rate": curve(
            "", lambda s: 2e-3 * min(1, 20 * s) * (1 + math.cos(math.pi * s)) / 2, points=points, last=last
        ),
        "tokens per second": curve(
            "tokens per second", lambda s: 41000 + 2500 * rng.gauss(0, 1), points=points, spread=900, last=last
        ),
        "horizon": curve("steps", lambda s: round(13 + 40 * s), points=19, spread=3, last=last),
    }
