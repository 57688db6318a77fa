"""Opinions on numbers: what is wrong, how sure that is, and which remedy applies. No tensor is touched here."""

from collections.abc import Callable

from retrograd.diagnosis.chaotic import chaotic
from retrograd.diagnosis.clipping_too_hard import clipping_too_hard
from retrograd.diagnosis.dead_units import dead_units
from retrograd.diagnosis.diverged import diverged
from retrograd.diagnosis.exploding import exploding
from retrograd.diagnosis.finding import SEVERITIES, Finding, Severity
from retrograd.diagnosis.gate_closed import gate_closed
from retrograd.diagnosis.non_finite import non_finite
from retrograd.diagnosis.patient import Patient, cell_of
from retrograd.diagnosis.remedy import Kind, Remedy, remedy
from retrograd.diagnosis.saturated import saturated
from retrograd.diagnosis.summed_loss import summed_loss
from retrograd.diagnosis.vanishing import vanishing
from retrograd.diagnosis.window_too_short import window_too_short
from retrograd.errors import UsageError
from retrograd.measures import (
    Attribution,
    Clipping,
    Horizon,
    LyapunovSpectrum,
    NonFinitePlace,
    Saturation,
    WindowAdequacy,
)

__all__ = ["RULES", "Finding", "Kind", "Patient", "Remedy", "Severity", "judge", "remedy"]

RULES: dict[str, Callable[[Patient], Finding | None]] = {
    "non-finite": non_finite,
    "vanishing": vanishing,
    "gate-closed": gate_closed,
    "saturated": saturated,
    "dead-units": dead_units,
    "exploding": exploding,
    "chaotic": chaotic,
    "window-too-short": window_too_short,
    "clipping-too-hard": clipping_too_hard,
    "summed-loss": summed_loss,
    "diverged": diverged,
}


def judge(
    horizon: Horizon,
    saturation: Saturation | None = None,
    *,
    need: int,
    assumed: str | None = None,
    cell: str | None = None,
    activation: str | None = None,
    init: str | None = None,
    window: int | None = None,
    loss: float | None = None,
    guess: float | None = None,
    foreign: bool = False,
    attribution: Attribution | None = None,
    lyapunov: LyapunovSpectrum | None = None,
    window_adequacy: WindowAdequacy | None = None,
    clipping: Clipping | None = None,
    nonfinite: NonFinitePlace | None = None,
    step: int | None = None,
    trained: bool = False,
) -> tuple[Finding, ...]:
    """What every rule finds in a model whose task needs the gradient `need` steps back, the gravest first.

    `assumed`: what the need was supposed from, such as "the window"; None where the task is known to need it. `init`
    and `window` are those of the model's training, where known, `loss` its best validation loss and `guess` what an
    answer by chance costs, in nats; `step` is the training step of it all. `cell` is read from the saturation if left
    out; `activation` is a plain cell's. A `foreign` model is not one that the command line trains: its remedies are
    Python. Of a `trained` model no remedy begins with a new start. A measure left out is one no rule can rest on.

    >>> judge(horizon(reach(trace)), saturation(trace), need=150)[0].message
    'The gradient reaches 23 steps back; the task needs 150. The forget gates average 0.51. Try --init forget_bias=5.1.'
    """
    if need < 1:
        raise UsageError(f"The need is a number of steps, at least 1; got {need}.")
    patient = Patient(
        horizon=horizon,
        need=need,
        assumed=assumed,
        saturation=saturation,
        init=init,
        window=window,
        cell=cell or cell_of(saturation),
        loss=loss,
        guess=guess,
        foreign=foreign,
        activation=activation,
        attribution=attribution,
        lyapunov=lyapunov,
        window_adequacy=window_adequacy,
        clipping=clipping,
        nonfinite=nonfinite,
        step=step,
        trained=trained,
    )
    found = [finding for rule in RULES.values() if (finding := rule(patient))]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
