"""The activation holds the gradient up, because its units stand at their limits.

    saturated: the reach is short of the need
               and of a squashing layer's units, over time and batch, at least 30 % have f'(z) < 0.05
               and the activation shrinks the gradient, by more than the weights do

Saturated units alone are no fault: a gate that keeps is saturated, and so is a network at the edge of chaos.
"""

from typing import NamedTuple

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.measures import LayerSaturation

SHARE = 0.3
IS_NOT = (
    "It is not the saturation alone, which a gate that keeps has too: here the reach is short, and the activation is "
    "what shortens it. Recurrent weights do not change what the inputs drive to the limit."
)


class Limited(NamedTuple):
    layer: LayerSaturation
    share: float
    activation: float  # ln of its factor
    weights: float


def saturated(patient: Patient) -> Finding | None:
    layers = _limited(patient)
    if not (patient.short and not patient.learned and layers):
        return None
    worst = max(layers, key=lambda it: it.share)
    remedies = choice.to_reach(patient)
    advice = f" Make the inputs and biases smaller, or try {patient.advice(remedies[0])}." if remedies else ""
    return Finding(
        code="saturated",
        severity=patient.severity,
        message=(
            f"{worst.share:.0%} of the units of {worst.layer.layer} are saturated, and that is what takes the "
            f"gradient: it reaches {patient.horizon.steps} of {patient.need} steps back.{advice}"
        ),
        evidence={
            "share": worst.share,
            "activation": worst.activation,
            "weights": worst.weights,
            "horizon": patient.horizon.steps,
            "need": patient.need,
        },
        where=causes.where([(worst.layer.layer, worst.layer.cell)]),
        why=causes.why(patient),
        is_not=IS_NOT,
        assumes=patient.assumption,
        remedies=remedies,
    )


def _limited(patient: Patient) -> list[Limited]:
    if not patient.squashes:
        return []
    parts = {layer.layer: layer.parts for layer in patient.attributed if layer.parts}
    found = []
    for layer in patient.layers:
        if layer.layer in parts and "h" in layer.saturated:
            activation, weights = (parts[layer.layer][name].value for name in ("activation", "weights"))
            if layer.saturated["h"] >= SHARE and activation < min(weights, 0):
                found.append(Limited(layer, layer.saturated["h"], activation, weights))
    return found
