"""The gradient does not reach as far back as the task needs.

vanishing: the upper end of the horizon's interval < need
"""

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import Remedy

IS_NOT = (
    "No norm of dL/dW_hh shows it, because that is a sum over lags which the short ones dominate; and nothing between "
    "the layers is its cause: it comes about from step to step, inside a layer."
)


def vanishing(patient: Patient) -> Finding | None:
    """Silent where the gradient outlives the lags that were measured, or is not finite."""
    if not patient.short:
        return None
    h = patient.horizon
    remedies = () if patient.learned else choice.to_reach(patient)
    return Finding(
        code="vanishing",
        severity=patient.severity,
        message=_message(patient, remedies),
        evidence={
            "horizon": h.steps,
            "low": h.low,
            "high": h.high,
            "need": patient.need,
            "decay": h.decay,
            "gate": patient.keeping and patient.keeping[1],
        },
        where=causes.whole(patient),
        why=causes.why(patient),
        is_not=IS_NOT,
        assumes=patient.assumption,
        remedies=remedies,
    )


def _message(patient: Patient, remedies: tuple[Remedy, ...]) -> str:
    h = patient.horizon
    steps = f"{h.steps} step" + ("" if h.steps == 1 else "s")
    wants = f"{patient.assumed} is {patient.need}" if patient.assumed else f"the task needs {patient.need}"
    gate = f" The {patient.keeping[0]} gates average {patient.keeping[1]:.2f}." if patient.keeping else ""
    if patient.learned:
        return (
            f"The gradient reaches {steps} back; {wants}.{gate} It is learned all the same: the loss is "
            f"{patient.loss:.3g} nats, and a guess costs {patient.guess:.3g}."
        )
    if_so = "If the task needs all of it, try" if patient.assumed else "Try"
    advice = f" {if_so} {patient.advice(remedies[0])}." if remedies else ""
    return f"The gradient reaches {steps} back; {wants}.{gate}{advice}"
