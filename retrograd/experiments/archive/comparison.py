"""Several runs side by side: the config keys that differ, what came of them, and whether that can be compared."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograd import config
from retrograd.errors import UsageError
from retrograd.experiments.archive.catalogue import Details, Look, details, interval, verdicts

TOKENS = ("data.level", "data.vocabulary")  # config keys that decide what one token is


@dataclass(frozen=True)
class Comparison:
    """Several runs; every inner tuple has one item a run."""

    names: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]  # the config keys that differ
    results: dict[str, tuple[Any, ...]]
    caveats: tuple[str, ...]  # why the figures cannot be held against each other
    conclusion: str | None  # which horizon at the end is the longest


def comparison(names: Sequence[str | Path]) -> Comparison:
    """Raises UsageError for fewer than two runs, and what `details` raises."""
    if len(names) < 2:
        raise UsageError("A comparison takes two runs at least: retrograd runs compare RUN RUN.")
    compared = [details(name) for name in names]
    flat = [config.flat(run.config) for run in compared]
    keys = dict.fromkeys(key for values in flat for key in values)
    settings = {key: tuple(values.get(key) for values in flat) for key in keys}
    differ = {key: values for key, values in settings.items() if any(value != values[0] for value in values)}
    caveats = tuple(_caveats([run.data for run in compared], differ))
    return Comparison(
        tuple(run.entry.path for run in compared), differ, _results(compared), caveats, _conclusion(compared)
    )


def _results(compared: Sequence[Details]) -> dict[str, tuple[Any, ...]]:
    """What came of the runs, row by row."""
    first = [next((look for look in run.horizons if look.name == "start"), None) for run in compared]
    last = [_last(run) for run in compared]
    names = dict.fromkeys(name for run in compared for name in run.figures)
    return {
        "status": tuple(run.entry.status for run in compared),
        "steps": tuple(run.entry.steps for run in compared),
        "seconds": tuple(run.seconds for run in compared),
        "tokens per second": tuple(run.speed for run in compared),
        **{name: tuple(run.figures.get(name) for run in compared) for name in names},
        "horizon at the start": tuple(look and interval(look) for look in first),
        "horizon at the end": tuple(look and interval(look) for look in last),
        "verdicts": tuple(verdicts(run) for run in compared),
    }


def _caveats(data: Sequence[str | None], differ: dict[str, tuple[Any, ...]]) -> Iterator[str]:
    if None in data:
        yield "Not every run says which data it saw, so it is not known whether their figures are comparable."
    elif len(set(data)) > 1:
        yield "These runs did not see the same data, so their figures are not comparable."
    elif tokens := [key for key in TOKENS if key in differ]:
        yield f"These runs count other tokens ({', '.join(tokens)} differs), so figures per token are not comparable."
    if any(key.removeprefix("training.") in config.BUDGETS for key in differ):
        yield "These runs had different budgets, so not all that differs comes from the other keys."


def _conclusion(compared: Sequence[Details]) -> str | None:
    """Which horizon at the end is the longest, or that this cannot be told."""
    last = {run.entry.path: look for run in compared if (look := _last(run)) and look.horizon != "NaN"}
    if len(last) < 2:
        return None
    ends = {name: _interval(look) for name, look in last.items()}
    first = max(ends, key=lambda name: ends[name])
    rivals = [name for name, (_, high) in ends.items() if name != first and high >= ends[first][0]]
    if rivals:
        return (
            f"The horizons at the end of {', '.join([first, *rivals])} cannot be told apart: their intervals overlap."
        )
    return f"{first} reaches the furthest back at the end."


def _last(run: Details) -> Look | None:
    return next((look for look in run.horizons[::-1] if look.name != "start"), None)


def _interval(look: Look) -> tuple[float, float]:
    if look.low is None or look.high is None:  # it outlives what was measured, or comes from one sequence
        steps = int(look.horizon.removeprefix(">"))
        return steps, math.inf if look.horizon.startswith(">") else steps
    return look.low, look.high
