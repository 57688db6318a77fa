"""A gate that is shut: the memory keeps nothing, or nothing is written to it.

    gate-closed: the reach is short of the need, and in some layer
                 the gate that keeps is under 0.1 on average        f of an LSTM, z of a GRU
              or the input gate is under 0.02 and under half of 1 - f: less comes in than is forgotten

The input gates of a chrono start are small too, but as large as what is forgotten.
"""

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import KEEPING, Patient
from retrograd.measures import LayerSaturation

KEEPS_NOTHING = 0.1
WRITES_NOTHING = 0.02
IS_NOT = (
    "It is not a gate that forgets on purpose now and then: this is its mean over all steps, sequences and units. And "
    "no learning rate opens it soon: a gate that is shut has next to no gradient itself."
)


def gate_closed(patient: Patient) -> Finding | None:
    if not patient.short or patient.learned:
        return None
    for layer in patient.layers:
        if layer.keeping and layer.gates[layer.keeping] < KEEPS_NOTHING:
            return _finding(patient, layer, layer.keeping, "nearly all of the memory is lost with each step")
        if _writes_nothing(layer):
            return _finding(patient, layer, "i", "nearly nothing is written to the memory")
    return None


def _writes_nothing(layer: LayerSaturation) -> bool:
    i, f = layer.gates.get("i"), layer.gates.get("f")
    return i is not None and f is not None and i < WRITES_NOTHING and i < (1 - f) / 2


def _finding(patient: Patient, layer: LayerSaturation, gate: str, so: str) -> Finding:
    mean = layer.gates[gate]
    remedies = choice.open_gates(patient) if gate == "i" else choice.to_reach(patient)
    said = f"The {KEEPING.get(gate, 'input')} gates of {layer.layer} average {mean:.2g}: {so}."
    return Finding(
        code="gate-closed",
        severity=patient.severity,
        message=said + patient.tries(remedies),
        evidence={"gate": mean, "horizon": patient.horizon.steps, "need": patient.need},
        where=f"{layer.layer}, gate {gate}",
        why=causes.why(patient),
        is_not=IS_NOT,
        assumes=patient.assumption,
        remedies=remedies,
    )
