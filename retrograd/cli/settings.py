"""From flags to a config: file, then everyday flags, then --set; the later wins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrograd import config

FLAGS = {  # everyday flag -> where it goes
    "texts": "data.train",
    "valid": "data.valid",
    "test": "data.test",
    "level": "data.level",
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
    values = config.merge(values, given)
    return config.merge(values, config.assignments(changes))
