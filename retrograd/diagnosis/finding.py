"""What is wrong, in one sentence with its number, and what to do about it."""

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["problem", "note"]  # a note rests on an assumption, which its message names
SEVERITIES: tuple[Severity, ...] = ("problem", "note")

OPTIONS = {
    "forget_bias": "--init forget_bias={bias:g}",
    "chrono": "--init chrono={longest:g}",
    "orthogonal": "--init orthogonal",
    "identity": "--init identity --set model.activation=relu",
    "clip_norm": "--clip {norm:g}",
}


CALLS = {
    "forget_bias": 'rg.initialise_(model, "forget_bias={bias:g}")',
    "chrono": 'rg.initialise_(model, "chrono={longest:g}")',
    "orthogonal": 'rg.initialise_(model, "orthogonal")',
    "identity": 'rg.initialise_(model, "identity") with nonlinearity="relu"',
    "clip_norm": "torch.nn.utils.clip_grad_norm_(model.parameters(), {norm:g})",
}


@dataclass(frozen=True)
class Remedy:
    """A change by name, with its arguments.

    >>> Remedy("forget_bias", {"bias": 5.0}).option
    '--init forget_bias=5'
    """

    name: str
    arguments: dict[str, float] = field(default_factory=dict)

    @property
    def option(self) -> str:
        """As it is written on the command line."""
        return OPTIONS[self.name].format(**self.arguments)

    @property
    def call(self) -> str:
        """As it is written in Python, for a model of one's own."""
        return CALLS[self.name].format(**self.arguments)


@dataclass(frozen=True)
class Finding:
    """One thing that a rule has found, in a sentence, with the numbers that it rests on."""

    code: str  # the rule that found it: "vanishing"
    severity: Severity
    message: str
    evidence: dict[str, int | float | None]
    remedy: Remedy | None
