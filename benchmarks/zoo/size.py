"""How large a zoo model is made: the tests take it small, the benchmark large."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Loss = Callable[[nn.Module], Tensor]
Made = tuple[nn.Module, Loss]


@dataclass(frozen=True)
class Size:
    steps: int = 12
    batch: int = 3
    hidden: int = 8


SMALL = Size()
LARGE = Size(steps=100, batch=16, hidden=64)
