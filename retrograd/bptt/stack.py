"""Layers on top of each other, over all time steps.

    x -> layer 1 -> dropout -> layer 2 -> dropout -> ... -> layer L -> outputs

A new document may begin anywhere in a window: where starts[t, b] is true, sequence b's state is zero before
step t. In reverse the steps are taken from the last to the first, so there a start is the last step of a document,
and a sequence that is shorter than the others sets out at its own last step.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.bptt.backends import BACKENDS, choose
from retrograd.bptt.embedded import Backend, Read, numbers
from retrograd.bptt.lengths import check_lengths, of_lengths, turned
from retrograd.bptt.shapes import check_inputs
from retrograd.bptt.timings import Pass
from retrograd.cells import Cell
from retrograd.errors import ConfigError, ShapeError

State = tuple[Tensor, ...]  # one (B, S) a layer, lowest first


class Stack(nn.Module):
    """The layers of a recurrent network, as nn.LSTM is: the same numbers and the same draws of dropout.

    >>> stack = Stack([LSTM(8, 16), LSTM(16, 16)], dropout=0.2)
    >>> outputs, state = stack(torch.randn(30, 4, 8))
    >>> outputs, state = stack(torch.randn(30, 4, 8), tuple(s.detach() for s in state))
    """

    def __init__(
        self, layers: Sequence[Cell], *, dropout: float = 0.0, backend: str = "auto", reverse: bool = False
    ) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("A stack needs at least one layer.")
        if not 0 <= dropout <= 1:
            raise ConfigError(f"Dropout must be between 0 and 1, got {dropout:g}.")
        for below, above in pairwise(layers):
            if above.input_size != below.hidden_size:
                raise ShapeError(f"{above!r} cannot read the {below.hidden_size} outputs of {below!r} below it.")
        for cell in layers:
            choose(cell, backend)
        self.cells = nn.ModuleList(layers)
        self.dropout, self.backend, self.reverse = dropout, backend, reverse

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The cells, lowest first."""
        return tuple(cell for cell in self.cells if isinstance(cell, Cell))

    def initial_state(self, batch: int) -> State:
        return tuple(cell.initial_state(batch) for cell in self.layers)

    def forward(
        self, x: Read, state: State | None = None, starts: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """x (T, B, X), starts (T, B) true or false -> outputs (T, B, H) of the highest layer, last states.

        Tokens may come with the table of their vectors, as Embedded: the native kernels then look up rows of E W_ih^T.

        Without a state the sequences begin at zero. In reverse the last states are those after step 1. With `lengths`
        (B,) nothing is computed behind a sequence's end: its outputs there are zero, and its last state is its own.
        """
        layers = self.layers
        check_inputs(x, layers[0].input_size)
        state = tuple(cell.initial_state(x.shape[1]) for cell in layers) if state is None else state
        if len(state) != len(layers):
            raise ShapeError(f"The state must hold one tensor a layer, {len(layers)}, got {len(state)}.")
        lengths = check_lengths(lengths, starts, x.shape)
        resets = _resets(starts, x.shape, reverse=self.reverse)
        x = turned(numbers(x), lengths) if self.reverse else x
        last: list[Tensor] = []
        for depth, (cell, s0) in enumerate(zip(layers, state, strict=True)):
            if depth and self.training and self.dropout:
                x = F.dropout(numbers(x), self.dropout)
            name = choose(cell, self.backend, Pass.over(x) if torch.is_grad_enabled() else None)
            if lengths is None:
                x, s = _unroll(BACKENDS[name], cell, x, s0, resets)
            else:
                x, s = of_lengths(BACKENDS[name], cell, numbers(x), s0, lengths, whole=name == "native")
            last.append(s)
        outputs = numbers(x)
        return turned(outputs, lengths) if self.reverse else outputs, tuple(last)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout:g}, backend={self.backend!r}{', reverse=True' if self.reverse else ''}"


def _resets(starts: Tensor | None, shape: torch.Size, *, reverse: bool) -> dict[int, Tensor]:
    """The steps, in the order in which they are taken, before which some sequence starts afresh; which do, (B, 1)."""
    if starts is None:
        return {}
    if starts.shape != shape[:2] or starts.dtype != torch.bool:
        raise ShapeError(
            f"starts must be (time, batch), {tuple(shape[:2])}, of true or false; "
            f"got {tuple(starts.shape)} of {starts.dtype}."
        )
    starts = starts.flip(0) if reverse else starts
    steps: list[int] = starts.any(1).nonzero().flatten().tolist()
    return {t: starts[t].unsqueeze(-1) for t in steps}


def _unroll(run: Backend, cell: Cell, x: Read, s: Tensor, resets: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """The layer over all steps, in pieces that begin where a state is reset."""
    if not resets:
        return run(cell, x, s)
    pieces = []
    for begin, end in pairwise(sorted({0, *resets, len(x)})):
        if begin in resets:
            s = s.masked_fill(resets[begin], 0)
        piece, s = run(cell, x[begin:end], s)
        pieces.append(piece)
    return torch.cat(pieces), s
