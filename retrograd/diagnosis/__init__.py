"""Opinions on numbers: what is wrong, how sure that is, and which remedy applies. No tensor is touched here."""

from collections.abc import Callable
from inspect import signature
from typing import ParamSpec

from retrograd.diagnosis.chaotic import chaotic
from retrograd.diagnosis.clipping_too_hard import clipping_too_hard
from retrograd.diagnosis.dead_units import dead_units
from retrograd.diagnosis.diverged import diverged
from retrograd.diagnosis.exploding import exploding
from retrograd.diagnosis.finding import SEVERITIES, Finding, Severity
from retrograd.diagnosis.gate_closed import gate_closed
from retrograd.diagnosis.non_finite import non_finite
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import Kind, Remedy, remedy
from retrograd.diagnosis.saturated import saturated
from retrograd.diagnosis.summed_loss import summed_loss
from retrograd.diagnosis.vanishing import vanishing
from retrograd.diagnosis.window_too_short import window_too_short

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

P = ParamSpec("P")


def _judging(patient: Callable[P, Patient]) -> Callable[P, tuple[Finding, ...]]:
    """What takes the numbers that a patient is made of."""

    def judge(*measured: P.args, **told: P.kwargs) -> tuple[Finding, ...]:
        """What every rule finds in a model whose task needs the gradient `need` steps back, the gravest first.

        It takes what a Patient does. A measure left out is one no rule can rest on. Raises UsageError where the need
        is no number of steps.

        >>> judge(horizon(reach(trace)), saturation(trace), need=150)[0].message
        'The gradient reaches 23 steps back; the task needs 150. The forget gates average 0.51. Try --init ...'
        """
        it = patient(*measured, **told)
        found = [finding for rule in RULES.values() if (finding := rule(it))]
        return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))

    shown = signature(patient).replace(return_annotation=tuple[Finding, ...])
    judge.__signature__ = shown  # type: ignore[attr-defined]
    return judge


judge = _judging(Patient)
