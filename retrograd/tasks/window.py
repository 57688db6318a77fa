"""A window: T steps of B sequences, the unit that one optimiser step or one evaluation step sees.

inputs   (T, B)  token ids, or (T, B, X) numbers
targets  (T, B)  token ids, IGNORED where nothing is asked; or numbers, NaN where nothing is asked
starts   (T, B)  true where sequence b begins anew before step t: its state is zero there; None: nowhere
lengths  (B,)    steps of each sequence, behind which lies padding; None: all T
source           what the sequences are made from: sentences (S, B) of token ids, IGNORED before their first token, or
                 images (B, C, height, width)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # torch's own ignore_index


@dataclass(frozen=True)
class Sizes:
    """What a model for a task must read and answer."""

    inputs: int  # types of token, or numbers at each step
    outputs: int  # types that are told apart; 1 where a number is asked
    numbers: bool = False  # are the inputs numbers?
    source: int = 0  # types of the source's tokens, or channels of its images; 0: there is none
    height: int = 0  # of the images, in pixels
    width: int = 0

    @property
    def measure(self) -> str:
        """What the loss is."""
        return "squared error" if self.outputs == 1 else "nats"


@dataclass(frozen=True)
class Window:
    inputs: Tensor
    targets: Tensor
    starts: Tensor | None
    epoch: float  # passes over the training data at the end of this window
    source: Tensor | None = None
    lengths: Tensor | None = None

    @property
    def asked(self) -> Tensor:
        """(T, B): where there is something to answer."""
        return ~self.targets.isnan() if self.targets.is_floating_point() else self.targets != IGNORED

    def first(self, sequences: int) -> "Window":
        """The first so many of its sequences."""
        return self.each(lambda name, x: x[:sequences] if batch_first(name, x) else x[:, :sequences])

    def to(self, device: torch.device) -> "Window":
        return self.each(lambda name, x: x.to(device))

    def each(self, change: Callable[[str, Tensor], Tensor]) -> "Window":
        """With each of its tensors changed."""
        changed: dict[str, Any] = {name: change(name, x) for name, x in self.tensors.items()}
        return replace(self, **changed)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its parts by name, those that it has."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: x for name, x in parts.items() if isinstance(x, Tensor)}


def batch_first(name: str, x: Tensor) -> bool:
    """Is the batch the first axis of this part of a window, and not the second?"""
    return name == "lengths" or (name == "source" and x.dim() > 2)


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
