"""What clipping did in a training, and what it stumbled over, from the run's own log.

share      of all steps up to the last that was logged: each line of the log has the share of the last RECENT steps, so
           lines that far apart count each step once
factor     what was left of the norm, the median over the logged steps that were cut; not known of clipping by value
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from retrograd import config
from retrograd.experiments.keeping import RECENT
from retrograd.measures import Clipping, clipping
from retrograd.runs import Run

COUNTED = {"skipped": "steps skipped", "went back": "returns to a checkpoint"}  # an event, and what so many are called


def of_training(run: Run, t: config.Training) -> Clipping | None:
    """None where nothing was logged, or nothing clipped."""
    logged, limit = [line for line in run.metrics() if "clipped" in line], clip_norm(run, t)
    if not logged or not (limit or t.clip_value):
        return None
    found = clipping([line["log_grad_norm"] for line in logged], threshold=limit or None)
    return replace(found, share=_share(logged), factor=None if t.clip_value else found.factor)


def clip_norm(run: Run, t: config.Training) -> float:
    """The norm that is clipped at in the end: going back to a checkpoint may have lowered it. 0: none."""
    backs = [event for event in run.events() if event["event"] == "went back"]
    return float(backs[-1]["clip_norm"]) if backs else t.clip_norm


def figures(cut: Clipping) -> dict[str, float]:
    """For a report."""
    named = {"share of steps clipped": cut.share, "share of the norm left by clipping": cut.factor}
    return {name: x for name, x in named.items() if x is not None}


def stumbles(run: Run) -> dict[str, float]:
    """How often a step was skipped and training went back; nothing where neither happened."""
    happened = [event["event"] for event in run.events()]
    return {name: float(happened.count(event)) for event, name in COUNTED.items() if event in happened}


def _share(logged: Sequence[Mapping[str, Any]]) -> float:
    clipped, covered, before = 0.0, 0, logged[-1]["step"] + RECENT
    for line in reversed(logged):
        if line["step"] <= before - RECENT:
            steps = min(line["step"], RECENT)
            clipped, covered, before = clipped + line["clipped"] * steps, covered + steps, line["step"]
    return clipped / covered
