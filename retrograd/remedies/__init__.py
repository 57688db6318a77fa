"""What helps, by name: a change to a model or to a training, applied in place and measured again by who asks.

    course = REMEDIES["calibrated"].apply(model, loss)

Its caller takes a `Snapshot` before, if the change is to be taken back. A start is never the first thing to do to a
trained model: it discards the training.
"""

from retrograd.errors import ConfigError, UnknownName
from retrograd.init import INITS
from retrograd.remedies.architectures import additive_path, gated_cell, irnn
from retrograd.remedies.calibration import calibrated
from retrograd.remedies.clip import clip_in_time, clip_norm, window
from retrograd.remedies.flossing import flossing
from retrograd.remedies.norm_preserving import norm_preserving
from retrograd.remedies.patch import Course, Loss, Patch, Plain
from retrograd.remedies.snapshot import Snapshot
from retrograd.remedies.starts import DISCARDS, start

__all__ = ["REMEDIES", "Course", "Loss", "Patch", "Plain", "Snapshot", "remedy_in", "remedy_named"]

_OTHERS = (
    Patch(
        "calibrated",
        "start",
        "Orthogonal recurrent weights, scaled until gradients neither grow nor shrink along your own data. " + DISCARDS,
        calibrated,
    ),
    Patch(
        "irnn",
        "architecture",
        "ReLU in place of tanh, started as the identity. " + DISCARDS,
        irnn,
    ),
    Patch(
        "gated_cell",
        "architecture",
        "A GRU in place of the plain layer, its update gate open. An optimiser has to be made anew. " + DISCARDS,
        gated_cell,
        ("bias",),
    ),
    Patch(
        "additive_path",
        "architecture",
        "Each step is added to the state, on the same weights, which were learned for another equation.",
        additive_path,
        ("share",),
    ),
    Patch(
        "clip_norm",
        "training",
        "The gradient of all weights is clipped, to what is usual for this model if no norm is given.",
        clip_norm,
        ("norm",),
    ),
    Patch(
        "clip_in_time",
        "training",
        "The gradient at each state is clipped on its way back. The layers run step by step, which is slower.",
        clip_in_time,
        ("norm",),
    ),
    Patch(
        "window",
        "training",
        "No gradient goes back over the edge of a window: truncated backpropagation.",
        window,
        ("steps",),
        required=1,
    ),
    Patch(
        "norm_preserving",
        "training",
        "A term beside the loss keeps the length of the gradient over each step back. The layers run step by step.",
        norm_preserving,
        ("weight",),
    ),
    Patch(
        "flossing",
        "training",
        "A term beside the loss pushes the leading Lyapunov exponents towards zero, for the first steps of training.",
        flossing,
        ("exponents", "steps"),
    ),
)

REMEDIES: dict[str, Patch] = {patch.name: patch for patch in (*map(start, INITS), *_OTHERS)}


def remedy_in(text: str) -> tuple[Patch, tuple[float, ...]]:
    """A remedy and the numbers behind its name: "forget-bias=3", "flossing=16,100". Raises UnknownName, ConfigError."""
    name, _, numbers = text.partition("=")
    try:
        return remedy_named(name), tuple(float(part) for part in numbers.split(",")) if numbers else ()
    except ValueError:
        raise ConfigError(f"A remedy takes numbers, as in forget-bias=3; got {text!r}.") from None


def remedy_named(name: str) -> Patch:
    """By its name, with hyphens or underscores. Raises UnknownName."""
    known = name.strip().replace("-", "_")
    if known not in REMEDIES:
        raise UnknownName("remedy", name, REMEDIES)
    return REMEDIES[known]
