"""Three ways to take all time steps; the numbers are the same.

fused       torch's kernels, where torch has one
manual      backpropagation through time by hand, where the cell has a closed form
reference   the plain loop under autograd, always
"""

from collections.abc import Callable

from torch import Tensor

from retrograd.bptt.fused import fused, no_kernel
from retrograd.bptt.manual import manual, no_closed_form
from retrograd.bptt.reference import reference
from retrograd.cells import Cell
from retrograd.errors import UnknownName, UsageError

Backend = Callable[[Cell, Tensor, Tensor], tuple[Tensor, Tensor]]  # (cell, x, s0) -> (outputs, last state)

BACKENDS: dict[str, Backend] = {
    "fused": fused,
    "manual": manual,
    "reference": reference,
}  # the order of preference

OBSTACLES: dict[str, Callable[[Cell], str | None]] = {"fused": no_kernel, "manual": no_closed_form}


def choose(cell: Cell, name: str = "auto") -> str:
    """The backend asked for, or with "auto" the fastest that fits; a UsageError says why one does not."""
    if name == "auto":
        return next(candidate for candidate in BACKENDS if _obstacle(cell, candidate) is None)
    if name not in BACKENDS:
        raise UnknownName("backend", name, ["auto", *BACKENDS])
    if reason := _obstacle(cell, name):
        raise UsageError(f"The backend {name!r} does not fit: {reason}. Try {choose(cell)!r} or 'auto'.")
    return name


def _obstacle(cell: Cell, name: str) -> str | None:
    return OBSTACLES[name](cell) if name in OBSTACLES else None
