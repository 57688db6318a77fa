"""Attention over what an encoder has said (Luong et al. 2015: a dot product with a projection, global).

    a[t] = softmax over s of  h[t]^T W m[s]        c[t] = sum_s a[t, s] m[s]        o[t] = tanh(C [c[t]; h[t]])

Axes: T steps of the decoder, S of the encoder, B batch, H hidden. With it a gradient need not travel: from every step
of the decoder there is a way of length one to every step of the encoder.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Outputs h (T, B, H) of a decoder, and the memory m (B, S, M), to o (T, B, H).

    `real` (B, S) is true where the memory is no padding; each sequence has at least one such place.
    """

    def __init__(self, hidden: int, memory: int) -> None:
        super().__init__()
        self.score = nn.Linear(memory, hidden, bias=False)
        self.combine = nn.Linear(memory + hidden, hidden, bias=False)

    def forward(self, h: Tensor, memory: Tensor, real: Tensor) -> Tensor:
        c = (self.weights(h, memory, real) @ memory).transpose(0, 1)
        o: Tensor = self.combine(torch.cat([c, h], -1))
        return o.tanh()

    def weights(self, h: Tensor, memory: Tensor, real: Tensor) -> Tensor:
        """a (B, T, S): how much each step looks at each place; 0 at padding, and each step's sum is 1."""
        scores: Tensor = h.transpose(0, 1) @ self.score(memory).transpose(1, 2)
        return scores.masked_fill(~real[:, None], -torch.inf).softmax(-1)
