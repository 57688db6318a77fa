"""A deep feedforward net that is measured as a recurrent one is: its layers are the time steps.

    h_k = f(W_k h_{k-1} + b_k)          k = 1 .. L

One module computes every layer, and is told which beside the activation that it returned before. So record sees h_k as
its state at step k, and every measure of a trace speaks of layers where it says steps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrograd.cells.activations import activation_named
from retrograd.trace import register


class Layer(nn.Module):
    """Any one of the layers."""

    def __init__(self, made: Sequence[tuple[Tensor, Tensor]], activation: str) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(W.clone()) for W, _ in made])
        self.biases = nn.ParameterList([nn.Parameter(b.clone()) for _, b in made])
        self.function = activation_named(activation).function

    def forward(self, h: Tensor, k: Tensor) -> tuple[Tensor]:
        """h (B, H) and the layer's number k (B, 1), the same in all of the batch; the new h, as the first of one."""
        i = int(k[0, 0])
        return (self.function(h @ self.weights[i].mT + self.biases[i]),)


class DeepNet(nn.Module):
    """Layers of the same width, each with weights (H, H) and biases (H) of its own.

    >>> net = DeepNet([(torch.randn(64, 64) / 8, torch.zeros(64)) for _ in range(30)], activation="tanh")
    >>> trace = record(net, lambda net: net(torch.randn(16, 64)).square().sum())
    >>> horizon(reach(trace)).display  # in layers
    '>30'
    """

    def __init__(self, made: Sequence[tuple[Tensor, Tensor]], *, activation: str = "tanh") -> None:
        super().__init__()
        register(Layer, state="h", returns=0)
        self.layer = Layer(made, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H) -> h_L (B, H)."""
        h = x
        for k in range(len(self.layer.weights)):
            (h,) = self.layer(h, torch.full((len(x), 1), float(k), dtype=x.dtype, device=x.device))
        return h
