"""Long short-term memory whose output is a projection of its units (Sak et al., 2014), as `nn.LSTM` with proj_size.

    i, f, o = sigmoid(.)   g = tanh(.)     of the blocks i f g o of W_ih x + b_ih + W_hh h + b_hh
    c' = f * c + i * g
    h' = W_hr (o * tanh(c'))

The state is [h; c], (P + H). Back, from gradients dh and dc at h' and c', dm = W_hr^T dh takes the place of dh.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.lstm import MemoryCell, MemoryLocal


@dataclass(frozen=True, eq=False)
class ProjectedLSTMLocal(MemoryLocal):
    weight_hr: Tensor

    def _parts(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        size = len(self.weight_hr)
        return delta[..., :size] @ self.weight_hr, delta[..., size:]


class ProjectedLSTM(MemoryCell):
    """One layer of `nn.LSTM(X, H, proj_size=P)`; the state is [h; c], (B, P + H).

    >>> ProjectedLSTM(8, 16, 4).step(torch.randn(2, 8), torch.zeros(2, 20)).shape
    torch.Size([2, 20])
    """

    def __init__(self, input_size: int, hidden_size: int, proj_size: int, *, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias=bias)
        self.weight_hh = nn.Parameter(self.weight_hh.detach()[:, :proj_size].clone())  # (4H, P)
        bound = 1 / math.sqrt(hidden_size)  # torch's, as of all its weights
        self.weight_hr = nn.Parameter(self.weight_hh.new_empty(proj_size, hidden_size).uniform_(-bound, bound))

    @property
    def kind(self) -> str:
        return "LSTM"

    @property
    def output_size(self) -> int:
        return len(self.weight_hr)

    @property
    def recurrent_blocks(self) -> dict[str, Tensor]:
        """W_hh W_hr of each gate: what acts on the units o * tanh(c), (H, H)."""
        whole = self.weight_hh.detach() @ self.weight_hr.detach()
        return dict(zip(self.gates, whole.chunk(len(self.gates)), strict=True))

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> ProjectedLSTMLocal:
        return ProjectedLSTMLocal(*(*self._fields(kept, s, after), self.weight_hr))

    def _put_out(self, m: Tensor) -> Tensor:
        return F.linear(m, self.weight_hr)
