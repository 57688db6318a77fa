"""A module's own code run in another precision: its tensors are exchanged for the time of a call.

    with Precision(module, torch.float32, torch.float64).exchanged():
        module.forward(x.double())          weights are constants; buffers and attributes go on as they are

What the code sets or writes into meanwhile is kept, in the module's own precision. Nothing is copied but tensors, so
what somebody hangs on a module between two calls, such as a mask or the outputs of an encoder, is what it runs with.
Where the code names its own precision or names none, the other is meant; random numbers are those that it would draw.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retrograd.trace.snapshot import refill
from retrograd.trace.trees import leaves, mapped

MADE = {torch.zeros, torch.ones, torch.empty, torch.full, torch.eye, torch.linspace, torch.tensor}
DRAWN = {torch.rand, torch.randn, torch.rand_like, torch.randn_like, torch.normal, torch.bernoulli, Tensor.bernoulli}
DRAWN_INTO = {Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.exponential_}
Copies = dict[int, tuple[Tensor, Tensor, int]]  # by the copy's id: the tensor, its copy, the copy's version


class Precision:
    """One module in `dtype` instead of its `own`."""

    def __init__(self, module: nn.Module, own: torch.dtype, dtype: torch.dtype) -> None:
        self.parts, self.own, self.dtype = list(module.modules()), own, dtype
        self._weights: dict[int, tuple[nn.Parameter, int, nn.Parameter]] = {}

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Inside, the module runs in `dtype`."""
        slots = [slot for part in self.parts for slot in _slots(part)]
        copies: Copies = {}
        put = [(box, name, value, mapped(value, lambda _, x: self._copy(x, copies))) for box, name, value in slots]
        for box, name, _, new in put:
            box[name] = new
        try:
            with _Meant(self.own, self.dtype) if self.own != self.dtype else nullcontext():
                yield
        finally:
            for box, name, value, new in put:
                if name in box:
                    box[name] = self._back(value, new, box[name], copies)
            known = {(id(box), name) for box, name, _ in slots}
            for box, name, value in [slot for part in self.parts for slot in _slots(part)]:
                if (id(box), name) not in known:
                    box[name] = self._back(value, value, value, copies)

    def _copy(self, x: Tensor, copies: Copies) -> Tensor:
        copy = self._weight(x) if isinstance(x, nn.Parameter) else _cast(x, self.own, self.dtype)
        copies[id(copy)] = (x, copy, copy._version)
        return copy

    def _weight(self, p: nn.Parameter) -> nn.Parameter:
        """A constant, and yet with a graph: what a cell puts out depends on its state also at the first step."""
        kept = self._weights.get(id(p))
        if kept is None or kept[1] != p._version:
            data = _cast(p.detach(), self.own, self.dtype)
            kept = p, p._version, nn.Parameter(data, requires_grad=data.is_floating_point())
            self._weights[id(p)] = kept
        return kept[2]

    def _back(self, value: Any, put: Any, now: Any, copies: Copies) -> Any:
        """What stands in the place of `value` afterwards: itself, if the code has left alone what was put there."""

        def changed(x: Tensor) -> bool:
            return id(x) not in copies or copies[id(x)][2] != x._version

        if now is put and not any(changed(x) for _, x in leaves(now)) and _size(now) == _size(value):
            return value
        if now is put and isinstance(value, Tensor) and now.grad_fn is None:  # such as a running mean
            with torch.no_grad():
                return value.copy_(now)
        new = mapped(now, lambda _, x: _cast(x, self.dtype, self.own) if changed(x) else copies[id(x)][0])
        if now is not put or not isinstance(value, list | dict):
            return new
        refill(value, new)  # as somebody else may hold it
        return value


class _Meant(TorchFunctionMode):
    """What code that was written for the precision `own` means in another."""

    def __init__(self, own: torch.dtype, dtype: torch.dtype) -> None:
        super().__init__()
        self.own, self.dtype = own, dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        own, dtype, kwargs = self.own, self.dtype, kwargs or {}
        if func in DRAWN_INTO and args[0].dtype == dtype:
            return args[0].copy_(func(torch.empty_like(args[0], dtype=own), *args[1:], **kwargs))
        if func is F.dropout and (kwargs.get("training", True) if len(args) < 3 else args[2]):
            x = kwargs.pop("input") if "input" in kwargs else args[0]
            return x * func(torch.ones_like(x, dtype=own), *args[1:], **kwargs).to(x.dtype)
        if func is Tensor.float and own == torch.float32:
            return args[0].to(dtype)
        if func in DRAWN:
            args, kwargs = mapped((args, kwargs), lambda _, x: _cast(x, dtype, own))
            args, kwargs = _asked(args, dtype, own), _asked(kwargs, dtype, own)
        else:
            args, kwargs = _asked(args, own, dtype), _asked(kwargs, own, dtype)
        out = func(*args, **kwargs)
        return _cast(out, own, dtype) if func in DRAWN or func in MADE else out


def _asked(tree: Any, old: torch.dtype, new: torch.dtype) -> Any:
    """The same arguments, where one of them is the name of a precision another."""
    if isinstance(tree, dict):
        return {key: _asked(value, old, new) for key, value in tree.items()}
    if type(tree) is tuple:
        return tuple(_asked(value, old, new) for value in tree)
    return new if tree is old else tree


def _cast(x: Tensor, old: torch.dtype, new: torch.dtype) -> Tensor:
    return x.to(new) if x.dtype == old else x


def _slots(part: nn.Module) -> list[tuple[dict[str, Any], str, Any]]:
    """The places of a module that hold floating tensors, in whatever container."""
    found = [(box, name, x) for box in (part._parameters, part._buffers) for name, x in box.items()]
    plain = ("_parameters", "_buffers", "_modules")
    found += [(vars(part), name, x) for name, x in vars(part).items() if name not in plain and "hooks" not in name]
    return [(box, name, x) for box, name, x in found if any(y.is_floating_point() for _, y in leaves(x))]


def _size(tree: Any) -> int:
    return len(tree) if isinstance(tree, list | dict) else 0
