"""Networks that answer by a softmax layer over what they have read.

    logits[t] = U h[t] + b                          Axes: T time, B batch, H hidden, V answers

What is trained asks for h alone: a loss over many answers need not hold the logits of all steps at once.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Answering(nn.Module):
    softmax: nn.Linear
    read: Callable[..., tuple[Tensor, Any]]  # (inputs, state, starts and what else it asks for) -> h (T, B, H), state

    def forward(self, *inputs: Any, **others: Any) -> tuple[Tensor, Any]:
        """As `read`, to logits (T, B, V)."""
        h, state = self.read(*inputs, **others)
        return self.softmax(h), state
