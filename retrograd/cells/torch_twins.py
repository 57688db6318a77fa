"""Torch's recurrent modules as cells, and back.

    nn.RNN   Elman with tanh or relu          nn.GRU   GRU          nn.LSTM   LSTM

`from_torch` shares: its cells hold the module's own Parameter objects, so what trains one trains the other.
`to_torch` copies.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrograd.cells.base import Cell
from retrograd.cells.elman import Elman
from retrograd.cells.gru import GRU
from retrograd.cells.lstm import LSTM
from retrograd.errors import NotMeasured, UsageError

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module: nn.RNNBase) -> list[list[Cell]]:
    """The cells of a torch module, one list a layer and one cell a direction, on the very same parameters.

    >>> [[forward, backward]] = from_torch(nn.GRU(8, 16, bidirectional=True))
    >>> forward.weight_hh is module.weight_hh_l0
    True
    """
    if module.proj_size:
        raise NotMeasured("An nn.LSTM with proj_size has a state of another shape; use proj_size=0.")
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [[_share(module, f"_l{layer}{direction}") for direction in directions] for layer in range(module.num_layers)]


def _share(module: nn.RNNBase, suffix: str) -> Cell:
    input_size = getattr(module, f"weight_ih{suffix}").shape[1]
    with torch.device("meta"):  # draws nothing from the random generator and allocates nothing
        cell = _empty_cell(module, input_size)
    for name in PARAMETERS[: 4 if module.bias else 2]:
        parameter = getattr(module, name + suffix)
        if not isinstance(parameter, nn.Parameter):
            raise NotMeasured(
                f"{name + suffix} is computed, not a parameter: the module is parametrised. "
                "Bake it in first (torch.nn.utils.parametrize.remove_parametrizations)."
            )
        setattr(cell, name, parameter)
    return cell.train(module.training)


def _empty_cell(module: nn.RNNBase, input_size: int) -> Cell:
    if isinstance(module, nn.LSTM):
        return LSTM(input_size, module.hidden_size, bias=module.bias)
    if isinstance(module, nn.GRU):
        return GRU(input_size, module.hidden_size, bias=module.bias)
    if isinstance(module, nn.RNN):
        return Elman(input_size, module.hidden_size, activation=module.nonlinearity, bias=module.bias)
    raise UsageError(f"Expected an nn.RNN, nn.GRU or nn.LSTM, got {type(module).__name__}.")


def to_torch(cells: Sequence[Cell]) -> nn.RNN | nn.GRU | nn.LSTM:
    """A torch module (time first) with copies of the weights of these layers, lowest first."""
    _check_twin(cells)
    first = cells[0]
    shape = {"num_layers": len(cells), "bias": first.bias_ih is not None}
    device, dtype = first.weight_ih.device, first.weight_ih.dtype
    sizes = first.input_size, first.hidden_size
    module: nn.RNN | nn.GRU | nn.LSTM
    with torch.device("meta"):
        if isinstance(first, LSTM):
            module = nn.LSTM(*sizes, **shape)
        elif isinstance(first, GRU):
            module = nn.GRU(*sizes, **shape)
        else:
            module = nn.RNN(*sizes, nonlinearity=first.activation, **shape)
    module = module.to(dtype).to_empty(device=device)
    module.load_state_dict(to_state_dict(cells))
    return module


def to_state_dict(cells: Sequence[Cell]) -> dict[str, Tensor]:
    """The weights under torch's names, `weight_ih_l0` and so on, lowest layer first; detached, not copied.

    Raises UsageError where torch has no such module: sigmoid or identity, additive, layers that differ.
    """
    _check_twin(cells)
    return {
        f"{name}_l{layer}": parameter.detach()
        for layer, cell in enumerate(cells)
        for name, parameter in cell.named_parameters()
    }


def _check_twin(cells: Sequence[Cell]) -> None:
    kinds = {_kind(cell) for cell in cells}
    if len(kinds) != 1:
        raise UsageError(
            "A torch module has layers of one kind, size and bias, each fed by the one below; got "
            f"{'; '.join(map(repr, cells)) or 'no layers'}."
        )
    if any(upper.input_size != upper.hidden_size for upper in cells[1:]):
        raise UsageError(f"Layers above the first must take {cells[0].hidden_size} inputs in a torch module.")


def _kind(cell: Cell) -> tuple[object, ...]:
    activation = cell.activation if isinstance(cell, Elman) else None
    if not isinstance(cell, Elman | GRU | LSTM) or activation not in (None, "tanh", "relu"):
        raise UsageError(f"Torch has no module for {cell!r}; it has RNN with tanh or relu, GRU and LSTM.")
    return type(cell), activation, cell.hidden_size, cell.bias_ih is None
