"""What a rule looks at: plain numbers, no tensor."""

from dataclasses import dataclass

from retrograd.diagnosis.finding import Remedy
from retrograd.measures import Horizon, LayerSaturation, Saturation

KEEPING = {"f": "forget", "z": "update"}  # the gate that keeps the state, by its letter


@dataclass(frozen=True)
class Patient:
    """A model's measurements beside what its task asks for."""

    horizon: Horizon
    need: int  # steps that the gradient has to reach back
    assumed: str | None = None  # what the need is only supposed from: "the window"
    saturation: Saturation | None = None
    init: str | None = None  # how it was started: a remedy already taken is not named again
    window: int | None = None  # the steps of truncated training: no gradient goes further
    cell: str | None = None  # "elman", "gru", "lstm", "additive"; None if the layers do not agree
    loss: float | None = None  # the best validation loss of its training, nats per target
    guess: float | None = None  # ... and that of answering by chance
    foreign: bool = False  # somebody's own model, which no command line trains

    def advice(self, remedy: Remedy) -> str:
        """How the remedy is written where this model is trained."""
        return remedy.call if self.foreign else remedy.option

    @property
    def lags(self) -> int:
        """How far back of the needed steps was measured."""
        return min(self.need, self.horizon.longest)

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


def cell_of(saturation: Saturation | None) -> str | None:
    """The kind of all layers, as `CELLS` names it."""
    kinds = {layer.cell.lower() for layer in saturation.layers} if saturation else set()
    return kinds.pop() if len(kinds) == 1 else None
