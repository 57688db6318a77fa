"""How the models of a comparison came on: their validation figures by steps or minutes, over the seeds.

Mean, least and greatest over the seeds at each place where one was validated and all of them were before and behind,
by straight lines between the validations of each.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from retrograd.experiments.comparing import contestants
from retrograd.experiments.comparing.plan import Entry, Plan
from retrograd.reports.comparison import Course
from retrograd.runs import Run

POINTS = 40  # at most


def course(plan: Plan, folder: Path, name: str, *, key: str, over: str) -> Course:
    """Of one model. `key` is that of metrics.jsonl; `over` is "steps" or "minutes"."""
    runs = [_validations(folder, e, key, over) for e in plan.entries if e.model == name]
    runs = [run for run in runs if len(run) > 1]
    if not runs:
        return Course((), (), (), ())
    first, last = max(run[0][0] for run in runs), min(run[-1][0] for run in runs)
    places = sorted({x for run in runs for x, _ in run if first <= x <= last})
    if len(places) > POINTS:
        places = [places[i * (len(places) - 1) // (POINTS - 1)] for i in range(POINTS)]
    values = [[_between(run, x) for run in runs] for x in places]
    return Course(tuple(places), tuple(map(fmean, values)), tuple(map(min, values)), tuple(map(max, values)))


def _validations(folder: Path, entry: Entry, key: str, over: str) -> list[tuple[float, float]]:
    run = Run(folder / entry.name)
    if contestants.of(entry.model).counted or not run.path.is_dir():
        return []
    lines = run.metrics()
    clock = [(0.0, 0.0)] + [(float(line["step"]), float(line["seconds"]) / 60) for line in lines if "seconds" in line]
    found: dict[float, float] = {}
    for line in lines:
        if isinstance(x := line.get(key), int | float) and math.isfinite(x):
            step = float(line["step"])
            found[_between(clock, step) if over == "minutes" else step] = float(x)
    return sorted(found.items())


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """The straight line between the two points around x; beyond the last, through the last two."""
    if len(points) == 1:
        return points[0][1]
    i = next((i for i, (right, _) in enumerate(points) if right >= x and i), len(points) - 1)
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
