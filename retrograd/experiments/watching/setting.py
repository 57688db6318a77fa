"""All that a forward pass depends on beside its arguments and the weights, to be put back for a second one.

    random states     torch's on every device, Python's, numpy's
    attributes        what the forward itself replaces or writes to: a carried state, a counter, buffers
    autocast          on which kind of device, to which precision

Taking all of it costs about a tenth of a millisecond, so it is looked once what a model's forward really draws from and
replaces, and from then on only that is taken.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from retrograd.experiments.watching.nested import leaves, mapped

GENERATORS = ("torch", "cuda", "python", "numpy")
MISSING = object()  # an attribute that was not there before
OWN = frozenset(vars(nn.Module()))  # what nn.Module itself keeps on every instance
Box = dict[str, Any]


@dataclass
class Habits:
    """What the forward of a model was seen to draw from and to replace: (where, name, is it written to in place?)."""

    drawn: set[str] = field(default_factory=set)
    replaced: dict[tuple[int, str], tuple[Box, str, bool]] = field(default_factory=dict)


@dataclass
class Setting:
    """Of one forward pass, taken before it."""

    generators: dict[str, Any]
    attributes: list[tuple[Box, str, Any]]
    autocast: list[tuple[str, bool, torch.dtype]]
    whole: bool  # is everything in it, or what the habits say?
    copies: list[Any] = field(default_factory=list)  # of `attributes`, for those that are written to
    versions: list[list[int]] = field(default_factory=list)

    def learn(self, habits: Habits, model: nn.Module) -> None:
        """After the forward: keep what it has changed, and remember that it does."""
        habits.drawn |= {name for name, before in self.generators.items() if not _same(_drawn(name), before)}
        self.generators = {name: x for name, x in self.generators.items() if name in habits.drawn}
        kept: list[tuple[Box, str, Any]] = []
        for (box, name, value), copy, versions in zip(self.attributes, self.copies, self.versions, strict=True):
            in_place = _versions(value) != versions
            if in_place or box.get(name, MISSING) is not value:
                habits.replaced[id(box), name] = box, name, in_place
                kept.append((box, name, copy if in_place else value))
        had = {(id(box), name) for box, name, _ in self.attributes}
        for box, name in _places(model):
            if (id(box), name) not in had:
                habits.replaced[id(box), name] = box, name, False
                kept.append((box, name, MISSING))
        self.attributes, self.copies, self.versions = kept, [], []

    @property
    def live(self) -> bool:
        """Does an attribute hold something that an earlier forward of the same step computed, gradient and all?"""
        return any(x.grad_fn is not None for *_, value in self.attributes for x in _tensors(value))

    @contextmanager
    def restored(self, *, attributes: bool) -> Iterator[None]:
        """Random states, and attributes, as they were before; the caller puts back what this changes."""
        for name, state in self.generators.items():
            _draw_from(name, state)
        for box, name, value in self.attributes if attributes else ():
            if value is MISSING:
                box.pop(name, None)
            else:  # a copy, which a forward that writes to it may spoil
                box[name] = _copy(value)
        with ExitStack() as stack:
            for kind, on, dtype in self.autocast:
                stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=on))
            yield


def take(model: nn.Module, habits: Habits, *, whole: bool) -> Setting:
    """What the forward that comes next depends on: everything, or what it was seen to depend on."""
    names = GENERATORS if whole else habits.drawn
    generators = {name: state for name in names if (state := _drawn(name)) is not None}
    kinds = ["cpu", "cuda"] if torch.cuda.is_initialized() else ["cpu"]  # type: ignore[no-untyped-call]
    autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]
    if whole:
        places = [(box, name, box[name]) for box, name in _places(model)]
        return Setting(
            generators,
            places,
            autocast,
            True,
            copies=[_copy(value) for *_, value in places],
            versions=[_versions(value) for *_, value in places],
        )
    replaced = [
        (box, name, _copy(value) if in_place else value)
        for box, name, in_place in habits.replaced.values()
        for value in [box.get(name, MISSING)]
    ]
    return Setting(generators, replaced, autocast, False)


def _places(model: nn.Module) -> Iterator[tuple[Box, str]]:
    """Every attribute of every module that is its author's own, and every buffer that a forward in training reads."""
    for module in model.modules():
        own = vars(module)
        yield from ((own, name) for name in own if name not in OWN)
        if not (isinstance(module, _NormBase) and module.training):  # running means, written and not read
            yield from ((module._buffers, name) for name in module._buffers)


def _tensors(value: Any) -> Iterable[Tensor]:
    return (x for _, x in leaves(value) if not isinstance(x, nn.Parameter))


def _copy(value: Any) -> Any:
    return mapped(value, lambda _, x: x if isinstance(x, nn.Parameter) else x.detach().clone())


def _versions(value: Any) -> list[int]:
    return [x._version for x in _tensors(value)]


def _drawn(name: str) -> Any:
    """The state of a generator; None where there is none."""
    match name:
        case "torch":
            return torch.get_rng_state()
        case "cuda":
            on: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            return torch.cuda.get_rng_state_all() if on else None
        case "python":
            return random.getstate()
        case _:
            return numpy.random.get_state()


def _draw_from(name: str, state: Any) -> None:
    match name:
        case "torch":
            torch.set_rng_state(state)
        case "cuda":
            torch.cuda.set_rng_state_all(state)
        case "python":
            random.setstate(state)
        case _:
            numpy.random.set_state(state)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, list):
        return all(map(torch.equal, one, other))
    if isinstance(one[1], numpy.ndarray):
        return one[2] == other[2] and numpy.array_equal(one[1], other[1])
    return bool(one == other)
