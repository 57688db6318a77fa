"""Which remedies apply to a patient, and in which order.

    to reach further       those expected to reach the need, then the others; of each start, architecture, training
    on a trained model     training, architecture, start: a new start discards what was learned, and is never first

What does not apply is not offered: no forget bias without a gate, no weights for a cell whose equation is not known,
nothing that was done already, no option that the command line does not have.
"""

import math
from collections.abc import Iterable

from retrograd.diagnosis import prediction
from retrograd.diagnosis.patient import Patient
from retrograd.diagnosis.remedy import Kind, Remedy, remedy

UNTRAINED: tuple[Kind, ...] = ("start", "architecture", "training")
TRAINED: tuple[Kind, ...] = ("training", "architecture", "start")
CLIP = 1.0  # where no norm was measured


def to_reach(patient: Patient) -> tuple[Remedy, ...]:
    """Those that let the gradient reach further back."""
    order = TRAINED if patient.trained else UNTRAINED

    def rank(it: Remedy) -> tuple[int, int]:
        falls_short = it.predicted is None or it.predicted < patient.need
        kind = order.index(it.kind)
        return (kind, falls_short) if patient.trained else (falls_short, kind)

    return _offered(patient, sorted(_reaching(patient), key=rank))


def to_tame(patient: Patient) -> tuple[Remedy, ...]:
    """Those against a gradient that grows."""
    norm = _typical_norm(patient)
    clips = [remedy("clip-norm", norm=norm), remedy("clip-in-time", norm=norm)]
    plain = patient.cell == "elman"
    starts = [_remedy(patient, "calibrated", math.inf)] if patient.activation == "tanh" and plain else []
    if plain:
        starts += [_remedy(patient, "orthogonal", None), _remedy(patient, "spectral-radius", None, radius=1)]
    elif patient.gated:
        starts += [_remedy(patient, "orthogonal", None)]
    starts_first = plain and not patient.trained  # the weights of a gated cell are seldom at fault
    return _offered(patient, starts + clips if starts_first else clips + starts)


def to_wake(patient: Patient) -> tuple[Remedy, ...]:
    """Those against units that never answer."""
    starts = [_remedy(patient, "identity", math.inf)] if patient.cell == "elman" else []
    clips = [remedy("clip-norm", norm=_typical_norm(patient))]
    return _offered(patient, clips + starts if patient.trained else starts + clips)


def open_gates(patient: Patient) -> tuple[Remedy, ...]:
    """Those that set both gates of a memory, what it keeps and what it lets in."""
    return _offered(patient, [it for it in _gated(patient) if it.name == "chrono"])


def memory_bias(need: int) -> float:
    """b = ln(need - 1), rounded up: with f = sigmoid(b) the memory falls to 1/e in -1 / ln f, about 1 + e^b steps."""
    return math.ceil(10 * math.log(max(need - 1, 2))) / 10


def norm_of(log: float) -> float | None:
    """A norm by its logarithm, to two digits; None where it is none to clip at."""
    return float(f"{math.exp(log):.2g}") if -300 < log < 300 else None


def _reaching(patient: Patient) -> Iterable[Remedy]:
    if patient.gated:
        return _gated(patient)
    return _plain(patient) if patient.cell == "elman" else []


def _learning(patient: Patient) -> list[Remedy]:
    """Those of the training that pull a step's factor towards 1."""
    return [_remedy(patient, "norm-preserving", None), _remedy(patient, "flossing", None)]


def _gated(patient: Patient) -> list[Remedy]:
    need, least, bias = patient.need, patient.horizon.threshold, memory_bias(patient.need)
    longest = max(need, 3)
    return [
        _remedy(patient, "forget-bias", prediction.forgetting(bias, least), bias=bias),
        _remedy(patient, "chrono", prediction.chrono(longest, least), longest=longest),
        *_learning(patient),
    ]


def _plain(patient: Patient) -> list[Remedy]:
    linear, relu = patient.activation == "identity", patient.activation == "relu"
    bias, orthogonal = memory_bias(patient.need), _orthogonal(patient)
    found = [_remedy(patient, "orthogonal", orthogonal)]
    if relu:
        found = [_remedy(patient, "identity", math.inf), *found, _remedy(patient, "np-rnn", orthogonal)]
    elif patient.activation != "sigmoid":
        found = [_remedy(patient, "calibrated", math.inf), *found]
    if not relu and not linear:
        found.append(_remedy(patient, "irnn", math.inf))
    remembering = prediction.forgetting(bias, patient.horizon.threshold)
    found.append(_remedy(patient, "gated-cell", remembering, bias=bias))
    if patient.window is None:  # through a text its state is carried on, and grows without end
        found.append(_remedy(patient, "additive-path", math.inf))
    return [*found, *_learning(patient)]


def _orthogonal(patient: Patient) -> float | None:
    """The horizon to expect of orthogonal weights; None where that was not measured."""
    if patient.activation == "identity":
        return math.inf
    activation, weights, least = patient.part("activation"), patient.part("weights"), patient.horizon.threshold
    if activation is None or weights is None:
        return None
    if patient.activation == "tanh":
        return prediction.orthogonal_tanh(activation, weights, least)
    return prediction.reached(activation, least)


def _typical_norm(patient: Patient) -> float:
    """The median of the norms that were measured (Pascanu et al., 2013: half to ten times the mean)."""
    norms = patient.clipping.log_norms if patient.clipping else ()
    return (norm_of(norms[1]) if norms else None) or CLIP


def _remedy(patient: Patient, name: str, predicted: float | None, **arguments: float) -> Remedy:
    return remedy(name, predicted=predicted, need=patient.need, **arguments)


def _offered(patient: Patient, remedies: Iterable[Remedy]) -> tuple[Remedy, ...]:
    known = [it for it in remedies if patient.advice(it) and not _taken(patient, it)]
    first_is_allowed = not (patient.trained and known and known[0].kind == "start")
    return tuple(known) if first_is_allowed else ()


def _taken(patient: Patient, it: Remedy) -> bool:
    """Did the training begin with it?"""
    spec = it.option.removeprefix("--init ").partition(" --")[0]
    another = it.name == "irnn" and patient.activation != "relu"
    return bool(spec) and spec in (patient.init or "").split("+") and not another
