"""Reports of every kind to draw: full, empty, big, censored, broken by NaN, of one layer and of two, of each cell."""

import dataclasses
import math

from retrograd.diagnosis import Finding, remedy
from retrograd.measures import LayerSpectrum, Saturation, Spectrum
from retrograd.reports import Curve, Happening, Measurement, Report, Sample
from tests.reports.made_up import contributions, curve, curves, horizon, saturation, spectrum

VANISHING = Finding(
    code="vanishing",
    severity="error",
    message=(
        "The gradient reaches 47 steps back; the task needs 150. The forget gates average 0.51. "
        "Try --init forget_bias=5.1."
    ),
    evidence={"horizon": 47, "low": 44, "high": 51, "need": 150, "decay": 0.86, "gate": 0.51},
    where="l0, state h and c",
    why="Per step the gradient takes a factor 0.86: 91% by way of the memory and 8% by way of gate g.",
    is_not="No norm of dL/dW_hh shows it, because that is a sum over lags which the short ones dominate.",
    assumes="The task needs the gradient 150 steps back, as it was given.",
    remedies=(
        remedy("forget-bias", bias=5.1, predicted=1136, need=150),
        remedy("chrono", longest=150, predicted=521, need=150),
        remedy("clip-norm", norm=1.0),
    ),
)
SUMMED = Finding(
    code="summed-loss",
    severity="note",
    message="The loss is one number for many steps, so its 47 steps do not say how far back any one reaches.",
    evidence={"horizon": 47},
)
SPEECH = (
    "ROMEO:\nWhat say'st thou, night? the morrow comes anon,\nAnd all the world is hush'd.\n\nJULIET:\nThen be it so.\n"
)


def full(cell="LSTM", *, layers=1):
    """All that a report can hold, of a run that ended well."""
    memory = cell == "LSTM"
    start = Measurement(
        0,
        horizon(0.59, memory=memory),
        saturation(cell, layers=layers),
        contributions(decay=0.6),
        spectrum(cell, layers=layers),
    )
    end = Measurement(
        3777,
        horizon(0.86, memory=memory),
        saturation(cell, layers=layers, open_=0.7),
        contributions(),
        spectrum(cell, layers=layers, scale=1.02, seed=3),
    )
    return Report(
        title=f"tiny shakespeare {cell.lower()}",
        subject={
            "task": "language",
            "cell": cell.lower(),
            "hidden": 256,
            "layers": layers,
            "init": "torch",
            "parameters": 345_921,
            "window": 128,
            "need": 150,
            "need is": "known",
        },
        measurements={"start": start, "end": end},
        findings=(VANISHING, SUMMED),
        figures={"validation nats": 1.5513, "test nats": 1.5492, "perplexity": 4.708, "bits": 2.235},
        samples=tuple(Sample(step, SPEECH) for step in (0, 1200, 2400, 3777)),
        curves=curves(),
        config={
            "task": "language",
            "seed": 1,
            "data": {"train": ["tiny_shakespeare.txt"], "valid": None, "level": "char"},
            "model": {"cell": cell.lower(), "hidden": 256, "layers": layers, "dropout": 0.0, "tied": False},
            "training": {"window": 128, "batch": 32, "optimizer": "adamw", "lr": 0.002, "clip": 1.0},
        },
        environment={"python": "3.11.2", "torch": "2.13.0", "system": "Linux", "threads": 2},
        happenings=(
            Happening("started", 1_760_000_000.0, {}),
            Happening("preempted", 1_760_000_150.0, {"step": 1490, "signal": "SIGTERM"}),
            Happening("resumed", 1_760_000_900.0, {"step": 1500}),
            Happening("went back", 1_760_001_000.5, {"step": 2610, "to": 2400, "reason": "the loss was NaN"}),
            Happening("finished", 1_760_001_300.0, {"step": 3777}),
        ),
    )


