"""The gradient does not reach as far back as the task needs.

    vanishing: the upper end of the horizon's interval < need

The remedy's number for a gate that keeps, f = sigmoid(b): its memory falls to 1/e in -1 / ln f steps, about
1 / (1 - f) = 1 + e^b. For that to be the need,

    b = ln(need - 1)
"""

import math

from retrograd.diagnosis.finding import Finding, Remedy
from retrograd.diagnosis.patient import Patient


def vanishing(patient: Patient) -> Finding | None:
    """Silent where the gradient outlives the lags that were measured, or is not finite."""
    h, need = patient.horizon, patient.need
    reaches = h.steps if h.high is None else h.high
    if reaches >= min(need, h.longest) or not h.finite:
        return None
    remedy = _remedy(patient)
    return Finding(
        code="vanishing",
        severity="note" if patient.assumed else "problem",
        message=_message(patient, remedy),
        evidence={
            "horizon": h.steps,
            "low": h.low,
            "high": h.high,
            "need": need,
            "decay": h.decay,
            "gate": patient.keeping and patient.keeping[1],
        },
        remedy=remedy,
    )


def _message(patient: Patient, remedy: Remedy | None) -> str:
    h = patient.horizon
    steps = f"{h.steps} step" + ("" if h.steps == 1 else "s")
    wants = f"{patient.assumed} is {patient.need}" if patient.assumed else f"the task needs {patient.need}"
    gate = ""
    if patient.keeping:
        gate = f" The {patient.keeping[0]} gates average {patient.keeping[1]:.2f}."
    if_so = "If the task needs all of it, try" if patient.assumed else "Try"
    longer = f" and --window {patient.need}" if patient.window and patient.window < patient.need else ""
    advice = f" {if_so} {patient.advice(remedy)}{longer}." if remedy else ""
    return f"The gradient reaches {steps} back; {wants}.{gate}{advice}"


def _remedy(patient: Patient) -> Remedy | None:
    """The first remedy for this cell that has not been taken already."""
    taken = patient.init or ""
    if patient.cell in ("lstm", "gru"):
        bias = math.ceil(10 * math.log(max(patient.need - 1, 2))) / 10
        if f"forget_bias={bias:g}" in taken:
            return Remedy("chrono", {"longest": patient.need})
        return Remedy("forget_bias", {"bias": bias})
    if patient.cell == "elman":
        return Remedy("identity") if "orthogonal" in taken else Remedy("orthogonal")
    return None
