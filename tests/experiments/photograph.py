"""All that can be seen of a model and of torch, taken before something is done, and compared with itself after.

before = Photograph(with_gradients(model))
...
before.compare()            weights, .grad, buffers, modes, hooks, attributes, random states, classes, settings
"""

import random

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from retrograd.bptt.denormals import denormals_are_flushed

RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


class Photograph:
    """All that can be seen of a model and of torch, to be compared with itself later."""

    def __init__(self, model):
        self.model = model
        self.values = self.tensors(copy=True)
        self.things = self.identities()
        self.settings = self.globals()
        self.alive = list(self.things.values())  # so that no id is given out again

    def compare(self):
        now = self.tensors(copy=False)
        assert now.keys() == self.values.keys()
        for name, then in self.values.items():
            assert _same(now[name], then), name
        things = self.identities()
        assert things.keys() == self.things.keys()
        for name, thing in things.items():
            assert thing is self.things[name] or thing == self.things[name], name
        for name, setting in self.globals().items():
            assert _same(setting, self.settings[name]), name

    def tensors(self, *, copy):
        found = {}
        for name, p in [*self.model.named_parameters(), *self.model.named_buffers()]:
            if isinstance(p, nn.parameter.UninitializedParameter):
                continue
            for label, x in ((name, p), (f"{name}.grad", p.grad if p.is_leaf else None)):
                found[label] = x.detach().clone() if copy and x is not None else x
        return found

    def identities(self):
        """Each attribute of each module, and what its dicts (parameters, buffers, hooks), lists and sets hold."""
        found = {}
        for path, module in self.model.named_modules():
            found[f"{path}: mode"] = module.training
            for name, value in vars(module).items():
                found[f"{path}: {name}"] = value
                if isinstance(value, dict):
                    found |= {f"{path}: {name}[{key!r}]": inner for key, inner in value.items()}
                    found[f"{path}: order of {name}"] = list(value)
            for name, p in module._parameters.items():
                found[f"{path}: {name} requires grad"] = p is not None and p.requires_grad
                found[f"{path}: {name} grad"] = None if p is None else p.grad
        return found

    def globals(self):
        arrays = numpy.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
            "numpy": [arrays[0], arrays[1].tolist(), *arrays[2:]],
            "classes": [kind.forward for kind in RECURRENT],
            "calls": [nn.Module.__call__, nn.Module.__setattr__, F.dropout, torch.stack],
            "switches": [torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()],
            "settings": [torch.get_default_dtype(), denormals_are_flushed(), torch.get_num_threads()],
        }


def _same(now, then):
    if not isinstance(then, torch.Tensor) or now is None:
        return now is then or (not isinstance(now, torch.Tensor) and now == then)
    if then.is_meta:
        return now.is_meta and now.shape == then.shape
    now, then = (x.to_dense() if x.is_sparse else x for x in (now, then))
    return now.dtype == then.dtype and bool(torch.equal(now.isnan(), then.isnan())) and _equal(now, then)


def _equal(now, then):
    return torch.equal(now.nan_to_num(), then.nan_to_num()) if now.is_floating_point() else torch.equal(now, then)


def with_gradients(model):
    """As in the midst of a training: something is in every .grad that is empty."""
    for p in model.parameters():
        if p.grad is None and p.requires_grad and not isinstance(p, nn.parameter.UninitializedParameter):
            p.grad = torch.ones_like(p)
    return model
