"""Opinions on numbers: what is wrong, how sure that is, and which remedy applies. No tensor is touched here."""

from collections.abc import Callable

from retrograd.diagnosis.diverged import diverged
from retrograd.diagnosis.exploding import exploding
from retrograd.diagnosis.finding import SEVERITIES, Finding, Remedy, Severity
from retrograd.diagnosis.patient import Patient, cell_of
from retrograd.diagnosis.summed_loss import summed_loss
from retrograd.diagnosis.vanishing import vanishing
from retrograd.errors import UsageError
from retrograd.measures import Horizon, Saturation

__all__ = [
    "RULES",
    "Finding",
    "Patient",
    "Remedy",
    "Severity",
    "diverged",
    "exploding",
    "judge",
    "summed_loss",
    "vanishing",
]

RULES: dict[str, Callable[[Patient], Finding | None]] = {
    "vanishing": vanishing,
    "exploding": exploding,
    "summed_loss": summed_loss,
    "diverged": diverged,
}


def judge(
    horizon: Horizon,
    saturation: Saturation | None = None,
    *,
    need: int,
    assumed: str | None = None,
    cell: str | None = None,
    init: str | None = None,
    window: int | None = None,
    loss: float | None = None,
    guess: float | None = None,
    foreign: bool = False,
) -> tuple[Finding, ...]:
    """What every rule finds in a model whose task needs the gradient `need` steps back, the gravest first.

    `assumed`: what the need was supposed from, such as "the window"; None where the task is known to need it. `init`
    and `window` are those of the model's training, where known, `loss` its best validation loss and `guess` what an
    answer by chance costs, in nats. `cell` is read from the saturation if left out. A `foreign` model is not one that
    the command line trains: its remedies are Python.

    >>> judge(horizon(reach(trace)), saturation(trace), need=150)[0].message
    'The gradient reaches 23 steps back; the task needs 150. The forget gates average 0.51. Try --init forget_bias=5.1.'
    """
    if need < 1:
        raise UsageError(f"The need is a number of steps, at least 1; got {need}.")
    cell = cell or cell_of(saturation)
    patient = Patient(horizon, need, assumed, saturation, init, window, cell, loss, guess, foreign)
    found = [finding for rule in RULES.values() if (finding := rule(patient))]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
