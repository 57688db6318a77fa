"""Where it happens and why, as sentences, from what each layer does to the gradient in a step.

Elman: the activation takes one factor and the weights another. Gates: so much of it comes along each path.
"""

import math

from retrograd.diagnosis.patient import Patient
from retrograd.measures import LayerAttribution

MOST = 3  # layers and paths that are told one by one
STATES = {"lstm": "h and c"}


def where(layers: list[tuple[str, str]]) -> str:
    """Such as "rnn.l0, state h"; the layers are given with their cells. Empty for several: it is the whole."""
    if len(layers) != 1:
        return ""
    name, cell = layers[0]
    return f"{name}, state {STATES.get(cell.lower(), 'h')}"


def whole(patient: Patient) -> str:
    """The layer, where there is only one."""
    return where([(layer.layer, layer.cell) for layer in patient.layers])


def why(patient: Patient) -> str:
    """What the steps of each layer do to the gradient; empty where that was not measured."""
    layers = [layer for layer in patient.attributed if layer.total or layer.zero]
    told = [_of_layer(layer, named=len(layers) > 1) for layer in layers[:MOST]]
    more = f"And so on in {len(layers) - MOST} more." if len(layers) > MOST else ""
    return " ".join(filter(None, [*told, more]))


def _of_layer(layer: LayerAttribution, *, named: bool) -> str:
    begins = f"In {layer.layer}, per step" if named else "Per step"
    if not layer.total:
        return f"{f'In {layer.layer} a' if named else 'A'} gradient becomes exactly zero within a step."
    if layer.parts:
        activation, weights = (math.exp(layer.parts[part].value) for part in ("activation", "weights"))
        return f"{begins} the activation takes a factor {activation:.2g} and the weights {weights:.2g}."
    ranked = sorted(layer.shares.items(), key=lambda item: -abs(item[1].value))
    paths = [f"{share.value:.0%} by way of {_path(name)}" for name, share in ranked[:MOST] if abs(share.value) >= 0.01]
    of_it = f": {_listed(paths)}" if len(paths) > 1 else ""
    return f"{begins} the gradient takes a factor {layer.factor:.2g}{of_it}."


def _path(name: str) -> str:
    """`gate f` reads as it is; `memory`, `keep` and `shift` as what they are."""
    return {"memory": "the memory", "keep": "what is kept", "shift": "the register of earlier outputs"}.get(name, name)


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
