"""What can be done about a finding, as data: a name, its numbers, and how far the gradient is expected to reach then.

start          weights that a training begins from; on a trained model they discard what it has learned
training       how the weights are learned
architecture   another model

A remedy is written in two ways: as an option of the command line, for a run of our own, and as Python.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["start", "training", "architecture"]


@dataclass(frozen=True)
class Form:
    """Its kind, and the option of the command line, with its numbers by name in braces; empty where there is none."""

    kind: Kind
    option: str = ""


FORMS: dict[str, Form] = {
    "forget-bias": Form("start", "--init forget_bias={bias:g}"),
    "chrono": Form("start", "--init chrono={longest:g}"),
    "calibrated": Form("start"),
    "orthogonal": Form("start", "--init orthogonal"),
    "identity": Form("start", "--init identity"),
    "np-rnn": Form("start", "--init np_rnn"),
    "spectral-radius": Form("start", "--init spectral_radius={radius:g}"),
    "irnn": Form("architecture", "--init identity --set model.activation=relu"),
    "gated-cell": Form("architecture", "--cell lstm --init forget_bias={bias:g}"),
    "additive-path": Form("architecture", "--cell additive --init default"),
    "norm-preserving": Form(
        "training", "--set training.remedy=norm-preserving"
    ),  # a term beside the loss: Pascanu et al., 2013
    "flossing": Form("training"),  # gradient flossing: Engelken, 2023
    "clip-norm": Form("training", "--clip {norm:g}"),
    "clip-in-time": Form("training", "--set training.remedy=clip-in-time={norm:g}"),
    "window": Form("training", "--window {steps:g}"),
}


@dataclass(frozen=True)
class Remedy:
    """A change by name, with its numbers.

    >>> remedy("forget-bias", bias=5.0).option
    '--init forget_bias=5'
    """

    name: str
    arguments: dict[str, float] = field(default_factory=dict)
    kind: Kind = "start"
    predicted: int | float | None = None  # the horizon to expect; infinite where nothing ends it, None: left as it is
    need: int | None = None  # what it is held against when it is proved

    @property
    def option(self) -> str:
        """As it is written on the command line; empty where that has no such option."""
        return FORMS[self.name].option.format(**self.arguments) if self.name in FORMS else ""

    @property
    def call(self) -> str:
        """As it is written in Python, for a model of one's own: it is applied and measured."""
        if self.name not in FORMS:  # one that a later version has
            return ""
        told = [f'"{self.name}"', *(f"{x:g}" for x in self.arguments.values())]
        told += [f"need={self.need}"] if self.need else []
        return f"rg.fix(model, loss, {', '.join(told)})"

    @property
    def apply(self) -> str:
        """As `retrograd fix --apply` takes it, such as "forget-bias=5"."""
        if self.name not in FORMS:
            return ""
        return "=".join([self.name, *(f"{x:g}" for x in self.arguments.values())])

    def written(self, *, foreign: bool) -> str:
        """Where the model is trained: in Python if it is somebody's own, else on the command line."""
        return self.call if foreign else self.option


def remedy(name: str, *, predicted: float | None = None, need: int | None = None, **arguments: float) -> Remedy:
    """The remedy of that name, of the kind that it is."""
    steps = int(predicted) if predicted is not None and math.isfinite(predicted) else predicted
    return Remedy(name, arguments, FORMS[name].kind, steps, need)
