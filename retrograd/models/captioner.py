"""One to many: a convolutional network looks at a picture, a recurrent one says what it sees (Vinyals et al. 2015).

    picture -> 3 x (3x3 convolution, group norm, ReLU, the strongest of 2 x 2) -> the mean of each of 4 x 4 fields
            -> mean 0 and variance 1 -> f
    s[0] = tanh(A f + a)                                 the first state, of all layers at once
    s[t] = decoder(E x[t], s[t-1]),  logits[t] = U h[t] + b

Axes: T steps, B batch, C channels, V types. The fields keep where things are, whatever the size of the picture. All
that the decoder knows of it is its first state, so the gradient of every word travels back to before the first one.
"""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt import Stack, State
from retrograd.errors import ShapeError
from retrograd.models.source import begins

FIELDS = 4  # along each side
CHANNELS = (16, 32, 64)  # of the convolutions
GROUPS = 8  # of channels, each brought to mean 0 and variance 1 (Wu and He 2018)


class Captioner(nn.Module):
    """Tokens (T, B) and pictures (B, C, height, width) to logits (T, B, V), with the decoder's state.

    Pictures are numbers from 0 to 1, or bytes. Without a state they are looked at; with one they are not.
    """

    asks: ClassVar[tuple[str, ...]] = ("source",)  # of a window's other parts, beside inputs, state and starts

    def __init__(
        self,
        types: int,
        stack: Stack,
        *,
        picture: tuple[int, int, int],
        answers: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.picture, self.dropout = picture, dropout  # (channels, height, width)
        lowest, highest = stack.layers[0], stack.layers[-1]
        channels = pairwise((picture[0], *CHANNELS))
        self.seeing = nn.Sequential(*(_block(below, above) for below, above in channels))
        self.first = nn.Linear(CHANNELS[-1] * FIELDS**2, sum(cell.state_size for cell in stack.layers))
        nn.init.xavier_normal_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        self.embedding = nn.Embedding(types, lowest.input_size)
        self.stack = stack
        self.softmax = nn.Linear(highest.hidden_size, answers or types)

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
        state = self.look(source) if begins(state, starts) else state
        h, state = self.stack(self.embedding(inputs), state)
        return F.dropout(h, self.dropout, self.training), state

    def look(self, source: Tensor | None) -> State:
        """The state before the first word."""
        if source is None or tuple(source.shape[1:]) != self.picture:
            came = "none" if source is None else tuple(source.shape)
            raise ShapeError(f"Pictures must be (batch, {', '.join(map(str, self.picture))}), got {came}.")
        x = source.to(self.first.weight.dtype)
        x = (x / 255 if source.dtype == torch.uint8 else x) - 0.5
        f = F.adaptive_avg_pool2d(self.seeing(x), FIELDS).flatten(1)
        f = F.layer_norm(f, f.shape[1:])
        s = self.first(F.dropout(f, self.dropout, self.training)).tanh()
        return tuple(s.split([cell.state_size for cell in self.stack.layers], -1))

    def extra_repr(self) -> str:
        return f"picture={self.picture}, dropout={self.dropout:g}"


def _block(below: int, above: int) -> nn.Sequential:
    """Half as high and wide: the strongest of each 2 x 2 places, or of what there is of them."""
    convolution = nn.Conv2d(below, above, 3, padding=1)
    assert convolution.bias is not None
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, above), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))
