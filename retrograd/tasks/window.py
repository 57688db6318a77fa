"""A window: T steps of B sequences, the unit that one optimiser step or one evaluation step sees.

inputs  (T, B)  token ids            targets (T, B)  token ids, IGNORED where nothing is asked
starts  (T, B)  true where sequence b begins anew before step t: its state is zero there; None: nowhere
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # torch's own ignore_index


@dataclass(frozen=True)
class Window:
    inputs: Tensor
    targets: Tensor
    starts: Tensor | None
    epoch: float  # passes over the training data at the end of this window

    def first(self, sequences: int) -> "Window":
        """The first so many of its sequences."""
        starts = None if self.starts is None else self.starts[:, :sequences]
        return Window(self.inputs[:, :sequences], self.targets[:, :sequences], starts, self.epoch)

    def to(self, device: torch.device) -> "Window":
        starts = None if self.starts is None else self.starts.to(device)
        return Window(self.inputs.to(device), self.targets.to(device), starts, self.epoch)


@dataclass(frozen=True)
class Stream:
    """Token ids in reading order and the places where a document begins; `first` is the input before all."""

    ids: Tensor  # (N,)
    starts: Tensor  # (N,) bool
    first: int

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, *, carry: bool) -> Tensor:
        """Each token's input is the token before it; at a start it is `first` unless the state is carried over."""
        inputs = self.ids.roll(1)
        inputs[0] = self.first
        return inputs if carry else torch.where(self.starts, self.first, inputs)


def windows_in(stream: Stream, *, batch: int, window: int) -> int:
    """How many windows one pass has."""
    return math.ceil(math.ceil(len(stream) / min(batch, len(stream))) / window)


def cut(stream: Stream, *, batch: int, window: int, carry: bool, epoch: int = 0, first: int = 0) -> Iterator[Window]:
    """One pass: the stream in `batch` pieces of equal length side by side, read `window` steps at a time, from the
    window `first` on.

    Every token is a target exactly once; the last piece is filled up with IGNORED. A piece starts with a zero
    state and goes on from window to window.
    """
    n = len(stream)
    batch = min(batch, n)
    length = math.ceil(n / batch)
    fill = (0, batch * length - n)
    inputs, targets, starts = (
        torch.nn.functional.pad(x, fill, value=value).view(batch, length).t()
        for x, value in ((stream.inputs(carry=carry), 0), (stream.ids, IGNORED), (stream.starts, False))
    )
    starts = torch.zeros_like(starts) if carry else starts.clone()
    starts[0] = True
    for t in range(first * window, length, window):
        rows = slice(t, min(t + window, length))
        begin = starts[rows]
        yield Window(inputs[rows], targets[rows], begin if bool(begin.any()) else None, epoch + rows.stop / length)
