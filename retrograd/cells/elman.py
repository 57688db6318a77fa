"""The plain recurrent network (Elman, 1990).

h' = f(z)          z = W_ih x + b_ih + W_hh h + b_hh
J  = diag(f'(z)) W_hh
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.activations import activation_named
from retrograd.cells.base import Cell, Gradients, Local


@dataclass(frozen=True, eq=False)
class ElmanLocal(Local):
    slope: Tensor  # f'(z)
    weight_hh: Tensor

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"h": self.state}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        return {"h": self.slope}

    def pullback(self, delta: Tensor) -> Gradients:
        dz = self.at_state_share(delta)
        return dz @ self.weight_hh, dz, dz

    def at_state_share(self, delta: Tensor) -> Tensor:
        return self.slope * delta

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """One alone, through the activation and W_hh."""
        return {"recurrence": self.at_state_share(delta) @ self.weight_hh}


class Elman(Cell):
    """`nn.RNN`'s cell, with f any of tanh, relu, sigmoid and identity.

    >>> Elman(8, 16, activation="relu").step(torch.randn(4, 8), torch.zeros(4, 16)).shape
    torch.Size([4, 16])
    """

    gates = ("h",)
    weight_hh: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, *, activation: str = "tanh", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias=bias)
        self.activation = activation
        self._f = activation_named(activation)

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return self._f.function(p + F.linear(s, self.weight_hh, self.bias_hh))

    def linearize(self, p: Tensor, s: Tensor) -> ElmanLocal:
        return self.linearized((), s, self.recur(p, s))

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> ElmanLocal:
        return ElmanLocal(state=after, slope=self._f.derivative(after), weight_hh=self.weight_hh)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}"
