"""What a bad model or a bad loss is made of, and what can be expected of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import retrograd as rg

T, B, X, H = 10, 4, 3, 6


class Net(nn.Module):
    """What is wrong comes on top of it."""

    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.body, self.rnn, self.head = nn.Linear(X, X), kind(X, H, **options), nn.Linear(H, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.head(self.rnn(self.body(x))[0]).squeeze(-1)


def data(steps=T, batch=B, **options):
    return torch.randn(steps, batch, X, **options)


def each(x=None):
    x = data() if x is None else x
    return lambda m: m(x).square()


@dataclass(frozen=True)
class Sentence:
    """A RetrogradError whose sentence holds this."""

    pattern: str


@dataclass(frozen=True)
class Own:
    """What the model itself raises, as it is."""


@dataclass(frozen=True)
class Report:
    """A report, of which this is true."""

    holds: Callable[[rg.Report], object]


def replayed_exactly(report):
    """Were the losses of the replay the model's own?"""
    return not any("replayed loss" in note for note in report.notes)


class Cases(dict[str, tuple[Callable[[], tuple[nn.Module, object]], Sentence | Own | Report]]):
    """Of each name, what makes the model and its loss, and what is expected."""

    def expect(self, expected: Sentence | Own | Report):
        def add(make):
            self[make.__name__.replace("_", " ")] = make, expected
            return make

        return add
