"""Who can take part in a comparison: a name, and the keys of the config's [model] that it stands for.

    lstm              as in CONTESTANTS                 lstm:forget_bias=3        with another start

All else of the config is the same for all of them. A key that a kind of model does not read is left out for it: a
window model has no `layers`, one of n-grams no `hidden`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrograd import config
from retrograd.errors import ConfigError, UnknownName
from retrograd.experiments import bag, counting
from retrograd.experiments.build import ONLY

OWN = ("kind", "cell", "activation", "init", "bidirectional", "weights")  # keys of [model] that are a contestant's own
ONE_LABEL = ("sentiment",)  # tasks that give a text one label
WRITTEN = (*config.TEXTS, "translation", "captioning")  # tasks whose answers are read again, each behind the next


@dataclass(frozen=True)
class Contestant:
    """`reads`: what the tasks that it cannot learn lack. What counts is the same for every seed."""

    changes: dict[str, Any]
    reads: str = ""  # "text", "labels", "whole"; "": everything
    counts: Mapping[str, set[str]] = field(default_factory=dict)  # the keys of each section that it reads
    idle: tuple[str, ...] = ()  # keys of [model] that it does not read
    unit: str = "parameters"  # of its size

    @property
    def counted(self) -> bool:
        return bool(self.counts)

    def can(self, task: str) -> bool:
        """Can it learn that task?"""
        able = {"text": task in config.TEXTS, "whole": task not in WRITTEN, "labels": task in ONE_LABEL}
        return able.get(self.reads, True)


def _cell(name: str, **others: Any) -> dict[str, Any]:
    return {"kind": "recurrent", "cell": name, **others}


CONTESTANTS = {
    "ngram": Contestant({"kind": "ngram"}, reads="text", counts=counting.READ, unit="n-grams"),
    "window": Contestant({"kind": "window"}, reads="text", idle=("layers", "tied", "embedding_range")),
    "naive-bayes": Contestant({"kind": "naive-bayes"}, reads="labels", counts=bag.READ, unit="word counts"),
    "rnn": Contestant(_cell("elman", activation="tanh", init="default")),
    "irnn": Contestant(_cell("elman", activation="relu", init="identity")),
    "np-rnn": Contestant(_cell("elman", activation="relu", init="np_rnn")),
    "gru": Contestant(_cell("gru", init="default")),
    "lstm": Contestant(_cell("lstm", init="forget_bias=1")),
    "additive": Contestant(_cell("additive", init="default")),
    "multi-tap": Contestant(_cell("multi-tap", init="default")),
    "bidirectional": Contestant(_cell("lstm", init="forget_bias=1", bidirectional=True), reads="whole"),
}
CANNOT = {
    "text": "{name} reads text and cannot learn the task {task!r}; leave it out of --models.",
    "labels": "{name} gives a text one label and cannot learn the task {task!r}; leave it out of --models.",
    "whole": "{name} reads from the end too, where the task {task!r} shows what is asked; leave it out of --models.",
}


def checked(names: Sequence[str], task: str) -> tuple[str, ...]:
    """The names, if all of them can learn the task. Raises UnknownName, ConfigError."""
    if not names:
        raise ConfigError(f"At least one model is needed. There are: {', '.join(CONTESTANTS)}.")
    for name in names:
        one = of(name)
        if not one.can(task):
            raise ConfigError(CANNOT[one.reads].format(name=name, task=task))
        if ":" in name and one.changes["kind"] != "recurrent":
            raise ConfigError(f"{name.partition(':')[0]} has no recurrent weights to start otherwise: {name!r}.")
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise ConfigError(f"--models names {twice} twice; once is enough.")
    return tuple(names)


def of(name: str) -> Contestant:
    """By NAME or NAME:START. Raises UnknownName."""
    known = name.partition(":")[0]
    if known not in CONTESTANTS:
        raise UnknownName("model", known, CONTESTANTS)
    return CONTESTANTS[known]


def settings(shared: config.Config, name: str, seed: int) -> config.Config:
    """The config of one run: what all share, with what is the contestant's own."""
    one, start = of(name), name.partition(":")[2]
    values = shared.model_dump(exclude_none=True)
    foreign = [key for key, kind in ONLY.items() if kind != one.changes["kind"]]
    left = {key: x for key, x in values["model"].items() if key not in (*OWN, *one.idle, *foreign)}
    values["model"] = left | one.changes | ({"init": start} if start else {})
    values["training"]["seed"] = seed
    for section, read in one.counts.items():
        values[section] = {key: x for key, x in values[section].items() if key in read}
    return config.make(values)
