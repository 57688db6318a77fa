"""Something is no finite number any more: NaN or infinite.

What came in from outside (inputs, weights, the loss itself) is no matter of how the weights started, and no remedy for
them is offered. What the steps computed of finite numbers is.
"""

import math

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import Remedy
from retrograd.measures import NonFinitePlace

OUTSIDE = {  # where to look, where no recurrent layer made it
    "input": "Look at the data and at what lies under the layer",
    "first state": "Look at the state that is handed in",
    "argument": "Look at what the model is given",
    "output": "Look at that module",
    "loss": "Look at the loss: a logarithm or a root of zero, a division by it, an exponential too large",
    "gradient from above": "Look at what lies between the layer and the loss",
}
WEIGHTS = "From finite inputs and at the first step, it was in the weights already: go back to an earlier checkpoint."
NOT_MADE = "It is no exploding gradient: the recurrent layers were handed it, and did not make it."
MADE = "It is nothing that clipping mends: what is NaN or infinite stays so when it is scaled."


def non_finite(patient: Patient) -> Finding | None:
    h, place = patient.horizon, patient.nonfinite
    if place is None and h.finite:
        return None
    lag = next((l for l, x in enumerate(h.profile) if math.isnan(x) or x == math.inf), None)
    made = not _from_outside(place) if place else lag not in (None, 0)
    remedies = choice.to_tame(patient) if made else ()
    return Finding(
        code="non-finite",
        severity="error",
        message=f"{_what(patient, place, lag)} {_advice(patient, place, remedies)}",
        evidence=_evidence(patient, place, lag),
        where=_where(place) if place else causes.whole(patient),
        why=causes.why(patient) if made else "",
        is_not=MADE if made else NOT_MADE,
        assumes="That it was looked for in the precision in which the model computes." if place else "",
        remedies=remedies,
    )


def _what(patient: Patient, place: NonFinitePlace | None, lag: int | None) -> str:
    step = "" if patient.step is None else f", in training step {patient.step:,}"
    if place:
        return f"The first number that is not finite is {place}{step}."
    begins = f"from {lag} steps back" if lag else "from the loss's own step"
    return f"The gradient is not finite {begins}{step}."


def _advice(patient: Patient, place: NonFinitePlace | None, remedies: tuple[Remedy, ...]) -> str:
    if place and _from_outside(place):
        return f"{OUTSIDE[place.part]}." if place.part in OUTSIDE else WEIGHTS
    if remedies:
        return f"Try {patient.advice(remedies[0])}, and a lower learning rate."
    return "Look at the inputs, the weights and the loss: one of them is not finite itself."


def _from_outside(place: NonFinitePlace) -> bool:
    """Was it there before a recurrent layer computed with it? No finite weights make a NaN in one step."""
    weights = place.part in ("gate", "state") and math.isnan(place.value) and place.step == 1
    return weights or place.part in OUTSIDE


def _where(place: NonFinitePlace) -> str:
    of = f"gate {place.gate}" if place.gate else place.part
    return f"{place.layer}, {of}" if place.layer else place.part


def _evidence(patient: Patient, place: NonFinitePlace | None, lag: int | None) -> dict[str, int | float | None]:
    found: dict[str, int | float | None] = {"first lag that is not finite": lag, "training step": patient.step}
    if place:
        found |= {"time": place.step, "sequence": place.sequence, "unit": place.unit, "value": place.value}
    return found
