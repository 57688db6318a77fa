"""What a rule looks at: plain numbers, no tensor."""

import math
from dataclasses import KW_ONLY, dataclass

from retrograd.diagnosis.finding import Severity
from retrograd.diagnosis.remedy import Remedy
from retrograd.errors import UsageError
from retrograd.measures import (
    Attribution,
    Clipping,
    Horizon,
    LayerAttribution,
    LayerSaturation,
    LyapunovSpectrum,
    NonFinitePlace,
    Saturation,
    WindowAdequacy,
)

KEEPING = {"f": "forget", "z": "update"}  # the gate that keeps the state, by its letter
GATED = ("lstm", "gru")
SQUASHING = ("tanh", "sigmoid")  # what keeps a state within bounds
LEARNED = 0.1  # of what a guess costs: a task whose loss is under it is learned


@dataclass(frozen=True)
class Patient:
    """A model's measurements beside what its task asks for; what was not measured is None."""

    horizon: Horizon
    saturation: Saturation | None = None
    _: KW_ONLY
    need: int  # steps that the gradient has to reach back
    assumed: str | None = None  # what the need is only supposed from, such as "the window"; None: known
    init: str | None = None  # how it was started: a remedy already taken is not named again
    window: int | None = None  # the steps of truncated training: no gradient goes further
    cell: str | None = None  # by its name in CELLS; the saturation's, or None if its layers do not agree
    loss: float | None = None  # the best validation loss of its training, nats per target
    guess: float | None = None  # ... and that of answering by chance
    foreign: bool = False  # somebody's own model, which no command line trains
    activation: str | None = None  # of a plain cell: "tanh", "relu", "sigmoid", "identity"; None: not known
    attribution: Attribution | None = None
    lyapunov: LyapunovSpectrum | None = None
    window_adequacy: WindowAdequacy | None = None
    clip: float = 0.0  # the norm that its training clips at; 0: none that is known
    clipping: Clipping | None = None
    nonfinite: NonFinitePlace | None = None
    step: int | None = None  # of the training, at which all this was measured
    trained: bool = False  # is there a training behind it, which a new start would discard?

    def __post_init__(self) -> None:
        if self.need < 1:
            raise UsageError(f"The need is a number of steps, at least 1; got {self.need}.")
        object.__setattr__(self, "cell", self.cell or _cell_of(self.saturation))

    def advice(self, remedy: Remedy) -> str:
        """How the remedy is written where this model is trained."""
        return remedy.written(foreign=self.foreign)

    def tries(self, remedies: tuple[Remedy, ...], more: str = "") -> str:
        """The end of a message: to try the first of them, and `more`; empty where there is none."""
        return f" Try {self.advice(remedies[0])}{more}." if remedies else ""

    @property
    def severity(self) -> Severity:
        """Of what is wrong only if the task needs as much as is supposed."""
        return "note" if self.assumed or self.learned else "error"

    @property
    def lags(self) -> int:
        """How far back of the needed steps was measured."""
        return min(self.need, self.horizon.longest)

    @property
    def way(self) -> int:
        """Of these, the steps over which the gradient is compared."""
        return self.lags - self.horizon.reference

    @property
    def slowest_decay(self) -> float:
        """The factor of a step at the lower end of its interval."""
        h = self.horizon
        return h.decay if h.decay_low is None else h.decay_low

    @property
    def finite(self) -> bool:
        """Is all a number? If not, how far it reaches says nothing."""
        return self.horizon.finite and self.nonfinite is None

    @property
    def short(self) -> bool:
        """Does the gradient reach less far than the task needs, with its whole interval?"""
        h = self.horizon
        return self.finite and (h.steps if h.high is None else h.high) < self.lags

    @property
    def learned(self) -> bool:
        """Is the task, whose need is known, learned already, however far the gradient reaches?"""
        if self.loss is None or self.guess is None or self.assumed:
            return False
        return self.loss <= LEARNED * self.guess

    @property
    def squashes(self) -> bool:
        """Do the layers keep their states within bounds, by what is known of them?"""
        return self.gated or (self.cell == "elman" and self.activation in SQUASHING)

    @property
    def gated(self) -> bool:
        """Has every layer a gate that keeps, also where some are LSTMs and others GRUs?"""
        return self.cell in GATED or (not self.cell and bool(self.layers) and all(map(_is_gated, self.layers)))

    @property
    def assumption(self) -> str:
        """The need and where it comes from, as a sentence."""
        if self.assumed:
            return f"No need was given, so {self.assumed}, {self.need}, stands in for what the task may need."
        return f"The task needs the gradient {self.need} steps back, as it was given."

    @property
    def keeping(self) -> tuple[str, float] | None:
        """The name and mean of the gate that keeps the state, over the layers that have one."""
        layers = [layer for layer in self.layers if layer.keeping]
        if not layers:
            return None
        gates = [layer.gates[layer.keeping] for layer in layers if layer.keeping]
        return KEEPING[layers[0].keeping or ""], sum(gates) / len(gates)

    @property
    def layers(self) -> tuple[LayerSaturation, ...]:
        return self.saturation.layers if self.saturation else ()

    @property
    def attributed(self) -> tuple[LayerAttribution, ...]:
        return self.attribution.layers if self.attribution else ()

    def part(self, name: str) -> float | None:
        """The factor per step of the activation or the weights, in the Elman layer that shrinks the gradient least."""
        layers = [layer for layer in self.attributed if layer.total and name in layer.parts]
        if not layers:
            return None
        return math.exp(max(layers, key=lambda layer: layer.factor).parts[name].value)


def _is_gated(layer: LayerSaturation) -> bool:
    return layer.cell.lower() in GATED


def _cell_of(saturation: Saturation | None) -> str | None:
    """The kind of all layers, as `CELLS` names it."""
    kinds = {layer.cell.lower() for layer in saturation.layers} if saturation else set()
    return kinds.pop() if len(kinds) == 1 else None
