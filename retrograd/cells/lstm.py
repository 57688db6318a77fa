"""Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000), as torch has it.

    i, f, o = sigmoid(.)   g = tanh(.)     of the blocks i f g o of W_ih x + b_ih + W_hh h + b_hh
    c' = f * c + i * g                     the error carousel: along c the gradient is multiplied by f alone
    h' = o * tanh(c')

Back, from gradients dh and dc at h' and c':

    dc += dh * o tanh'(c')
    dz  = [dc * g i',  dc * c f',  dc * i g',  dh * tanh(c') o']        with i' = i (1 - i), g' = 1 - g^2 ...
    at h: W_hh^T dz          at c: dc * f
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.base import Cell, Gradients, Local


@dataclass(frozen=True, eq=False)
class MemoryLocal(Local):
    """A step with a memory, whatever h' makes of the units m = o * tanh(c')."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    to_c: Tensor  # o tanh'(c'), (..., H)
    to_z: Tensor  # [g i', c f', i g', tanh(c') o'], (..., 4H)
    weight_hh: Tensor

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"i": self.i, "f": self.f, "g": self.g, "o": self.o}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        """Those of the four blocks, and "c": that of the tanh between the memory and the output gate."""
        i, f, g, o = self.i, self.f, self.g, self.o
        c = self.state[..., self.weight_hh.shape[1] :]
        return {"i": i * (1 - i), "f": f * (1 - f), "g": 1 - g**2, "o": o * (1 - o), "c": 1 - c.tanh() ** 2}

    def pullback(self, delta: Tensor) -> Gradients:
        dc, dz = self._inner(delta)
        return torch.cat([dz @ self.weight_hh, dc * self.f], -1), dz, dz

    def at_state_share(self, delta: Tensor) -> Tensor:
        return self._inner(delta)[1]

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """Along the memory, through f alone, and through each gate's block of W_hh.

        What comes down from h' through the output's tanh is in all but the output gate's.
        """
        dc, dz = self._inner(delta)
        through = {"memory": torch.cat([dc.new_zeros(*dc.shape[:-1], self.weight_hh.shape[1]), dc * self.f], -1)}
        for gate, d, W in zip("ifgo", dz.chunk(4, -1), self.weight_hh.chunk(4), strict=True):
            through[f"gate {gate}"] = torch.cat([d @ W, torch.zeros_like(dc)], -1)
        return through

    def _inner(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """What arrives at c' in all, and at the pre-activations z."""
        dm, dc = self._parts(delta)
        dc = torch.addcmul(dc, dm, self.to_c)
        return dc, self.to_z * torch.cat([dc, dc, dc, dm], -1)

    @abstractmethod
    def _parts(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Of a gradient at [h'; c'] that at the units m and that at c'."""


@dataclass(frozen=True, eq=False)
class LSTMLocal(MemoryLocal):
    def _parts(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        dh, dc = delta.chunk(2, -1)
        return dh, dc


class MemoryCell(Cell):
    """A cell with the gates and the memory of an LSTM; what it puts out is made from its units m = o * tanh(c')."""

    gates = ("i", "f", "g", "o")
    has_memory = True
    weight_hh: nn.Parameter

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return self._after(self._gates(p, s), s)

    def linearize(self, p: Tensor, s: Tensor) -> MemoryLocal:
        gates = self._gates(p, s)
        return self.linearized(gates, s, self._after(gates, s))

    @abstractmethod
    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> MemoryLocal:
        """Also of a cell with a projection; `kept` are the gates."""

    def _fields(self, gates: Sequence[Tensor], s: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        """Of a MemoryLocal."""
        i, f, g, o = gates
        c, y = s[..., self.output_size :], after[..., self.output_size :].tanh()
        to_z = torch.cat([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), y * o * (1 - o)], -1)
        return after, i, f, g, o, o * (1 - y * y), to_z, self.weight_hh

    def _gates(self, p: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = (p + F.linear(s[..., : self.output_size], self.weight_hh, self.bias_hh)).chunk(4, -1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    def _after(self, gates: Sequence[Tensor], s: Tensor) -> Tensor:
        i, f, g, o = gates
        c = f * s[..., self.output_size :] + i * g
        return torch.cat([self._put_out(o * c.tanh()), c], -1)

    @abstractmethod
    def _put_out(self, m: Tensor) -> Tensor:
        """h' from the units."""


class LSTM(MemoryCell):
    """`nn.LSTM`'s cell; the state is [h; c], (B, 2H).

    >>> LSTM(8, 16).step(torch.randn(4, 8), torch.zeros(4, 32)).shape
    torch.Size([4, 32])
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias=bias)

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> LSTMLocal:
        return LSTMLocal(*self._fields(kept, s, after))

    def _put_out(self, m: Tensor) -> Tensor:
        return m
