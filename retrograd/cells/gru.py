"""The gated recurrent unit (Cho et al., 2014), as torch has it: r acts after the matrix product.

    r = sigmoid(p_r + a_r)             p = W_ih x + b_ih,  a = W_hh h + b_hh,  blocks r z n
    z = sigmoid(p_z + a_z)
    n = tanh(p_n + r * a_n)
    h' = n + z * (h - n)               z near 1 keeps

    J = diag(z) + K_a W_hh             K_a = [(1 - z) n' a_n r',  (h - n) z',  (1 - z) n' r]

with r' = r (1 - r), z' = z (1 - z), n' = 1 - n^2. For p, K_p is K_a without the factor r in its last block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.base import Cell, Gradients, Local


@dataclass(frozen=True, eq=False)
class GRULocal(Local):
    r: Tensor
    z: Tensor
    n: Tensor
    to_p: Tensor  # K_p, (..., 3H)
    to_a: Tensor  # K_a, (..., 3H)
    weight_hh: Tensor

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"r": self.r, "z": self.z, "n": self.n}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        return {"r": self.r * (1 - self.r), "z": self.z * (1 - self.z), "n": 1 - self.n**2}

    def pullback(self, delta: Tensor) -> Gradients:
        thrice = torch.cat([delta, delta, delta], -1)
        dp, da = self.to_p * thrice, self.to_a * thrice
        return self.z * delta + da @ self.weight_hh, dp, da

    def at_state_share(self, delta: Tensor) -> Tensor:
        return self.to_a * torch.cat([delta, delta, delta], -1)

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """Straight on, through z alone, and through each gate's block of W_hh."""
        da = self.at_state_share(delta)
        through = {"keep": self.z * delta}
        for gate, d, W in zip("rzn", da.chunk(3, -1), self.weight_hh.chunk(3), strict=True):
            through[f"gate {gate}"] = d @ W
        return through


class GRU(Cell):
    """`nn.GRU`'s cell.

    >>> GRU(8, 16).step(torch.randn(4, 8), torch.zeros(4, 16)).shape
    torch.Size([4, 16])
    """

    gates = ("r", "z", "n")
    weight_hh: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias=bias)

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return self._after(self._kept(p, s), s)

    def linearize(self, p: Tensor, s: Tensor) -> GRULocal:
        kept = self._kept(p, s)
        return self.linearized(kept, s, self._after(kept, s))

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> GRULocal:
        r, z, n, a_n = kept
        k_n = (1 - z) * (1 - n * n)
        k_r = k_n * a_n * r * (1 - r)
        k_z = (s - n) * z * (1 - z)
        to_p, to_a = torch.cat([k_r, k_z, k_n], -1), torch.cat([k_r, k_z, k_n * r], -1)
        return GRULocal(after, r, z, n, to_p, to_a, self.weight_hh)

    def _after(self, kept: Sequence[Tensor], s: Tensor) -> Tensor:
        _, z, n, _ = kept
        return n + z * (s - n)

    def _kept(self, p: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """r, z, n and a_n."""
        p_r, p_z, p_n = p.chunk(3, -1)
        a_r, a_z, a_n = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
        r, z = (p_r + a_r).sigmoid(), (p_z + a_z).sigmoid()
        return r, z, (p_n + r * a_n).tanh(), a_n
