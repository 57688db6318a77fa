"""The window of a truncated training ends before what the task needs.

    window-too-short: window < need                       where the need is known
                      window < the smallest window whose gradient of W_hh has a cosine of 0.99 to the full one

The second alone is never enough: where the gradient vanishes within three steps, a window of three loses nothing.
"""

from retrograd.diagnosis.finding import Finding
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import remedy
from retrograd.measures import WindowAdequacy

IS_NOT = (
    "It is not how far the gradient could reach: a longer window teaches nothing where it has vanished before, which "
    "is a finding of its own."
)


def window_too_short(patient: Patient) -> Finding | None:
    window, adequacy, known = patient.window, patient.window_adequacy, not patient.assumed
    enough = adequacy.smallest if adequacy else None
    if window is None or not (window < patient.need if known else enough is not None and window < enough):
        return None
    use = max(patient.need if known else 0, enough or 0)
    cosine = _cosine(adequacy, window)
    longer = remedy("window", steps=use)
    needs = f"the task needs {patient.need}" if known else f"the gradient of W_hh takes {enough}"
    if known and use > patient.need:
        needs += f", and the gradient of W_hh takes {enough}"
    return Finding(
        code="window-too-short",
        severity="error" if known else "note",
        message=f"The window of the training is {window} steps; {needs}. Try {patient.advice(longer)}.",
        evidence={"window": window, "need": patient.need if known else None, "to use": use, "cosine": cosine},
        why=_why(window, cosine),
        is_not=IS_NOT,
        assumes=patient.assumption if known else "That the slice measured here is like the text of the training.",
        remedies=(longer,),
    )


def _why(window: int, cosine: float | None) -> str:
    kept = "" if cosine is None else f" Of dL/dW_hh it keeps a direction with a cosine of {cosine:.2f} to the whole."
    return (
        f"No gradient goes back over the beginning of a window of {window} steps, and from most of them less far.{kept}"
    )


def _cosine(adequacy: WindowAdequacy | None, window: int) -> float | None:
    """The least of the layers', at the longest measured window that is not longer."""
    sizes = [i for i, size in enumerate(adequacy.windows) if size <= window] if adequacy else []
    return min(layer.chunks.cosine[sizes[-1]] for layer in adequacy.layers) if adequacy and sizes else None
