"""The identity mapping through time (He et al., 2016, turned along the time axis).

h' = h + F(x)          F(x) = f(z),  z = W_ih x + b_ih
J  = I                 exactly, at any lag: no gradient vanishes or explodes, and nothing is forgotten
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from retrograd.cells.activations import activation_named
from retrograd.cells.base import Cell, Gradients, Local


@dataclass(frozen=True, eq=False)
class AdditiveLocal(Local):
    update: Tensor  # F(x)
    slope: Tensor  # f'(z)

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"update": self.update}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        return {"update": self.slope}

    def pullback(self, delta: Tensor) -> Gradients:
        return delta, self.slope * delta, delta[..., :0]

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """One alone: what is kept is kept whole."""
        return {"keep": delta}


class Additive(Cell):
    """A running sum of what each input adds; it has no W_hh, and so no `weight_hh` and no `bias_hh`."""

    gates = ("update",)
    weight_hh: None
    bias_hh: None

    def __init__(self, input_size: int, hidden_size: int, *, activation: str = "tanh", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, reads=0, bias=bias)
        self.activation = activation
        self._f = activation_named(activation)

    def update(self, p: Tensor) -> Tensor:
        """F(x) from x's projection: what each step adds, for any number of steps at once."""
        return self._f.function(p)

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return s + self.update(p)

    def linearize(self, p: Tensor, s: Tensor) -> AdditiveLocal:
        y = self.update(p)
        return self.linearized((y,), s, s + y)

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> AdditiveLocal:
        return AdditiveLocal(state=after, update=kept[0], slope=self._f.derivative(kept[0]))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}"
