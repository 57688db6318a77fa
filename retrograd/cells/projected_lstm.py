"""Long short-term memory whose output is a projection of its units (Sak et al., 2014), as `nn.LSTM` with proj_size.

    i, f, o = sigmoid(.)   g = tanh(.)     of the blocks i f g o of W_ih x + b_ih + W_hh h + b_hh
    c' = f * c + i * g
    h' = W_hr (o * tanh(c'))

The state is [h; c], (P + H). Back, from gradients dh and dc at h' and c', dm = W_hr^T dh takes the place of dh.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.base import Cell, Gradients, Local


@dataclass(frozen=True, eq=False)
class ProjectedLSTMLocal(Local):
    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    to_c: Tensor  # o tanh'(c'), (..., H)
    to_z: Tensor  # [g i', c f', i g', tanh(c') o'], (..., 4H)
    weight_hh: Tensor
    weight_hr: Tensor

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"i": self.i, "f": self.f, "g": self.g, "o": self.o}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        i, f, g, o = self.i, self.f, self.g, self.o
        c = self.state[..., len(self.weight_hr) :]
        return {"i": i * (1 - i), "f": f * (1 - f), "g": 1 - g**2, "o": o * (1 - o), "c": 1 - c.tanh() ** 2}

    def pullback(self, delta: Tensor) -> Gradients:
        dc, dz = self._inner(delta)
        return torch.cat([dz @ self.weight_hh, dc * self.f], -1), dz, dz

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """Along the memory, through f alone, and through W_hh by each block."""
        dc, dz = self._inner(delta)
        empty = dc.new_zeros(*dc.shape[:-1], len(self.weight_hr))
        through = {"memory": torch.cat([empty, dc * self.f], -1)}
        for gate, d, W in zip("ifgo", dz.chunk(4, -1), self.weight_hh.chunk(4), strict=True):
            through[f"gate {gate}"] = torch.cat([d @ W, torch.zeros_like(dc)], -1)
        return through

    def _inner(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """What arrives at c' in all, and at the pre-activations z."""
        size = len(self.weight_hr)
        dm, dc = delta[..., :size] @ self.weight_hr, delta[..., size:]
        dc = torch.addcmul(dc, dm, self.to_c)
        return dc, self.to_z * torch.cat([dc, dc, dc, dm], -1)


class ProjectedLSTM(Cell):
    """One layer of `nn.LSTM(X, H, proj_size=P)`; the state is [h; c], (B, P + H).

    >>> ProjectedLSTM(8, 16, 4).step(torch.randn(2, 8), torch.zeros(2, 20)).shape
    torch.Size([2, 20])
    """

    gates = ("i", "f", "g", "o")
    has_memory = True
    weight_hh: nn.Parameter  # (4H, P)

    def __init__(self, input_size: int, hidden_size: int, proj_size: int, *, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias=bias)
        self.weight_hh = nn.Parameter(self.weight_hh.detach()[:, :proj_size].clone())
        self.weight_hr = nn.Parameter(self.weight_hh.detach()[:proj_size, :1].repeat(1, hidden_size))

    @property
    def kind(self) -> str:
        return "LSTM"

    @property
    def output_size(self) -> int:
        return len(self.weight_hr)

    @property
    def recurrent_blocks(self) -> tuple[Tensor, ...]:
        """W_hh W_hr of each gate: what acts on the units o * tanh(c), (H, H)."""
        return (self.weight_hh.detach() @ self.weight_hr.detach()).chunk(len(self.gates))

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        h, c = s[..., : self.output_size], s[..., self.output_size :]
        i, f, g, o = self._gates(p, h)
        c = f * c + i * g
        return torch.cat([F.linear(o * c.tanh(), self.weight_hr), c], -1)

    def linearize(self, p: Tensor, s: Tensor) -> ProjectedLSTMLocal:
        h, c = s[..., : self.output_size], s[..., self.output_size :]
        i, f, g, o = self._gates(p, h)
        c_new = f * c + i * g
        y = c_new.tanh()
        state = torch.cat([F.linear(o * y, self.weight_hr), c_new], -1)
        to_z = torch.cat([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), y * o * (1 - o)], -1)
        return ProjectedLSTMLocal(state, i, f, g, o, o * (1 - y * y), to_z, self.weight_hh, self.weight_hr)

    def _gates(self, p: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, f, g, o = (p + F.linear(h, self.weight_hh, self.bias_hh)).chunk(4, -1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
