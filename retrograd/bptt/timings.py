"""Which backend is the fastest, measured on this machine and remembered.

A layer's own shape, rounded up to powers of two in time, batch and types, is taken forward and back by each candidate
in turn. What was found is kept in one small file for each user, `backends.json`, under names that tell the machine,
torch, the kernels and the number of threads, so that the next process need not measure again. Where it cannot be
written it is measured once in each process. Nothing is drawn at random, and the layer itself is not touched.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from retrograd.bptt.embedded import Backend, Embedded, Read
from retrograd.bptt.native import library
from retrograd.cells import Cell

WORTH = 1e7  # multiplications of a pass under which nothing is measured: the first candidate is taken
MOST = 1e9  # ... and to which a pass is cut down, by its steps
ROUNDS = 8  # the quickest of each counts: what else the machine does only slows them
EQUAL = 1.05  # times the quickest's seconds: who is no slower than that is as quick, for all that was measured

_known: dict[str, dict[str, float]] = {}


class Pass(NamedTuple):
    """What a layer is taken over; `types` of the tokens that it reads, 0 where it reads numbers."""

    steps: int
    batch: int
    types: int = 0

    @classmethod
    def over(cls, x: Read) -> Self:
        steps, batch, _ = x.shape
        return cls(steps, batch, len(x.table) if isinstance(x, Embedded) else 0)


def fastest(cell: Cell, candidates: dict[str, Backend], shape: Pass) -> str:
    """The name of the backend that trains this layer fastest on such a pass, or the first where that is little."""
    steps, batch, _ = shape
    work = steps * batch * len(cell.weight_ih) * (cell.input_size + cell.hidden_size)
    if len(candidates) < 2 or (work < WORTH and not cell.weight_ih.is_cuda):  # on a GPU each launch counts
        return next(iter(candidates))
    return quickest(seconds(cell, candidates, shape), candidates)


def quickest(found: dict[str, float], order: Iterable[str]) -> str:
    """The one of these seconds, or of several that are as quick the first in that order."""
    return next(name for name in order if found[name] <= EQUAL * min(found.values()))


def seconds(cell: Cell, candidates: dict[str, Backend], shape: Pass) -> dict[str, float]:
    """Of a forward and backward pass by each candidate, as was measured here once."""
    steps, batch, types = map(_rounded, shape)
    timed = max(4, min(steps, int(MOST / (batch * len(cell.weight_ih) * (cell.input_size + cell.hidden_size)))))
    types = types if types < timed * batch else 0  # else nothing is looked up
    read = f" of {types} types" if types else ""
    layer = f"{type(cell).__name__}({cell.extra_repr()}) {steps}x{batch}{read} {cell.weight_ih.dtype}"
    kernels = library()
    instructions = None if isinstance(kernels, str) else kernels.set
    of = f"{_machine(cell.weight_ih.device, instructions, torch.get_num_threads())} {layer}"
    found = _known.get(of) or _remembered().get(of)
    if found is None or set(found) != set(candidates):
        found = _measured(cell, candidates, Pass(timed, batch, types))
        _remember(of, found)
    _known[of] = found
    return found


def where() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "retrograd" / "backends.json"


def _measured(cell: Cell, candidates: dict[str, Backend], shape: Pass) -> dict[str, float]:
    cell = deepcopy(cell).requires_grad_()
    like, (steps, batch, types) = cell.weight_ih, shape
    vectors = torch.linspace(-1, 1, (types or steps * batch) * cell.input_size, dtype=like.dtype, device=like.device)
    vectors = vectors.view(-1, cell.input_size).requires_grad_()
    tokens = torch.arange(steps * batch, device=like.device).view(steps, batch)
    wanted = [vectors, *cell.parameters()]
    s0, d_outputs = cell.initial_state(batch), like.new_ones(steps, batch, cell.hidden_size)
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    with torch.enable_grad():
        x: Read = Embedded(vectors, tokens % types) if types else vectors.view(steps, batch, -1)
        for _ in range(ROUNDS):
            for name, run in candidates.items():
                taken[name].append(_once(partial(run, cell, x, s0), wanted, d_outputs))
    return {name: min(each[1:]) for name, each in taken.items()}


def _once(forward: Callable[[], tuple[Tensor, Tensor]], wanted: list[Tensor], d_outputs: Tensor) -> float:
    """Infinite where a kernel does not fit this GPU after all: it is then never taken."""
    begin = _now(d_outputs)
    try:
        torch.autograd.grad(forward()[0], wanted, d_outputs)
    except RuntimeError:
        return math.inf
    return _now(d_outputs) - begin


def _now(like: Tensor) -> float:
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()


def _rounded(n: int) -> int:
    return 1 << (n - 1).bit_length() if n else 0


@cache
def _machine(device: torch.device, instructions: str | None, threads: int) -> str:
    found = library()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    kernels = "none" if isinstance(found, str) else f"{instructions} of {found.path.stat().st_mtime_ns}"
    return f"{platform.node()} {processor()} {gpu} torch {torch.__version__} kernels {kernels} threads {threads}"


def processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def _remembered() -> dict[str, dict[str, float]]:
    """What an earlier process found; nothing where there is no file, or none that can be read."""
    with suppress(OSError, ValueError):
        found = json.loads(where().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {name: each for name, each in found.items() if _is_entry(each)}
    return {}


def _is_entry(each: object) -> bool:
    return isinstance(each, dict) and all(isinstance(s, float) and s > 0 for s in each.values())


def _remember(name: str, found: dict[str, float]) -> None:
    """In one rename, so that no reader sees half a file; of two writers at once the later one's entry is kept."""
    with suppress(OSError):
        file = where()
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(_remembered() | {name: found}, indent=1) + "\n", encoding="utf-8")
        draft.replace(file)
