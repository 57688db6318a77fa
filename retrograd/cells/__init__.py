"""One time step of a recurrent layer: its equation, and its derivative in closed form."""

import inspect

from retrograd.cells.additive import Additive
from retrograd.cells.base import Cell, Local
from retrograd.cells.elman import Elman
from retrograd.cells.gru import GRU
from retrograd.cells.lstm import LSTM
from retrograd.cells.multi_tap import MultiTap
from retrograd.cells.projected_lstm import ProjectedLSTM
from retrograd.cells.torch_twins import constants, from_torch, to_state_dict, to_torch, weights_in_use
from retrograd.errors import ConfigError, UnknownName

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "Additive",
    "Cell",
    "Elman",
    "Local",
    "MultiTap",
    "ProjectedLSTM",
    "constants",
    "from_torch",
    "make_cell",
    "to_state_dict",
    "to_torch",
    "weights_in_use",
]

CELLS: dict[str, type[Elman] | type[GRU] | type[LSTM] | type[Additive] | type[MultiTap]] = {
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
    "additive": Additive,
    "multi-tap": MultiTap,
}


def make_cell(name: str, input_size: int, hidden_size: int, **options: object) -> Cell:
    """The cell of that name: `make_cell("elman", 8, 16, activation="relu")`."""
    if name not in CELLS:
        raise UnknownName("cell", name, CELLS)
    known = list(inspect.signature(CELLS[name]).parameters)[2:]
    for option in options:
        if option not in known:
            raise ConfigError(f"The cell {name!r} takes no {option!r}; it takes {', '.join(known)}.")
    make: type = CELLS[name]
    cell: Cell = make(input_size, hidden_size, **options)
    return cell
