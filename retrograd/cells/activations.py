"""The non-linearities of a plain cell, each with its derivative written in terms of its own output.

    tanh      y = tanh(z)             y' = 1 - y^2       at most 1
    relu      y = max(z, 0)           y' = [y > 0]       0 or 1
    sigmoid   y = 1 / (1 + exp(-z))   y' = y (1 - y)     at most 1/4
    identity  y = z                   y' = 1

Each derivative needs y alone: a forward pass that keeps its states has kept all that the way back needs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import UnknownName


@dataclass(frozen=True)
class Activation:
    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]  # y -> dy/dz
    steepest: float  # the largest dy/dz


def _identity(z: Tensor) -> Tensor:
    return z


def _tanh_slope(y: Tensor) -> Tensor:
    return 1 - y * y


def _relu_slope(y: Tensor) -> Tensor:
    return (y > 0).to(y.dtype)


def _sigmoid_slope(y: Tensor) -> Tensor:
    return y * (1 - y)


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, _tanh_slope, 1.0),
    "relu": Activation(torch.relu, _relu_slope, 1.0),
    "sigmoid": Activation(torch.sigmoid, _sigmoid_slope, 0.25),
    "identity": Activation(_identity, torch.ones_like, 1.0),
}


def activation_named(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise UnknownName("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
