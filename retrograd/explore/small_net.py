"""A small Elman net with a loss at every step, as it is and unrolled into T feedforward layers.

    h_t = f(W_t h_{t-1} + b + U x_t + c)          L = sum over t of |h_t - y_t|^2 / 2

With one W for all t it is the recurrent net; with a W_t of its own at each step it has T layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.cells import Elman
from retrograd.cells.activations import activation_named
from retrograd.explore import checks, starts
from retrograd.init import initialise_

INPUTS = 3  # numbers that the net reads at a step
LONGEST = 60  # steps
LARGEST = 64  # units


@dataclass(frozen=True, eq=False)
class SmallNet:
    """In float64, for one sequence."""

    cell: Elman
    x: Tensor  # (T, 1, X)
    y: Tensor  # (T, 1, H)
    h0: Tensor  # (1, H)

    def whole(self) -> Tensor:
        """What autograd gives for the W_hh of the recurrent net, (H, H)."""
        h, loss = self.h0, torch.zeros((), dtype=self.h0.dtype)
        for p, target in zip(self.cell.project(self.x), self.y, strict=True):
            h = self.cell.recur(p, h)
            loss = loss + (h - target).square().sum() / 2
        return torch.autograd.grad(loss, self.cell.weight_hh)[0]

    def unrolled(self, weights: Sequence[Tensor]) -> Tensor:
        """The loss of T layers with these weights, each (H, H)."""
        f, bias = activation_named(self.cell.activation).function, self.cell.get_parameter("bias_hh").detach()
        h, loss = self.h0, torch.zeros((), dtype=self.h0.dtype)
        for p, target, W in zip(self.cell.project(self.x).detach(), self.y, weights, strict=True):
            h = f(p + h @ W.mT + bias)
            loss = loss + (h - target).square().sum() / 2
        return loss

    def layers(self, weights: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """The gradient at each layer's own weights; without any, at T copies of W_hh."""
        copies = [W.detach().clone().requires_grad_() for W in weights or [self.cell.weight_hh] * len(self.x)]
        return torch.autograd.grad(self.unrolled(copies), copies)


def small_net(steps: int, *, size: int, activation: str, start: str, seed: int) -> SmallNet:
    """With inputs, targets and a first state drawn from the seed."""
    checks.whole("steps", steps, most=LONGEST)
    checks.whole("size", size, most=LARGEST)
    activation_named(activation)
    with starts.seeded(seed):
        cell = Elman(INPUTS, size, activation=activation).double()
        initialise_(cell, start)
        x = torch.randn(steps, 1, INPUTS, dtype=torch.float64)
        y, h0 = torch.randn(steps, 1, size, dtype=torch.float64), torch.randn(1, size, dtype=torch.float64)
    return SmallNet(cell, x, y, h0)


def apart(found: Tensor, truth: Tensor) -> float:
    """The largest difference, as a share of the largest element."""
    largest = float(truth.abs().max())
    return float((found - truth).abs().max()) / (largest or 1.0)


def said(difference: float) -> str:
    """Such a share in words."""
    return "the last bit" if difference == 0 else f"{difference:.1g} of its largest element"


def thinned(steps: int, most: int = 12) -> list[int]:
    """The steps 1 .. T, or so many of them, the first and the last included."""
    return sorted({round(1 + i * (steps - 1) / (most - 1)) for i in range(most)})
