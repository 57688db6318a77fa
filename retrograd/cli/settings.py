"""From flags to a config: file, then everyday flags, then --set; the later wins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrograd import config
from retrograd.errors import UsageError

FLAGS = {  # everyday flag -> where it goes
    "texts": "data.train",
    "task": "task.name",
    "valid": "data.valid",
    "test": "data.test",
    "level": "data.level",
    "model": "model.kind",
    "cell": "model.cell",
    "hidden": "model.hidden",
    "layers": "model.layers",
    "init": "model.init",
    "weights": "model.weights",
    "window": "training.window",
    "clip": "training.clip_norm",
    "lr": "training.lr",
    "steps": "training.steps",
    "minutes": "training.minutes",
    "seed": "training.seed",
    "threads": "training.threads",
    "device": "training.device",
    "backend": "training.backend",
}


def gather(file: Path | None, changes: Sequence[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a command line sets; flags that were not given are None."""
    values: dict[str, Any] = config.read(file) if file else {}
    given: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        if value is not None and value != []:
            section, key = FLAGS[name].split(".")
            given.setdefault(section, {})[key] = value
    assigned = config.assignments(changes)
    _refuse_two_budgets(given, assigned)
    return config.merge(config.merge(values, given), assigned)


def _refuse_two_budgets(*layers: Mapping[str, Any]) -> None:
    """One of them would be dropped without a word."""
    named = sorted({name for layer in layers for name in layer.get("training", {}) if name in config.BUDGETS})
    if len(named) > 1:
        raise UsageError(
            f"A training has one budget; give one of minutes, steps and epochs, got {' and '.join(named)}."
        )
