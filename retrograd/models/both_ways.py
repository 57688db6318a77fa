"""The network that reads from both ends: a label for each step of a sequence that is there as a whole.

    e[t] = E x[t]        h[t] = [forwards(e)[t]; backwards(e)[t]]        logits[t] = U h[t] + b

Axes: T time, B batch, V answers. Nothing is carried from one window to the next, because a state that comes from the
end has nothing to go on to.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt import State
from retrograd.bptt.bidirectional import Bidirectional


class BothWays(nn.Module):
    """Tokens (T, B), or numbers (T, B, X), to logits (T, B, V); `types` is 0 where numbers are read."""

    asks: ClassVar[tuple[str, ...]] = ("lengths",)

    def __init__(self, types: int, stacks: Bidirectional, *, answers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(types, stacks.input_size) if types else None
        self.stacks = stacks
        self.softmax = nn.Linear(stacks.hidden_size, answers)
        self.dropout = dropout

    def forward(
        self, inputs: Tensor, state: State | None = None, starts: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        h, state = self.read(inputs, state, starts, lengths)
        return self.softmax(h), state

    def read(
        self, inputs: Tensor, state: State | None = None, starts: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """What the softmax reads, (T, B, H), for training, where only the loss is asked for."""
        x = inputs if self.embedding is None else self.embedding(inputs)
        return F.dropout(self.stacks(x, starts, lengths), self.dropout, self.training), ()
