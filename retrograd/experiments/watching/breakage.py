"""The first step of a training whose loss or gradient is no finite number: where it broke, found by running it again.

    arguments -> each module's output, the recurrent layers step by step -> the loss -> back through time

in the precision of the training, from the weights, arguments and random states of that step.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.errors import NotMeasured
from retrograd.experiments.watching.again import again, traced
from retrograd.experiments.watching.calls import Call
from retrograd.experiments.watching.nested import leaves
from retrograd.measures.nonfinite import NonFinitePlace, first_nonfinite
from retrograd.trace import Trace
from retrograd.trace.snapshot import untouched


@dataclass(frozen=True)
class Broken:
    """What is known of it. Beside what a trace knows, a place may be an "argument" or the "output" of a module."""

    step: int  # of the training, from 1
    what: str  # "loss" or "gradient": what was seen not to be finite
    place: NonFinitePlace | None  # None: the second run was finite throughout
    weights: tuple[str, ...] = ()  # those that were not finite before the step

    def __str__(self) -> str:
        where = f"first {self.place}" if self.place else "the forward run again was finite, so where is not known"
        had = f"; not finite before the step: {', '.join(self.weights)}" if self.weights else ""
        return f"The {self.what} was not finite at step {self.step:,}: {where}{had}."


def broken(model: nn.Module, calls: Sequence[Call], *, step: int, what: str) -> Broken:
    """Run the calls of a step again and look. `model` is left as it was found."""
    bad = tuple(name for name, p in model.named_parameters() if not p.isfinite().all())
    return Broken(step, what, _place(model, calls), bad)


def _place(model: nn.Module, calls: Sequence[Call]) -> NonFinitePlace | None:
    heard: list[tuple[str, Tensor]] = []
    trace = _run(model, calls, heard)
    size = (len(trace.layers[-1]), trace.layers[-1].states.shape[1]) if trace else None
    inside = first_nonfinite(trace) if trace else None
    back = inside if inside and "gradient" in inside.part else None
    if given := _given(model, calls, size):
        return given
    for name, output in heard:
        if not _sound(output):
            within = inside and inside.layer and f"{inside.layer}.".startswith(f"{name}." if name else "")
            return inside if within and not back else _in("output", name, output, size)
    if inside and not back and inside.part != "loss":
        return inside
    minus = (_in("output", name, output, size) for name, output in heard)  # often a mask, and no fault
    return _asked(calls, size) or back or next(minus, None)


def _given(model: nn.Module, calls: Sequence[Call], size: tuple[int, int] | None) -> NonFinitePlace | None:
    """The first in what the loop gave the model."""
    names = {module: name for name, module in model.named_modules()}
    for call in calls:
        name = names.get(call.plain) or type(call.plain).__name__
        for path, x in leaves(call.arguments):
            if path not in call.links and not _sound(x):
                return _in("argument", f"{name} ({path[2:]})", x, size)
    return None


def _asked(calls: Sequence[Call], size: tuple[int, int] | None) -> NonFinitePlace | None:
    """The first number that is not finite in what the loss wanted of the model's outputs."""
    found = (_in("loss", path, g, size) for call in calls for path, g in call.gradients.items())
    place = next((place for place in found if place), None)
    return replace(place, layer=None, unit=None) if place else None


def _run(model: nn.Module, calls: Sequence[Call], heard: list[tuple[str, Tensor]]) -> Trace | None:
    """The trace in the model's own precision, where it has one; `heard`: the outputs that are not finite, in order."""
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    with _listening(model, heard):
        try:
            return traced(model, calls, dtype=dtypes[0] if dtypes else torch.float32)
        except (NotMeasured, NotImplementedError, RuntimeError):
            heard.clear()
            with untouched(model), suppress(RuntimeError):
                list(again(calls))
            return None


@contextmanager
def _listening(model: nn.Module, heard: list[tuple[str, Tensor]]) -> Iterator[None]:
    """Every module's output, the inner before the outer: the order in which they are computed."""

    def listen(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if all(_sound(x) for _, x in heard):
            heard.extend((name, x.detach()) for _, x in leaves(output) if not _finite(x))

    hooks = [module.register_forward_hook(partial(listen, name)) for name, module in model.named_modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _in(part: str, name: str, x: Tensor, size: tuple[int, int] | None) -> NonFinitePlace | None:
    """The first of a tensor, in time where it has a time axis."""
    if _finite(x):
        return None
    steps, batch = size or (-1, -1)
    bad, value = ~x.isfinite(), x
    turned = x.dim() > 1 and x.shape[:2] == (batch, steps) != (steps, batch)
    if turned:
        bad, value = bad.transpose(0, 1), x.transpose(0, 1)
    where = bad.nonzero()[0].tolist() if x.dim() else []
    step: int | None = None
    row: int | None = None
    if turned or (x.dim() > 1 and x.shape[:2] == (steps, batch)):
        step, row, where_else = where[0] + 1, where[1], where[2:]
    elif x.dim() and x.shape[0] == batch:
        row, where_else = where[0], where[1:]
    else:
        where_else = where
    unit = where_else[-1] if where_else else None
    return NonFinitePlace(part, name or "the model", step, row, unit, None, float(value[tuple(where)]))


def _finite(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex()) or bool(x.isfinite().all())


def _sound(x: Tensor) -> bool:
    """Is nothing in it but numbers, and the negative infinities of a mask?"""
    return _finite(x) or not bool((x.isnan() | x.isposinf()).any())


def seen(loss: float | None, log_norm: float) -> str:
    """What of a step is not finite; nothing where all is."""
    if loss is not None and not math.isfinite(loss):
        return "loss"
    return "" if log_norm < math.inf else "gradient"
