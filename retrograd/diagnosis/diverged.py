"""The model has become worse than a guess.

    diverged: best validation loss >= 1.1 ln V          V types: what every answer alike would cost

A loss that is huge and still a number ends no training, and its gradient may look healthy.
"""

from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import remedy

MARGIN = 1.1  # an untrained model lies a little over the guess


def diverged(patient: Patient) -> Finding | None:
    loss, guess = patient.loss, patient.guess
    if loss is None or guess is None or not loss >= MARGIN * guess:
        return None
    clip = remedy("clip-norm", norm=1.0)
    return Finding(
        code="diverged",
        severity="error",
        message=(
            f"The validation loss is {loss:.4g} nats at best; a guess among all types costs {guess:.4g}. The training "
            f"diverged. Try {patient.advice(clip)}, and a lower learning rate."
        ),
        evidence={"loss": loss, "guess": guess},
        why="Steps that were too long led the weights away from where they began.",
        is_not="It is no lack of training: an untrained model is no worse than a guess.",
        remedies=(clip,),
    )