def empty():
    """A run that has only just begun."""
    return Report(title="notes lstm", subject={}, measurements={}, status="running")


def censored():
    """A gradient that outlives what was measured."""
    report = full()
    end = report.measurements["end"]
    beyond = dataclasses.replace(horizon(0.997), steps=192, low=192, high=192)
    known = report.curves | {"horizon": curve("steps", lambda s: 13 + 400 * s if s < 0.4 else math.inf, points=19)}
    return dataclasses.replace(
        report,
        measurements=report.measurements | {"end": dataclasses.replace(end, horizon=beyond)},
        curves=known,
        findings=(),
    )


def broken():
    """NaN and infinities wherever there can be one."""
    report, bad = full(), (math.nan, math.inf, -math.inf)

    def spoil(values):
        return tuple(bad[i % 3] if i % 4 == 2 else x for i, x in enumerate(values))

    def spoiled(it):
        return dataclasses.replace(it, values=spoil(it.values), low=spoil(it.low), high=spoil(it.high))

    end = report.measurements["end"]
    h = end.horizon
    h = dataclasses.replace(
        h, profile=spoil(h.profile), upper=spoil(h.upper), profile_low=spoil(h.profile_low),
        profile_high=spoil(h.profile_high), decay=math.nan, decay_low=math.nan, decay_high=math.inf, readout=math.inf,
    )  # fmt: skip
    gates = end.saturation.layers[0]
    gates = dataclasses.replace(
        gates, gates={"i": math.nan, "f": math.inf, "o": 0.4}, saturated=dict.fromkeys("ifgo", math.nan),
        timescales=(1.0, math.nan, math.inf),
    )  # fmt: skip
    blocks = end.spectrum.layers[0].blocks
    block = dataclasses.replace(blocks[0], eigenvalues=((math.nan, 0.0), (math.inf, 1.0), (0.5, 0.1)), radius=math.nan)
    heat = end.contributions
    rows = tuple(
        tuple(None if x is None else bad[j % 3] if j % 7 == 3 else x for j, x in enumerate(row))
        for row in heat.log_norms
    )
    measured = Measurement(
        3777,
        h,
        Saturation((gates,)),
        dataclasses.replace(heat, log_norms=rows),
        Spectrum((LayerSpectrum("l0", "LSTM", (block, *blocks[1:])),)),
    )
    return dataclasses.replace(
        report,
        status="failed",
        measurements=report.measurements | {"end": measured},
        curves={name: spoiled(it) for name, it in report.curves.items()},
        figures={"validation nats": math.nan, "perplexity": math.inf, "bits": -math.inf},
    )


def nothing_finite():
    """Not one number in it is finite."""
    report = full()
    end = report.measurements["end"]
    nan = (math.nan,) * 193
    h = dataclasses.replace(
        end.horizon,
        profile=nan,
        upper=nan,
        profile_low=nan,
        profile_high=nan,
        decay=math.nan,
        decay_low=None,
        decay_high=None,
    )
    heat = dataclasses.replace(end.contributions, log_norms=((math.nan,) * 96,) * 24)
    return dataclasses.replace(
        report,
        measurements={"now": dataclasses.replace(end, horizon=h, contributions=heat)},
        curves={
            name: dataclasses.replace(it, values=(math.nan,) * len(it.steps), low=(), high=())
            for name, it in report.curves.items()
        },
    )


def one_point():
    """A run after its first step: every curve is a point."""
    report = full()
    return dataclasses.replace(
        report,
        status="running",
        measurements={"start": report.measurements["start"]},
        curves={name: curve(it.unit, lambda s: 1.0, points=1, last=1) for name, it in report.curves.items()},
        samples=(),
        findings=(),
        figures={},
        happenings=report.happenings[:1],
    )


