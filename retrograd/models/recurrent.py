"""The recurrent language model.

    e[t] = E x[t]        s[t] = stack(e[t], s[t-1])        logits[t] = U h[t] + b        Axes: T time, B batch, V types

Dropout stands on each layer's way up, to the next layer and to the softmax, never on the way from step to step
(Zaremba et al. 2014); the embedding is left whole, since a character less is a word misread.
Tied: U = E (Press and Wolf 2017), which needs an embedding as wide as the hidden layer.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt import Stack, State
from retrograd.errors import ConfigError


class RecurrentLM(nn.Module):
    """Tokens (T, B) to logits (T, B, V), with the state after the last step."""

    def __init__(
        self,
        vocabulary: int,
        stack: Stack,
        *,
        dropout: float = 0.0,
        tied: bool = False,
        embedding_range: float | None = None,
    ) -> None:
        super().__init__()
        lowest, highest = stack.layers[0], stack.layers[-1]
        embedding, hidden = lowest.input_size, highest.hidden_size
        if tied and embedding != hidden:
            raise ConfigError(
                f"A tied softmax needs an embedding as wide as the hidden layer, {hidden}; got {embedding}. "
                f"Leave model.embedding out, or set model.tied=false."
            )
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.stack = stack
        self.softmax = nn.Linear(hidden, vocabulary)
        self.dropout = dropout
        if embedding_range is not None or tied:
            # a tied matrix is a softmax too, and rows of norm sqrt(H) would start it far above a loss of ln V
            bound = embedding_range if embedding_range is not None else hidden**-0.5
            nn.init.uniform_(self.embedding.weight, -bound, bound)
            nn.init.uniform_(self.softmax.weight, -bound, bound)
            nn.init.zeros_(self.softmax.bias)
        if tied:
            self.softmax.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None) -> tuple[Tensor, State]:
        h, state = self.stack(self.embedding(tokens), state, starts)
        return self.softmax(F.dropout(h, self.dropout, self.training)), state


def parameters(model: nn.Module) -> int:
    """Number of trained numbers; tied matrices count once."""
    return sum(p.numel() for p in model.parameters())
