"""The kernels as a backend, for the cells that they know."""

import torch
from torch import Tensor

from retrograd.bptt.embedded import Embedded, Read, numbers
from retrograd.bptt.native import compiled
from retrograd.bptt.native.library import missing
from retrograd.bptt.native.operation import ADDITIVE, ELMAN, GRU, LSTM, Kind, Rows, Sequence, Weights, full
from retrograd.bptt.shapes import check_shapes
from retrograd.cells import GRU as GRUCell
from retrograd.cells import LSTM as LSTMCell
from retrograd.cells import Additive, Cell, Elman

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")  # as in source/vectors.h
KINDS: dict[type[Cell], int] = {Elman: ELMAN, GRUCell: GRU, LSTMCell: LSTM, Additive: ADDITIVE}


def native(cell: Cell, x: Read, s0: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)), differentiable once."""
    check_shapes(cell, x, s0)
    steps, batch, _ = x.shape
    if torch.compiler.is_compiling():
        flat, s0 = _in_its_type(cell, numbers(x).flatten(0, 1), s0)
        h, last, *_ = compiled.sequence(flat, s0, *weights_of(cell), steps, *kind_of(cell))
    elif isinstance(x, Embedded) and x.repeats:
        h, last = native_rows(cell, x.table, s0, full(steps, batch)._replace(tokens=_tokens(x)))
    else:
        h, last = native_rows(cell, numbers(x).flatten(0, 1), s0, full(steps, batch))
    return h.view(steps, batch, -1), last


def _tokens(x: Embedded) -> Tensor:
    """(N). Raises IndexError for one that the table has not."""
    lowest, highest = x.tokens.aminmax()
    if lowest < 0 or highest >= len(x.table):
        raise IndexError(f"Tokens must be from 0 to {len(x.table) - 1}, got {int(lowest)} to {int(highest)}.")
    # one after the other, and a copy, for they may be written over before the way back
    return x.tokens.flatten().long().clone(memory_format=torch.contiguous_format)


def native_rows(cell: Cell, x: Tensor, s0: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """(h (N, H), last state (B, S)) of rows x (N, X) that lie packed, the longest sequence first."""
    x, s0 = _in_its_type(cell, x, s0)
    found: tuple[Tensor, Tensor] = Sequence.apply(kind_of(cell), rows, x, s0, *weights_of(cell))  # type: ignore[no-untyped-call]
    return found


def _in_its_type(cell: Cell, *given: Tensor) -> tuple[Tensor, ...]:
    """In the weights' type under autocast, where what came by way of a product is in another."""
    dtype = cell.weight_ih.dtype
    return tuple(x.to(dtype) for x in given) if torch.is_autocast_enabled("cpu") else given


def no_native(cell: Cell) -> str | None:
    """Why this cell cannot run on the kernels, or None where it can."""
    if type(cell) not in KINDS:
        return "the native kernels know Elman, GRU, LSTM and the additive cell only"
    if reason := missing():
        return f"there are no native kernels here: {reason}"
    W = cell.weight_ih
    if W.device.type != "cpu" or W.dtype not in (torch.float32, torch.float64):
        return f"the native kernels take float32 and float64 on the CPU, and this cell is {W.dtype} on {W.device}"
    return None


def kind_of(cell: Cell) -> Kind:
    activation = ACTIVATIONS.index(cell.activation) if isinstance(cell, Elman | Additive) else 0
    return Kind(KINDS[type(cell)], activation)


def weights_of(cell: Cell) -> Weights:
    return Weights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
