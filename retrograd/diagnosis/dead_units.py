"""Units whose derivative is zero throughout: they answer to nothing, and no gradient passes them.

    dead-units: at least half of a layer's units have f'(z) = 0 at every step of every sequence

That is an error where the gradient also falls short of a need that is known, and a note where it reaches all the same:
then the layer only works as a smaller one.
"""

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding, Severity
from retrograd.diagnosis.patient import Patient
from retrograd.measures import LayerSaturation

SHARE = 0.5
IS_NOT = (
    "It is no fading along time: these units pass no gradient at any lag, and training alone does not wake them, "
    "because their weights have none either."
)


def dead_units(patient: Patient) -> Finding | None:
    layers = [layer for layer in patient.layers if _share(layer) >= SHARE]
    if not layers:
        return None
    worst = max(layers, key=_share)
    short = patient.short and not patient.learned
    severity: Severity = patient.severity if short else "note"
    cost = f"and the gradient reaches {patient.horizon.steps} of {patient.need} steps back" if patient.short else ""
    remedies = choice.to_wake(patient)
    advice = patient.tries(remedies, ", and a lower learning rate")
    return Finding(
        code="dead-units",
        severity=severity,
        message=(
            f"{_share(worst):.0%} of the units of {worst.layer} answer nothing, at any step of any sequence: the layer "
            f"works as one of {1 - _share(worst):.0%} of its size{', ' if cost else ''}{cost}.{advice}"
        ),
        evidence={"dead": _share(worst), "layers": len(layers), "horizon": patient.horizon.steps, "need": patient.need},
        where=causes.where([(worst.layer, worst.cell)]),
        why="Their derivative is exactly zero on all that was measured, so no gradient goes through them.",
        is_not=IS_NOT,
        assumes="That the data measured here is like the rest: a unit that is dead on little of it may answer to more.",
        remedies=remedies,
    )


def _share(layer: LayerSaturation) -> float:
    """Of the units, in the non-linearity that has the most dead ones."""
    return max(layer.dead.values(), default=0.0)
