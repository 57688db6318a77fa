"""One loss for many steps: its gradient is renewed at each of them, so it cannot tell how far any of them reaches.

dL/ds[k] = sum over t >= k of dL_t/ds[k]          near the end of a lag or far from it, some L_t is always close
"""

from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient


def summed_loss(patient: Patient) -> Finding | None:
    """Beside whatever else was found: a summed loss makes a model that forgets look healthy."""
    if not patient.horizon.summed or patient.horizon.lost:
        return None
    return Finding(
        code="summed-loss",
        severity="note" if patient.assumed else "error",
        message=(
            f"The loss is one number for many steps, so the {patient.horizon.display} steps of its gradient do not say "
            f"how far back any one of them reaches. Return the loss of each step, (time, batch), and measure again."
        ),
        evidence={"horizon": patient.horizon.steps},
        why="Each step's own loss gives the state next to it a new gradient, however short the reach of each is.",
        is_not="It is no fault of the model: it is how the loss was returned.",
        assumes=patient.assumption,
    )
