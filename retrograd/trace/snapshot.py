"""A model put back exactly as it was found: attributes, buffers, mode, hooks and random numbers.

    with untouched(model):
        model(x)            may draw dropout masks, update running means, keep its state in self.hidden

Inside the block the model works on copies of its buffers, so nothing that autograd saved is written to on the way out.
Weights and their `.grad` are written to only where a loss has changed them. What a model keeps in tensors that it
writes to in place, or in objects of its own, cannot be put back.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore on the way out, also when something raises, all that the block changed in `model` or drew at random."""
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    scripted = [module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    found = [Attributes(module) for module in modules]
    weights = [_Weight(p) for p in model.parameters()]
    weights += [_Weight(b, silent=True) for module in scripted for b in module.buffers(recurse=False)]
    python, arrays = random.getstate(), numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if _cuda_in_use() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            for module in modules:
                buffers = module._buffers
                buffers.update({name: b.clone() for name, b in buffers.items() if b is not None})
            yield
    finally:
        for record in found:
            record.restore()
        for weight in weights:
            weight.restore()
        random.setstate(python)
        numpy.random.set_state(arrays)


def _cuda_in_use() -> bool:
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return in_use


class _Weight:
    """A parameter and its gradient; `silent`: may it be written to without its version telling, as by TorchScript?"""

    def __init__(self, p: Tensor, *, silent: bool = False) -> None:
        self.p, self.grad, self.silent = p, p.grad, silent
        self.kept = [(x, x._version, x.detach().clone()) for x in (p, p.grad) if x is not None]

    def restore(self) -> None:
        self.p.grad = self.grad
        with torch.no_grad():
            for x, version, value in self.kept:
                if x._version != version or self.silent:
                    x.copy_(value)


class Attributes:
    """A module's attributes, and the contents of those that are dicts (its buffers and hooks are), lists or sets."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        kinds = (dict, list, set)
        self.contents = [(box, box.copy()) for box in self.attributes.values() if isinstance(box, kinds)]

    def restore(self) -> None:
        attributes = vars(self.module)
        attributes.clear()
        attributes.update(self.attributes)
        for box, content in self.contents:
            refill(box, content)


def refill(box: Any, content: Any) -> None:
    box.clear()
    if isinstance(box, list):
        box.extend(content)
    else:
        box.update(content)
