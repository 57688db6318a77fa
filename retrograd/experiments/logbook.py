"""What a run's logs tell: curves, samples and happenings, for its report.

A curve has at most 500 points; where a point stands for several lines of the log it is their mean, and the range is
kept beside it.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from retrograd.reports import Curve, Happening, Measurement, Sample
from retrograd.runs import Run

POINTS = 500
LOGGED = {  # name -> key in metrics.jsonl, unit
    "loss": ("loss", "nats per token"),
    "validation": ("validation", "nats per token"),
    "gradient norm": ("log_grad_norm", "ln of the norm"),
    "clipped": ("clipped", "share of steps"),
    "learning rate": ("lr", "per step"),
    "tokens per second": ("tokens_per_second", "tokens per second"),
}
TOLD = (
    "started",
    "resumed",
    "went back",
    "skipped",
    "stopped early",
    "preempted",
    "failed",
    "finished",
    "not drawn",
    "not finite",
    "not measured",
    "not kept",
)


def curves(lines: Sequence[dict[str, Any]], *, measure: str = "nats") -> dict[str, Curve]:
    """Every quantity that was logged, by name; the horizon with its interval, infinite where it was outlived.

    `measure`: what the loss is, nats or squared error.
    """
    drawn = {}
    for name, (key, usual) in LOGGED.items():
        unit = usual.replace("nats", measure)
        points = [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
        if points:
            drawn[name] = _thinned(unit, points)
    found = sorted((line for line in lines if "horizon" in line), key=lambda line: int(line["step"]))
    if found:
        drawn["horizon"] = Curve(
            "steps",
            tuple(line["step"] for line in found),
            tuple(math.inf if line["beyond"] else line["horizon"] for line in found),
            *(tuple(math.nan if line[end] is None else line[end] for line in found) for end in ("low", "high")),
        )
    return drawn


def looked(taken: Measurement) -> dict[str, Any]:
    """A measurement as numbers of one line."""
    h = taken.horizon
    steps, low, high = (math.nan, None, None) if h.lost else (h.steps, h.low, h.high)
    return {"horizon": steps, "low": low, "high": high, "beyond": h.censored, "decay": h.decay}


def samples(lines: Sequence[dict[str, Any]]) -> tuple[Sample, ...]:
    return tuple(Sample(line["step"], str(line["sample"])) for line in lines if "sample" in line)


def happenings(run: Run) -> tuple[Happening, ...]:
    """What befell the run, in order; skipped steps that follow each other are one happening."""
    own = ("event", "time", "environment", "data")
    told = []
    for name, events in groupby((e for e in run.events() if e["event"] in TOLD), key=lambda e: e["event"]):
        first, *others = events
        if name == "skipped" and others:
            told.append(Happening(name, first.get("time", math.nan), _span(first, others[-1], 1 + len(others))))
        else:
            for e in (first, *others):
                told.append(Happening(name, e.get("time", math.nan), {k: v for k, v in e.items() if k not in own}))
    return tuple(told)


def _span(first: dict[str, Any], last: dict[str, Any], count: int) -> dict[str, Any]:
    return {"steps": count, "from": first.get("step"), "to": last.get("step")}


def _thinned(unit: str, points: Sequence[tuple[int, float]]) -> Curve:
    size = math.ceil(len(points) / POINTS)
    bins = [points[i : i + size] for i in range(0, len(points), size)]
    values = [[value for _, value in each] for each in bins]
    return Curve(
        unit=unit,
        steps=tuple(each[-1][0] for each in bins),
        values=tuple(math.fsum(each) / len(each) if _summable(each) else max(each, key=_size) for each in values),
        low=tuple(map(min, values)) if size > 1 else (),
        high=tuple(map(max, values)) if size > 1 else (),
    )


def _summable(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _size(value: float) -> float:
    """NaN counts as the largest, so that a bin that holds one shows it."""
    return math.inf if math.isnan(value) else abs(value)
