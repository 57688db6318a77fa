"""The recurrent network: of language, and of whatever else has an answer for some of its steps.

    e[t] = E x[t]        s[t] = stack(e[t], s[t-1])        logits[t] = U h[t] + b        Axes: T time, B batch, V types

Where the inputs are numbers, e[t] = x[t]. What is done with the logits, or whether they are numbers that are asked for,
is the loss's business.

Dropout stands on each layer's way up, to the next layer and to the softmax, never on the way from step to step
(Zaremba et al. 2014); the embedding is left whole, since a character less is a word misread.
Tied: U = E (Press and Wolf 2017), which needs an embedding as wide as the hidden layer.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt import Stack, State
from retrograd.bptt.embedded import Embedded, Read
from retrograd.errors import ConfigError


class Recurrent(nn.Module):
    """Tokens (T, B), or numbers (T, B, X), to logits (T, B, V), with the state after the last step.

    `types`: of the tokens that are read; 0 where numbers are. `answers`: V, as many where nothing is said.
    """

    asks: ClassVar[tuple[str, ...]] = ()  # of a window's other parts, beside inputs, state and starts

    def __init__(
        self,
        types: int,
        stack: Stack,
        *,
        answers: int | None = None,
        dropout: float = 0.0,
        tied: bool = False,
        embedding_range: float | None = None,
    ) -> None:
        super().__init__()
        lowest, highest = stack.layers[0], stack.layers[-1]
        embedding, hidden = lowest.input_size, highest.hidden_size
        answers = answers or types
        if tied and (not types or answers != types):
            raise ConfigError(
                "A tied softmax answers with the types that are read; set model.tied=false for this task."
            )
        if tied and embedding != hidden:
            raise ConfigError(
                f"A tied softmax needs an embedding as wide as the hidden layer, {hidden}; got {embedding}. "
                f"Leave model.embedding out, or set model.tied=false."
            )
        self.embedding = nn.Embedding(types, embedding) if types else None
        self.stack = stack
        self.softmax = nn.Linear(hidden, answers)
        self.dropout = dropout
        if embedding_range is not None or tied:
            # a tied matrix is a softmax too, and rows of norm sqrt(H) would start it far above a loss of ln V
            bound = embedding_range if embedding_range is not None else hidden**-0.5
            if self.embedding is not None:
                nn.init.uniform_(self.embedding.weight, -bound, bound)
            nn.init.uniform_(self.softmax.weight, -bound, bound)
            nn.init.zeros_(self.softmax.bias)
        if tied and self.embedding is not None:
            self.softmax.weight = self.embedding.weight

    def forward(self, inputs: Tensor, state: State | None = None, starts: Tensor | None = None) -> tuple[Tensor, State]:
        h, state = self._above(inputs if self.embedding is None else self.embedding(inputs), state, starts)
        return self.softmax(h), state

    def read(self, inputs: Tensor, state: State | None = None, starts: Tensor | None = None) -> tuple[Tensor, State]:
        """What the softmax reads, (T, B, H), and the last state; for training, where only the loss is asked for."""
        x = inputs if self.embedding is None else Embedded(self.embedding.weight, inputs)
        return self._above(x, state, starts)

    def _above(self, x: Read, state: State | None, starts: Tensor | None) -> tuple[Tensor, State]:
        h, state = self.stack(x, state, starts)
        return F.dropout(h, self.dropout, self.training), state


def parameters(model: nn.Module) -> int:
    """Number of trained numbers; tied matrices count once."""
    return sum(p.numel() for p in model.parameters())
