"""Nearby states part, so that the gradient grows although the states stay within bounds.

    chaotic: lambda (need - r) >= ln 100 with the lower end of lambda's interval       lambda the leading exponent
             and decay > 1 with the lower end of its interval

lambda is in nats per step, from the Lyapunov spectrum. A linear or ReLU network whose states grow without bound is
exploding, and not chaotic.
"""

import math

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.exploding import GROWTH
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.measures import Exponents

IS_NOT = (
    "It is no large norm, and no step of training that was too long: it lies in the weights as they are. Clipping by "
    "norm lets the training go on, and leaves the states as sensitive as they are."
)


def chaotic(patient: Patient) -> Finding | None:
    worst = _leading(patient)
    if worst is None or not patient.squashes or not patient.finite:
        return None
    if not (worst.low[0] * patient.way >= math.log(GROWTH) and patient.slowest_decay > 1):
        return None
    remedies = choice.to_tame(patient)
    leading, low, high = worst.exponents[0], worst.low[0], worst.high[0]
    return Finding(
        code="chaotic",
        severity="error",
        message=(
            f"Two nearby states of {worst.name} part by a factor {math.exp(leading):.3g} with each step: the leading "
            f"Lyapunov exponent is {leading:.3g} nats per step ({low:.3g} to {high:.3g}).{patient.tries(remedies)}"
        ),
        evidence={"exponent": leading, "low": low, "high": high, "decay": patient.horizon.decay, "lags": patient.lags},
        where=causes.where(list(zip(worst.layers, worst.cells, strict=True))) or worst.name,
        why=causes.why(patient),
        is_not=IS_NOT,
        assumes=patient.assumption,
        remedies=remedies,
    )


def _leading(patient: Patient) -> Exponents | None:
    """The layer or stack that is most surely over zero, of those with an interval."""
    found = patient.lyapunov
    known = [it for it in (*found.layers, *found.stacks) if it.low] if found else []
    return max(known, key=lambda it: it.low[0], default=None)
