"""The initialisers of `retrograd.init` as remedies: what they draw replaces what the recurrent layers have learned."""

import inspect
from collections.abc import Callable

from torch import nn

from retrograd.init import INITS
from retrograd.remedies.patch import Course, Loss, Patch, Plain

DISCARDS = "It discards what the recurrent layers have learned."


def start(name: str) -> Patch:
    """The initialiser of that name; the numbers that it takes are its own."""
    init = INITS[name]
    taken = list(inspect.signature(init).parameters.values())[1:]
    return Patch(
        name=name,
        kind="start",
        note=f"{(init.__doc__ or '').splitlines()[0]} {DISCARDS}",
        change=_applied(init),
        numbers=tuple(p.name for p in taken),
        required=sum(p.default is p.empty for p in taken),
    )


def _applied(init: Callable[..., None]) -> Callable[..., Course]:
    def change(model: nn.Module, loss: Loss, *numbers: float) -> Course:
        init(model, *numbers)
        return Plain()

    return change
