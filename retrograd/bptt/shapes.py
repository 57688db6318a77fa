"""The shapes every backend takes: x (T, B, X) and s0 (B, S), with at least one step."""

from torch import Tensor

from retrograd.bptt.embedded import Read
from retrograd.cells import Cell
from retrograd.errors import ShapeError


def check_inputs(x: Read, input_size: int) -> None:
    if x.dim() != 3 or x.shape[-1] != input_size or not len(x):
        raise ShapeError(
            f"x must be (time, batch, {input_size}) with at least one step, got {tuple(x.shape)}. "
            "If batch comes first, pass x.transpose(0, 1)."
        )


def check_shapes(cell: Cell, x: Read, s0: Tensor) -> None:
    check_inputs(x, cell.input_size)
    if s0.shape != (x.shape[1], cell.state_size):
        raise ShapeError(
            f"The first state must be (batch, state), {(x.shape[1], cell.state_size)}, got {tuple(s0.shape)}. "
            "For zeros, pass cell.initial_state(batch)."
        )
