"""Two stacks that read the same sequence from its two ends (Schuster and Paliwal 1997).

    f[t] = stack(x[t], f[t-1])        b[t] = stack(x[t], b[t+1])        y[t] = [f[t]; b[t]]       Axes: T time, B batch

The output of a step knows what stands on its left and on its right. Each direction has its own layers all the way up;
they meet in the output alone. Where the sequences of a batch end at different steps, the one from the end sets out at
each sequence's own last step, so that a batch is its members one by one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrograd.bptt.shapes import check_inputs
from retrograd.bptt.stack import Stack
from retrograd.cells import Cell
from retrograd.errors import ShapeError


class Bidirectional(nn.Module):
    """Layers that read forwards, and as many that read backwards.

    >>> both = Bidirectional([LSTM(8, 16)], [LSTM(8, 16)])
    >>> both(torch.randn(30, 4, 8), lengths=torch.tensor([30, 12, 7, 30])).shape
    torch.Size([30, 4, 32])
    """

    def __init__(
        self, forwards: Sequence[Cell], backwards: Sequence[Cell], *, dropout: float = 0.0, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.forwards = Stack(forwards, dropout=dropout, backend=backend)
        self.backwards = Stack(backwards, dropout=dropout, backend=backend, reverse=True)
        if self.backwards.layers[0].input_size != self.input_size:
            raise ShapeError(
                f"Both directions read the same inputs; {forwards[0]!r} takes {self.input_size} of them, and "
                f"{backwards[0]!r} {self.backwards.layers[0].input_size}."
            )

    @property
    def input_size(self) -> int:
        return self.forwards.layers[0].input_size

    @property
    def hidden_size(self) -> int:
        """Of what is put out, both directions together."""
        return sum(stack.layers[-1].hidden_size for stack in (self.forwards, self.backwards))

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The cells, lowest first, those that read forwards before those that read backwards."""
        return (*self.forwards.layers, *self.backwards.layers)

    def forward(self, x: Tensor, starts: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """x (T, B, X) -> outputs (T, B, 2H), zero behind a sequence's end.

        starts (T, B): does a document begin there? Or lengths (B,): steps of each sequence, from
        0 to T; None: all have T.
        """
        check_inputs(x, self.input_size)
        ends = None if starts is None else starts.roll(-1, 0)  # a document ends before the next begins
        if ends is not None:
            ends[-1] = False  # its last step is the first that is taken, from zero as it is
        return torch.cat(
            [self.forwards(x, None, starts, lengths)[0], self.backwards(x, None, ends, lengths)[0]], dim=-1
        )
