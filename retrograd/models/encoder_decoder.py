"""Many to many: one network reads a sentence, another writes one (Cho et al. 2014; Sutskever et al. 2014).

    s[i] = encoder(E' y[i], s[i-1])                 i = 1 .. S, the source y; s[0] = 0
    r[t] = decoder(E x[t], r[t-1])                  t = 1 .. T, r[0] = s[S], layer by layer
    logits[t] = U h[t] + b                          h[t] the decoder's highest output

Axes: S steps of the source, T of the target, B batch, V types. All that the decoder knows of the source is the one
state that the encoder ends in, so the gradient of the first word that is written travels back over the whole source.
With attention h[t] is joined by a look at every output of the encoder (attention.py), and it need not.

Sources are padded before their first token, where they hold a negative id; the encoder's state is zero until then, so
that a batch's result is that of its members one by one.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt import Stack, State
from retrograd.errors import ConfigError, ShapeError
from retrograd.models.attention import Attention
from retrograd.models.source import begins


class EncoderDecoder(nn.Module):
    """Tokens (T, B) and a source (S, B) to logits (T, B, V), with what goes on to the next step.

    The state is a flat tuple, the batch first in each: the decoder's layers, and with attention the encoder's outputs
    (B, S, H) and where these are no padding (B, S). With none the source is read; with one it is not looked at.
    """

    asks: ClassVar[tuple[str, ...]] = ("source",)  # of a window's other parts, beside inputs, state and starts

    def __init__(
        self,
        types: int,
        stack: Stack,
        *,
        encoder: Stack,
        source_types: int,
        answers: int | None = None,
        dropout: float = 0.0,
        attention: bool = False,
    ) -> None:
        super().__init__()
        _check_fit(encoder, stack)
        lowest, highest = stack.layers[0], stack.layers[-1]
        self.source_embedding = nn.Embedding(source_types, encoder.layers[0].input_size)
        self.encoder = encoder
        self.embedding = nn.Embedding(types, lowest.input_size)
        self.stack = stack
        memory = encoder.layers[-1].hidden_size
        self.attention = Attention(highest.hidden_size, memory) if attention else None
        self.softmax = nn.Linear(highest.hidden_size, answers or types)
        self.dropout = dropout

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        starts: Tensor | None = None,
        source: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        h, state = self.read(inputs, state, starts, source)
        return self.softmax(h), state

    def read(
        self,
        inputs: Tensor,
        state: State | None = None,
        starts: Tensor | None = None,
        source: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """What the softmax reads, (T, B, H), and the state; for training, where only the loss is asked for."""
        state = self.encode(source) if begins(state, starts) else state
        assert state is not None
        layers = len(self.stack.layers)
        h, after = self.stack(self._kept(self.embedding(inputs)), state[:layers])
        if self.attention is not None:
            h = self.attention(h, *state[layers:])
        return self._kept(h), (*after, *state[layers:])

    def encode(self, source: Tensor | None) -> State:
        """The state before the first word that is written."""
        if source is None or source.dim() != 2 or not len(source):
            came = "none" if source is None else tuple(source.shape)
            raise ShapeError(f"A sentence to start from must be (time, batch) of token ids, got {came}.")
        real = source >= 0
        starts = real & ~F.pad(real, (0, 0, 1, 0))[:-1]
        if not bool((starts.sum(0) == 1).all() and real[-1].all()):
            raise ShapeError("Each source needs one token at least, with its padding before all of them.")
        x = self._kept(self.source_embedding(source.clamp(min=0)))
        memory, state = self.encoder(x, None, starts)
        return state if self.attention is None else (*state, memory.transpose(0, 1), real.t())

    def _kept(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout:g}"


def _check_fit(encoder: Stack, decoder: Stack) -> None:
    """The decoder starts where the encoder ends, layer by layer."""
    ends, begins_at = ([cell.state_size for cell in stack.layers] for stack in (encoder, decoder))
    if ends != begins_at:
        raise ConfigError(
            f"An encoder's last states start the decoder, so both need layers of one size; got {ends} and {begins_at}."
        )
