"""The language model that sees a fixed window (Bengio et al. 2003).

    e[t] = [E x[t-n+1]; ...; E x[t]]        h[t] = f(W e[t] + b1)        logits[t] = U h[t] + b2

Axes: T time, B batch, V types. Of what lies n tokens back or further nothing is seen, and W grows with n. Where a
text begins, the tokens that are missing are a type of their own, the V-th, which is learned and never predicted.

What is carried from one piece of text to the next are the last n - 1 tokens, so that the text may be cut anywhere.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.cells.activations import activation_named
from retrograd.errors import ConfigError, ShapeError

State = tuple[Tensor, ...]  # one of token ids, (B, n - 1), the latest last


class WindowLM(nn.Module):
    """Tokens (T, B) to logits (T, B, V), with the tokens that the next step looks back on."""

    asks: ClassVar[tuple[str, ...]] = ()  # of a window's other parts, beside inputs, state and starts

    def __init__(
        self,
        types: int,
        embedding: int,
        hidden: int,
        *,
        context: int = 4,
        activation: str = "tanh",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if context < 1:
            raise ConfigError(f"A window holds at least the last token; got model.context of {context}.")
        self.types, self.context, self.activation, self.dropout = types, context, activation, dropout
        self._f = activation_named(activation).function
        self.embedding = nn.Embedding(types + 1, embedding)
        self.hidden = nn.Linear(context * embedding, hidden)
        self.softmax = nn.Linear(hidden, types)

    def initial_state(self, batch: int) -> State:
        """Nothing came before."""
        return (torch.full((batch, self.context - 1), self.types, device=self.softmax.weight.device),)

    def forward(self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None) -> tuple[Tensor, State]:
        h, state = self.read(tokens, state, starts)
        return self.softmax(h), state

    def read(self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None) -> tuple[Tensor, State]:
        """What the softmax reads, (T, B, H), and the state; for training, where only the loss is asked for."""
        seen, state = self._windows(tokens, self.initial_state(tokens.shape[1]) if state is None else state, starts)
        e = self.embedding(seen).flatten(-2)
        return F.dropout(self._f(self.hidden(e)), self.dropout, self.training), state

    def extra_repr(self) -> str:
        return f"context={self.context}, activation={self.activation!r}, dropout={self.dropout:g}"

    def _windows(self, tokens: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, State]:
        """The tokens that each step sees, (T, B, n), and what the step after the last one looks back on."""
        steps, batch = tokens.shape
        [before] = state
        if before.shape != (batch, self.context - 1):
            raise ShapeError(
                f"The state must hold the last {self.context - 1} tokens of {batch} sequences, "
                f"{(batch, self.context - 1)}; got {tuple(before.shape)}."
            )
        text = torch.cat([before.t(), tokens])  # (n - 1 + T, B)
        windows = text.unfold(0, self.context, 1)
        after = text[steps:].t()
        if starts is not None:
            place = torch.arange(len(text), device=text.device)
            begin = _latest(F.pad(starts, (0, 0, self.context - 1, 0)))  # (n - 1 + T, B)
            windows = windows.masked_fill(
                place.unfold(0, self.context, 1)[:, None] < begin[self.context - 1 :, :, None], self.types
            )
            after = after.masked_fill(place[steps:] < begin[-1][:, None], self.types)
        return windows, (after.clone(),)


def _latest(starts: Tensor) -> Tensor:
    """Of each step the latest one, itself included, at which its sequence began anew; 0 where there is none."""
    place = torch.arange(len(starts), device=starts.device)[:, None]
    return torch.where(starts, place, 0).cummax(0).values
