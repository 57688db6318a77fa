"""Forward and backward of one layer by native kernels beside torch's and JAX's, float32, inputs of size H.

    times torch = torch.nn's seconds / ours           share = operations a second / those of a large matrix product

All take turns in one process, of several passes where these are short, for in a training one follows the other; medians
of a pass. A step costs 2 G H (X + H) operations a row forward, twice that back (G gates).
Packed: sequences of 200 to 20 steps; torch.nn takes the PackedSequence, once with what makes it and takes it apart
again, once without. Denormals: an untrained layer, T = 500, whose loss is on the last step alone. JAX's lax.scan is
compiled beforehand, with the input products outside the scan; without JAX (extra `bench`) it is left out.

`python -m benchmarks.speed` takes all, `python -m benchmarks.speed rows` one of rows, packed, denormals.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks import jax_scan, results
from retrograd.bptt import Stack
from retrograd.bptt.denormals import flush_denormals
from retrograd.bptt.native import library, native_rows, shrinking
from retrograd.cells import from_torch

SHAPES = [(32, 50, 128), (32, 100, 256), (64, 50, 512), (1, 100, 128), (20, 35, 650)]  # B, T, H
MODULES = {"Elman": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
GATES = {"Elman": 1, "GRU": 3, "LSTM": 4}
BATCH, LONGEST, SHORTEST, HIDDEN = 32, 200, 20, 128  # packed
SECONDS = 3.0  # of each row, about
TURN = 0.03  # seconds that torch's turn lasts at least


def product() -> Callable[[], object]:
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return lambda: a @ b


def row(cell: str, batch: int, steps: int, hidden: int) -> dict[str, object]:
    torch.manual_seed(0)
    module = MODULES[cell](hidden, hidden)
    stack = Stack([layer for [layer] in from_torch(module)], backend="native")
    x, above = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
    wanted = [x, *module.parameters()]
    candidates: dict[str, Callable[[], object]] = {
        "torch": lambda: torch.autograd.grad(module(x)[0], wanted, above),
        "native": lambda: torch.autograd.grad(stack(x)[0], wanted, above),
        "product": product(),
    }
    if find_spec("jax"):
        candidates["jax"] = jax_scan.pass_of(cell, module, x.detach(), above)
    operations = 3 * 2 * GATES[cell] * hidden * 2 * hidden * steps * batch
    return _compared(candidates, operations)


def packed(cell: str) -> dict[str, object]:
    torch.manual_seed(0)
    module = MODULES[cell](HIDDEN, HIDDEN)
    stack = Stack([layer for [layer] in from_torch(module)], backend="native")
    lengths = torch.linspace(LONGEST, SHORTEST, BATCH).long()
    x, above = torch.randn(LONGEST, BATCH, HIDDEN, requires_grad=True), torch.randn(LONGEST, BATCH, HIDDEN)
    given = pack_padded_sequence(x.detach(), lengths)
    data, d_data = given.data.requires_grad_(), torch.randn_like(given.data)
    given, rows = given._replace(data=data), shrinking(given.batch_sizes, BATCH)
    wanted = [x, *module.parameters()]

    def by_torch() -> Tensor:
        return pad_packed_sequence(module(pack_padded_sequence(x, lengths))[0])[0]

    whole = {
        "torch": lambda: torch.autograd.grad(by_torch(), wanted, above),
        "native": lambda: torch.autograd.grad(stack(x, lengths=lengths)[0], wanted, above),
        "product": product(),
    }
    wanted_packed = [data, *module.parameters()]
    s0 = stack.initial_state(BATCH)[0]
    alone = {
        "torch": lambda: torch.autograd.grad(module(given)[0].data, wanted_packed, d_data),
        "native": lambda: torch.autograd.grad(native_rows(stack.layers[0], data, s0, rows)[0], wanted_packed, d_data),
        "product": product(),
    }
    operations = 3 * 2 * GATES[cell] * HIDDEN * 2 * HIDDEN * len(data)
    return {"with conversion": _compared(whole, operations), "without": _compared(alone, operations)}


def denormals(cell: str) -> dict[str, object]:
    torch.manual_seed(0)
    module = MODULES[cell](128, 128)
    stack = Stack([layer for [layer] in from_torch(module)], backend="native")
    x = torch.randn(500, 32, 128)
    wanted = list(module.parameters())

    def last(layer: nn.Module) -> None:
        torch.autograd.grad(layer(x)[0][-1].square().sum(), wanted)

    def flushed() -> None:
        with flush_denormals(True):
            last(stack)

    candidates = {"torch": lambda: last(module), "native": lambda: last(stack), "native, flushed": flushed}
    seconds = results.interleaved(candidates, rounds=5)
    return {name: results.summary(each[1:]) for name, each in seconds.items()}


def _compared(candidates: dict[str, Callable[[], object]], operations: int) -> dict[str, object]:
    warm = results.interleaved(candidates, rounds=2)
    passes = max(1, round(TURN / warm["torch"][1]))
    turns = {name: partial(_passes, run, passes if name != "product" else 1) for name, run in candidates.items()}
    rounds = max(7, min(60, int(SECONDS / sum(each[1] for each in results.interleaved(turns, rounds=2).values()))))
    taken = results.interleaved(turns, rounds=rounds)
    seconds = {name: results.summary([s / turns[name].args[1] for s in each]) for name, each in taken.items()}
    large = 2 * 2048**3 / seconds.pop("product")["median"]
    middle = {name: each["median"] for name, each in seconds.items()}
    return {
        "times torch": middle["torch"] / middle["native"],
        "share of a large product": {name: operations / s / large for name, s in middle.items()},
        "seconds": seconds,
    }


def _passes(run: Callable[[], object], passes: int) -> None:
    for _ in range(passes):
        run()


def main() -> None:
    kernels = library()
    if isinstance(kernels, str):
        sys.exit(f"There are no native kernels to measure: {kernels}.")
    asked = sys.argv[1:] or ["rows", "packed", "denormals"]
    found: dict[str, object] = {"instructions": kernels.set, "threads": torch.get_num_threads()}
    if "rows" in asked:
        named = {
            f"{cell} {batch}, {steps}, {hidden}": (cell, batch, steps, hidden)
            for batch, steps, hidden in SHAPES
            for cell in MODULES
        }
        found["B, T, H"] = {name: row(*shape) for name, shape in named.items()}
    if "packed" in asked:
        found["packed"] = {cell: packed(cell) for cell in MODULES}
    if "denormals" in asked:
        found["denormals"] = {cell: denormals(cell) for cell in MODULES}
    results.write("speed", **found)


if __name__ == "__main__":
    main()
