"""How far a loss on the last step reaches in cells that nobody has trained.

Each is one of torch's own modules, as it comes or after an initialiser, fed with normal noise; nothing is unrolled
differently for the measurement. H hidden units, T steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.init import initialise_
from retrograd.measures import Horizon, horizon, reach
from retrograd.trace import record

CASES: dict[str, tuple[type[nn.RNN | nn.GRU | nn.LSTM], dict[str, Any], str]] = {
    "RNN, torch's default": (nn.RNN, {}, "default"),
    "GRU, torch's default": (nn.GRU, {}, "default"),
    "LSTM, torch's default": (nn.LSTM, {}, "default"),
    "RNN, orthogonal": (nn.RNN, {}, "orthogonal"),
    "IRNN": (nn.RNN, {"nonlinearity": "relu"}, "identity"),
    "np-RNN": (nn.RNN, {"nonlinearity": "relu"}, "np_rnn"),
    "LSTM, forget bias 1": (nn.LSTM, {}, "forget_bias=1"),
    "LSTM, forget bias 3": (nn.LSTM, {}, "forget_bias=3"),
}


@dataclass(frozen=True)
class Untrained:
    name: str
    horizon: Horizon


def untrained(
    *, hidden: int = 256, steps: int = 400, inputs: int = 64, batch: int = 8, seed: int = 0
) -> Iterator[Untrained]:
    """Each case's horizon in turn. torch's global random state is left alone."""
    for name, (kind, options, init) in CASES.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = kind(inputs, hidden, **options)
            initialise_(module, init)
            x, direction = torch.randn(steps, batch, inputs), torch.randn(hidden)
        yield Untrained(name, _last_step(module, x, direction))


def _last_step(module: nn.Module, x: Tensor, direction: Tensor) -> Horizon:
    """The horizon of a loss on the last step alone, the sum over the batch of h[T] along one direction."""
    return horizon(reach(record(module, lambda m: (m(x)[0][-1] @ direction).sum())))
