"""The gradient grows on its way back.

    exploding: decay ^ (need - r) >= 100, with the lower end of the decay's interval       r the reference lag

It is a ratio between two lags, never a threshold on a norm: a loss ten times as large has a gradient ten times as
large, and explodes no more for it.
"""

import math

from retrograd.diagnosis import causes, choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient

GROWTH = 100.0  # grows by as much, over the steps that the task needs
IS_NOT = (
    "It is no large norm: a larger loss has a larger gradient and explodes no more for it. Clipping by norm bounds the "
    "step of the training, and leaves the growth as it is."
)


def exploding(patient: Patient) -> Finding | None:
    h, slowest = patient.horizon, patient.slowest_decay
    if not (patient.finite and slowest > 0 and patient.way * math.log(slowest) >= math.log(GROWTH)):
        return None
    remedies = choice.to_tame(patient)
    power = patient.way * math.log10(h.decay)
    return Finding(
        code="exploding",
        severity="error",
        message=(
            f"The gradient grows {h.decay:.3g}-fold with each step back{_between(patient)}, "
            f"{_power_of_ten(power)} over {patient.lags} steps.{patient.tries(remedies)}"
        ),
        evidence={
            "decay": h.decay,
            "low": h.decay_low,
            "high": h.decay_high,
            "log10 growth": power,
            "lags": patient.lags,
        },
        where=causes.whole(patient),
        why=causes.why(patient),
        is_not=IS_NOT,
        assumes=patient.assumption,
        remedies=remedies,
    )


def _between(patient: Patient) -> str:
    h = patient.horizon
    if h.decay_low is None or h.decay_high is None:
        return ""
    return f" ({h.decay_low:.3g} to {h.decay_high:.3g})"


def _power_of_ten(power: float) -> str:
    return f"10^{power:.0f}-fold" if power >= 4 else f"{10**power:,.0f}-fold"
