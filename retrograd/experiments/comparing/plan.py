"""What is compared: models, seeds, and a config with nothing left open, in the folder's comparison.toml.

    models = ["rnn", "lstm"]    seeds = [1, 2, 3]    data = "9f86d0..."    [config.training] steps = 500 ...

A comparison is a folder: comparison.toml, a run for each model and seed (lstm-1), and what came of them,
comparison.json and comparison.html.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch

from retrograd import config, runs
from retrograd.errors import RunError, UsageError
from retrograd.experiments import build, work
from retrograd.experiments.comparing import contestants
from retrograd.experiments.comparing.contestants import OWN
from retrograd.tasks import Task, make_task

PLAN = "comparison.toml"
ANEW = "Put it back, or begin anew with another --out."
DIFFER = "The models of a comparison differ in {key}, so it cannot be set for all of them; name others with --models."


@dataclass(frozen=True)
class Entry:
    """One run of a comparison."""

    model: str
    seed: int
    settings: config.Config

    @property
    def name(self) -> str:
        """Of its folder: "lstm-1"."""
        return f"{re.sub(r'[^A-Za-z0-9_.=+-]', '-', self.model)}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    shared: config.Config  # what is a contestant's own is as a config has it where nothing is said
    data: str  # fingerprint

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every run, one seed after the other, so that what is there at any time can be compared. What counts is the
        same for every seed and runs once."""
        return tuple(
            Entry(model, seed, contestants.settings(self.shared, model, seed))
            for seed in self.seeds
            for model in self.models
            if seed == self.seeds[0] or not contestants.of(model).counted
        )

    @property
    def values(self) -> dict[str, Any]:
        """As comparison.toml has it."""
        shared = self.shared.model_dump(mode="json", exclude_none=True)
        shared["model"] = {key: x for key, x in shared["model"].items() if key not in OWN}
        return {"models": list(self.models), "seeds": list(self.seeds), "data": self.data, "config": shared}


def planned(values: Mapping[str, Any], models: Sequence[str], *, seeds: int) -> Plan:
    """A plan that can be carried out: the data is read and each model is built once. Raises UsageError.

    `values` is a config as nested dicts; the first seed is its training.seed, the others follow. Where nothing is
    said, each run has one thread.
    """
    if seeds < 1:
        raise UsageError(f"At least one seed is needed, got --seeds {seeds}.")
    settings = config.make(config.merge({"training": {"threads": 1}}, values))
    for key in OWN:
        if key in values.get("model", {}):
            raise UsageError(DIFFER.format(key=f"model.{key}"))
    names = contestants.checked(models, settings.task.name)
    first = settings.training.seed
    settings = _resolved(settings)
    drafted = Plan(names, tuple(range(first, first + seeds)), settings, data="")
    task = _refuse_what_cannot_be_built(drafted)
    return Plan(drafted.models, drafted.seeds, settings, data=task.fingerprint)


def _resolved(settings: config.Config) -> config.Config:
    """Nothing left open but what is a contestant's own."""
    settings = work.resolve(settings)
    own = {key: getattr(config.Model(), key) for key in OWN}
    device = str(build.device(settings.training.device))
    training = settings.training.model_copy(update={"device": device})
    return settings.model_copy(update={"model": settings.model.model_copy(update=own), "training": training})


def _refuse_what_cannot_be_built(plan: Plan) -> Task:
    """The data, read; and of each network one that is built and thrown away. The random state is left as it was."""
    networks = [e.settings for e in plan.entries[: len(plan.models)] if not contestants.of(e.model).counted]
    with torch.random.fork_rng(devices=[]):
        task = work.prepare(networks[0]).task if networks else make_task(plan.entries[0].settings)
        for settings in networks[1:]:
            build.build(work.resolve(settings), task.sizes)
    return task


def opened(folder: Path) -> Plan:
    """The plan of a comparison that was begun. Raises RunError where the folder holds none, or another data."""
    if not (folder / PLAN).is_file():
        raise RunError(f"{folder} is no comparison: it holds no {PLAN}. A comparison is a folder of retrograd compare.")
    values = config.read(folder / PLAN)
    try:
        models, seeds = tuple(map(str, values["models"])), tuple(map(int, values["seeds"]))
        plan = Plan(models, seeds, config.make(values["config"]), str(values["data"]))
        contestants.checked(models, plan.shared.task.name)
        if not seeds or values != plan.values:
            raise ValueError("it is not as it was written")
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise RunError(f"{folder / PLAN} was altered: {error}. {ANEW}") from None
    now = _refuse_what_cannot_be_built(plan).fingerprint
    if now != plan.data:
        raise RunError(f"The data of {folder} is not what it began with. {ANEW}")
    return plan


def put_down(plan: Plan, out: str | Path | None, *, name: str) -> Path:
    """The folder of the plan: a new one, or `out` where the same comparison was begun. Raises RunError."""
    if out is not None and (Path(out) / PLAN).exists():
        _refuse_other(Path(out), plan)
        return Path(out)
    folder = runs.new_folder(out, name=f"compare {name}")
    runs.write(folder / PLAN, tomli_w.dumps(plan.values))
    return folder


def _refuse_other(folder: Path, plan: Plan) -> None:
    then, now = config.flat(config.read(folder / PLAN)), config.flat(plan.values)
    for key in dict.fromkeys([*now, *then]):
        if then.get(key) != now.get(key):
            raise RunError(
                f"{folder} holds another comparison: {key.removeprefix('config.')} is {then.get(key)} there and "
                f"{now.get(key)} here. Give the same, or another --out."
            )
