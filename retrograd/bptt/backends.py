"""Five ways to take all time steps; the numbers are the same.

native      whole sequences in C++, where the package was built with them
fused       torch's kernels, where torch has one
persistent  Triton kernels on a GPU, for a W_hh that fits into the registers of a multiprocessor
manual      backpropagation through time by hand, where the cell has a closed form
reference   the plain loop under autograd, always
"""

from collections.abc import Callable

import torch

from retrograd.bptt.embedded import Backend, of_numbers
from retrograd.bptt.fused import fused, no_kernel
from retrograd.bptt.manual import manual, no_closed_form
from retrograd.bptt.native import native, no_native
from retrograd.bptt.persistent import no_program, persistent
from retrograd.bptt.reference import reference
from retrograd.bptt.timings import Pass, fastest
from retrograd.cells import Cell
from retrograd.errors import UnknownName, UsageError

BACKENDS: dict[str, Backend] = {
    "native": native,
    "fused": of_numbers(fused),
    "persistent": of_numbers(persistent),
    "manual": of_numbers(manual),
    "reference": of_numbers(reference),
}  # the order of preference

OBSTACLES: dict[str, Callable[[Cell], str | None]] = {
    "native": no_native,
    "fused": no_kernel,
    "persistent": no_program,
    "manual": no_closed_form,
}
QUICK = ("native", "fused", "persistent")  # which of these is the fastest depends on shape and machine


def choose(cell: Cell, name: str = "auto", shape: Pass | None = None) -> str:
    """The backend asked for, or with "auto" the fastest that fits; a UsageError says why one does not.

    With the shape of a pass the fastest is the one that was measured so on this machine; without it, and where a pass
    takes next to no time, it is the first in the order of preference.
    """
    if name == "auto":
        fitting = [candidate for candidate in BACKENDS if _obstacle(cell, candidate) is None]
        if shape is None or torch.compiler.is_compiling() or fitting[0] not in QUICK:
            return fitting[0]
        return fastest(cell, quick(cell), shape)
    if name not in BACKENDS:
        raise UnknownName("backend", name, ["auto", *BACKENDS])
    if reason := _obstacle(cell, name):
        raise UsageError(f"The backend {name!r} does not fit: {reason}. Try {choose(cell)!r} or 'auto'.")
    return name


def quick(cell: Cell) -> dict[str, Backend]:
    """The backends that may be the fastest for this cell."""
    return {name: BACKENDS[name] for name in QUICK if _obstacle(cell, name) is None}


def _obstacle(cell: Cell, name: str) -> str | None:
    return OBSTACLES[name](cell) if name in OBSTACLES else None
