"""The gradient grows on its way back, or is no longer a number.

    exploding: decay ^ (need - r) >= 100, with the lower end of the decay's interval       r the reference lag

It is a ratio between two lags, never a threshold on a norm: a loss ten times as large has a gradient ten times as
large, and explodes no more for it.
"""

import math

from retrograd.diagnosis.finding import Finding, Remedy
from retrograd.diagnosis.patient import Patient

GROWTH = 100.0  # grows by as much, over the steps that the task needs


def exploding(patient: Patient) -> Finding | None:
    return _growing(patient) if patient.horizon.finite else _broken(patient)


def _growing(patient: Patient) -> Finding | None:
    h, lags = patient.horizon, patient.lags - patient.horizon.reference
    slowest = h.decay if h.decay_low is None else h.decay_low
    if not (slowest > 0 and lags * math.log(slowest) >= math.log(GROWTH)):
        return None
    remedy = Remedy("orthogonal") if patient.cell == "elman" else Remedy("clip_norm", {"norm": 1.0})
    power = lags * math.log10(h.decay)
    return Finding(
        code="exploding",
        severity="problem",
        message=(
            f"The gradient grows {h.decay:.3g}-fold with each step back{_between(patient)}, "
            f"{_power_of_ten(power)} over {patient.lags} steps. Try {patient.advice(remedy)}."
        ),
        evidence={
            "decay": h.decay,
            "low": h.decay_low,
            "high": h.decay_high,
            "log10 growth": power,
            "lags": patient.lags,
        },
        remedy=remedy,
    )


def _broken(patient: Patient) -> Finding:
    profile = patient.horizon.profile
    first = next(l for l, x in enumerate(profile) if math.isnan(x) or x == math.inf)
    where = f"from {first} steps back" if first else "from the loss's own step"
    remedy = Remedy("orthogonal")
    return Finding(
        code="exploding",
        severity="problem",
        message=f"The gradient is not finite {where}. Try {patient.advice(remedy)}, and a lower learning rate.",
        evidence={"first lag that is not finite": first},
        remedy=remedy,
    )


def _between(patient: Patient) -> str:
    h = patient.horizon
    if h.decay_low is None or h.decay_high is None:
        return ""
    return f" ({h.decay_low:.3g} to {h.decay_high:.3g})"


def _power_of_ten(power: float) -> str:
    return f"10^{power:.0f}-fold" if power >= 4 else f"{10**power:,.0f}-fold"
