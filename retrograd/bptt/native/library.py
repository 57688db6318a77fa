"""The library of kernels: finding it, what it can do here, and calling it.

It is not linked against torch. Tensors come in as addresses, and the team of threads is torch's own: the OpenMP runtime
that torch has loaded is asked for three of its functions.
"""

import ctypes
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import count, takewhile
from pathlib import Path

import torch
from torch import Tensor

NAME = "libretrograd_kernels"
VERSION = 4  # of the fields below and the functions, as in source/library.cpp
ELSEWHERE = "RETROGRAD_KERNELS"  # an environment variable: the library to load instead, or "off"

_integer, _address = ctypes.c_int64, ctypes.c_void_p


class Task(ctypes.Structure):
    """What one call works on; the same fields as in source/task.h, where they are explained."""

    _fields_ = (
        *((name, _integer) for name in ("cell", "activation", "wide", "threads", "steps", "batch", "hidden")),
        *((name, _address) for name in ("rows", "begin", "weight", "bias", "first", "kept", "table", "tokens")),
        *((name, _address) for name in ("h", "c", "last")),
        *((name, _address) for name in ("d_h", "d_last", "d", "d_first", "d_states")),
    )


class Softmax(ctypes.Structure):
    """Logits whose loss is asked for; as in source/task.h."""

    _fields_ = (
        *((name, _integer) for name in ("wide", "threads", "rows", "size")),
        ("logits", _address),
        ("targets", _address),
        ("ignored", _integer),
        ("scale", ctypes.c_double),
        ("losses", _address),
    )


class Sweep(ctypes.Structure):
    """What enters a layer at some steps, to be taken back; as in source/task.h."""

    _fields_ = (
        *((name, _integer) for name in ("wide", "threads", "steps", "batch", "hidden", "parts", "gates", "entries")),
        *((name, _address) for name in ("at", "weight", "to_a", "direct", "units", "logs", "entering")),
        *((name, _address) for name in ("log_norms", "total")),
    )


class Library:
    """The kernels, ready to be called, and the instruction sets that fit this processor, the best first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        if not hasattr(self._library, "retrograd_version") or self._library.retrograd_version() != VERSION:
            raise OSError("it was built from other sources; install the package again")
        self._library.retrograd_set.restype = ctypes.c_char_p
        self._library.retrograd_run.argtypes = (ctypes.c_char_p, ctypes.POINTER(Task), ctypes.c_int)
        self.sets = tuple(name.decode() for name in takewhile(bool, map(self._library.retrograd_set, count())))
        self.set = self.sets[0]
        self.team = _team()
        if self.team is not None:
            addresses = (ctypes.cast(getattr(self.team, name), _address) for name in _TEAM)
            self._library.retrograd_team(*addresses)

    def run(self, task: Task, *, back: bool) -> None:
        """Raises MemoryError where there is none left."""
        failed = self._library.retrograd_run(self.set.encode(), ctypes.byref(task), back)
        if failed == 1:
            raise MemoryError(f"No memory for the weights of {task.hidden} units; try a smaller hidden size.")
        assert not failed, f"unknown cell or instruction set: {task.cell}, {self.set}"

    def softmax(self, task: Softmax) -> None:
        failed = self._library.retrograd_softmax(self.set.encode(), ctypes.byref(task))
        assert not failed, f"unknown instruction set: {self.set}"

    def sweep(self, task: Sweep) -> None:
        """Raises MemoryError where there is none left."""
        failed = self._library.retrograd_sweep(self.set.encode(), ctypes.byref(task))
        if failed == 1:
            raise MemoryError(f"No memory for {task.entries} gradients of {task.hidden} units; take fewer entries.")
        assert not failed, f"unknown instruction set: {self.set}"

    def flush(self, on: Sequence[bool]) -> list[bool]:
        """Set each thread of the team to take denormal numbers as zero or not; how it was set before."""
        flags = (ctypes.c_uint8 * len(on))(*on)
        self._library.retrograd_flush(len(on), flags)
        return list(map(bool, flags))


_TEAM = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


@cache
def library() -> Library | str:
    """The library, or why there is none."""
    named = os.environ.get(ELSEWHERE)
    if named == "off":
        return f"{ELSEWHERE}=off"
    path = Path(named) if named else _beside()
    if path is None:
        return "the package was installed without its kernels, as where no C++17 compiler is found"
    try:
        return Library(path)
    except OSError as error:
        return f"{path.name} cannot be loaded: {error}"


def missing() -> str | None:
    """Why there is no library, or None where there is one."""
    found = library()
    return found if isinstance(found, str) else None


# what torch.compiler.assume_constant_result sets, which would import all of torch's compiler: more than a second
missing._dynamo_marked_constant = True  # type: ignore[attr-defined]


def loaded() -> Library:
    """The library, where it is known that there is one."""
    found = library()
    assert isinstance(found, Library), found
    return found


def _beside() -> Path | None:
    """The file, in any of the folders that the package consists of: an editable install has two."""
    spec = find_spec(__package__ or __name__.rpartition(".")[0])
    folders: Sequence[str] = (spec.submodule_search_locations if spec else None) or []
    files = (file for folder in folders for file in sorted(Path(folder).glob(f"{NAME}.*")))
    return next(files, None)


def _team() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch has loaded; None where it is not one that speaks GNU's dialect."""
    torch.ones(1)
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    for path in dict.fromkeys(re.findall(r"(/\S*/lib(?:gomp|omp|iomp5)\S*\.so\S*)$", maps, re.MULTILINE)):
        runtime = ctypes.CDLL(path)
        if all(hasattr(runtime, name) for name in _TEAM):
            return runtime
    return None


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