def hostile():
    """Names and texts by somebody who wishes the page ill."""
    report, script = full(), "<script>alert(1)</script>"
    layer = dataclasses.replace(report.measurements["end"].saturation.layers[0], layer="$x^{" + script)
    end = dataclasses.replace(report.measurements["end"], saturation=Saturation((layer,)))
    return dataclasses.replace(
        report,
        title=script + "\x00\ud800",
        subject={"cell": script, "window": 128},
        measurements={"start": report.measurements["start"], "</svg>" + script: end},
        samples=(Sample(1, f"{script}\x1b[31m\u202e{'a' * 4000}\ud83d & \"q\" 'q'"),),
        config={script: {"key": script}, "url": "http://127.0.0.1:9/x.png"},
        environment={"host": "\x07" + script},
        happenings=(Happening(script, math.nan, {"step": 5, "why": script}),),
        findings=(
            dataclasses.replace(VANISHING, message=script, code=script, where=script, why=script, is_not=script),
        ),
    )


def foreign():
    """Somebody's own tanh network, looked at once."""
    report = full("Elman")
    cures = (
        remedy("calibrated", predicted=math.inf, need=150),
        remedy("irnn", predicted=math.inf, need=150),
        remedy("gated-cell", bias=5.1, predicted=1136, need=150),
        remedy("orthogonal", predicted=38, need=150),
    )
    return dataclasses.replace(
        report,
        title="Tagger",
        subject={"layers": "rnn.l0 elman 64", "need": 150, "need is": "known"},
        measurements={"now": dataclasses.replace(report.measurements["start"], step=0)},
        findings=(dataclasses.replace(VANISHING, where="rnn.l0, state h", remedies=cures),),
        figures={},
        samples=(),
        status="measured",
        curves={},
        config={},
        environment={},
        happenings=(),
        foreign=True,
    )


def big():
    """As large as they come: LSTM of 512, a horizon over 192 lags, 500 points a curve."""
    report = full()
    spectra = {
        name: dataclasses.replace(m, spectrum=spectrum(hidden=512, scale=scale, seed=len(name)))
        for (name, m), scale in zip(report.measurements.items(), (0.7, 1.05), strict=True)
    }
    return dataclasses.replace(
        report,
        measurements=spectra,
        curves=curves(points=500),
        samples=tuple(Sample(300 * i, (SPEECH * 4)[:300]) for i in range(12)),
        config={f"section{i}": {f"key_{j}": i * j for j in range(10)} for i in range(6)},
    )


def lost(start=0):
    """A gradient that is no number from some lag on, in a run that skipped most of its steps."""
    report, steps = full("Elman"), range(2, 61, 2)
    h = report.measurements["end"].horizon
    profile = tuple(x if l < start else math.nan for l, x in enumerate(h.profile))
    h = dataclasses.replace(h, profile=profile, steps=max(start - 1, 0), low=0, high=0, decay=math.nan, fitted=(0, 0))
    nan = Curve("nats per character", (20, 40, 60), (math.nan,) * 3)
    skipped = [Happening("skipped", 1_760_000_000.0 + step, {"step": step, "loss": "NaN"}) for step in steps]
    folded = Happening("skipped", 1_760_000_100.0, {"steps": 30, "from": 2, "to": 60})
    return dataclasses.replace(
        report,
        measurements={
            "start": dataclasses.replace(report.measurements["start"], horizon=h),
            "end": dataclasses.replace(report.measurements["end"], horizon=h, step=60),
        },
        curves={name: it for name, it in curves(6, 60).items() if name not in ("loss", "horizon")}
        | {"validation": nan},
        samples=(),
        happenings=(*report.happenings[:1], *skipped, folded),
    )


REPORTS = {
    "full": full,
    "two layers": lambda: full(layers=2),
    "gru": lambda: full("GRU", layers=2),
    "elman": lambda: full("Elman"),
    "empty": empty,
    "censored": censored,
    "broken": broken,
    "nothing finite": nothing_finite,
    "lost": lost,
    "one point": one_point,
    "hostile": hostile,
    "big": big,
}
