"""A model as it stood, to go back to.

    before = Snapshot(model)
    ...                         new weights, other attributes, replaced modules, a training
    before.restore()            the same bits, the same objects

Kept are the modules' attributes (submodules, hooks, mode and buffers among them), the weights, their `.grad` and
whether they are trained. A weight is written to only where it has changed. What a model keeps in objects of its own is
not followed.
"""

import torch
from torch import Tensor, nn

from retrograd.trace.snapshot import Attributes


class Snapshot:
    """The state of `model` at the moment this is made."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [Attributes(module) for module in model.modules()]
        self._tensors = [_Value(x) for x in (*model.parameters(), *model.buffers())]

    def restore(self) -> None:
        for module in self._modules:
            module.restore()
        for tensor in self._tensors:
            tensor.restore()


class _Value:
    """A tensor, its gradient, and the numbers in both."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.grad, self.trained = x, x.grad if x.is_leaf else None, x.requires_grad
        kept = (x,) if self.grad is None else (x, self.grad)
        self.values = [(y, y.detach().clone()) for y in kept]

    def restore(self) -> None:
        if self.x.is_leaf:
            self.x.requires_grad_(self.trained)
            self.x.grad = self.grad
        with torch.no_grad():
            for y, value in self.values:
                same = (y == value) | (y.isnan() & value.isnan())
                if not same.all():
                    y.copy_(value)
