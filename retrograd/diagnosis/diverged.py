"""The model has become worse than a guess.

    diverged: best validation loss >= 1.1 ln V and >= ln V + 0.5         V answers: what each alike would cost

A loss that is huge and still a number ends no training, and its gradient may look healthy. An additive state from
which nothing is ever taken away does the same at any length of step, where it is carried through a text.
"""

from retrograd.diagnosis.choice import memory_bias
from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import Remedy, remedy

MARGIN, LEAST = 1.1, 0.5  # an untrained model lies a little over the guess, by parts of a nat where V is small


def diverged(patient: Patient) -> Finding | None:
    loss, guess = patient.loss, patient.guess
    if loss is None or guess is None or not loss >= max(MARGIN * guess, guess + LEAST):
        return None
    remedies: tuple[Remedy, ...]
    if patient.cell == "additive" and patient.window is not None:
        remedies = (remedy("gated-cell", bias=memory_bias(patient.window)),)
        what = f"The state grows without end.{patient.tries(remedies)}"
        why = "What an additive cell has read stays in its state, which is carried through the whole text."
        is_not = "It is no step that was too long: clipping and a lower learning rate do not stop a sum."
    else:
        remedies = () if 0 < patient.clip <= 1 else (remedy("clip-norm", norm=1.0),)
        lower = patient.tries(remedies, ", and a lower learning rate") or " Try a lower learning rate."
        what = f"The training diverged.{lower}"
        why = "Steps that were too long led the weights away from where they began."
        is_not = "It is no lack of training: an untrained model is no worse than a guess."
    return Finding(
        code="diverged",
        severity="error",
        message=f"The validation loss is {loss:.4g} nats at best; a guess among all answers costs {guess:.4g}. {what}",
        evidence={"loss": loss, "guess": guess},
        why=why,
        is_not=is_not,
        remedies=remedies,
    )
