"""Clipping cuts nearly every gradient down to a fraction: the learning rate is not what it seems.

    clipping-too-hard: more than half of the steps are clipped, and to a fifth or less (the median)

Clipping is for the rare large gradient. Where it cuts them all, each step has one length whatever the loss.
"""

from retrograd.diagnosis import choice
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import remedy

SHARE, FACTOR = 0.5, 0.2
IS_NOT = (
    "It is no sign that the gradient grows on its way back, which is a ratio between lags: all gradients of a loss "
    "that is a sum are large. An optimiser that divides by their size, as Adam does, suffers less from it."
)


def clipping_too_hard(patient: Patient) -> Finding | None:
    it = patient.clipping
    if it is None or it.share is None or it.factor is None or not (it.share > SHARE and it.factor <= FACTOR):
        return None
    usual = choice.norm_of(it.log_norms[2])  # nine gradients in ten are under it
    remedies = () if usual is None else (remedy("clip-norm", norm=usual),)
    limit = f" at {it.threshold:g}" if it.threshold is not None else ""
    return Finding(
        code="clipping-too-hard",
        severity="note",
        message=(
            f"Clipping{limit} cut {it.share:.0%} of {it.steps:,} steps, to {_fraction(it.factor)} of the gradient "
            f"(median).{patient.tries(remedies, ', with a lower learning rate')}"
        ),
        evidence={
            "share": it.share,
            "factor": it.factor,
            "hardest": it.hardest,
            "steps": it.steps,
            "threshold": it.threshold,
        },
        why="The threshold lies far under the usual norm, so nearly every step is cut to the same length.",
        is_not=IS_NOT,
        assumes="That the steps that were logged are like the rest of the training.",
        remedies=remedies,
    )


def _fraction(factor: float) -> str:
    return f"{factor:.0%}" if factor >= 0.01 else f"{factor:.1g} parts"
