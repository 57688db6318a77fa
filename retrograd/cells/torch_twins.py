"""Torch's recurrent modules as cells, and back.

    nn.RNN   Elman with tanh or relu          nn.GRU   GRU          nn.LSTM   LSTM

`from_torch` shares: its cells hold the module's own Parameter objects, so what trains one trains the other.
`constants` and `to_torch` copy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrograd.cells.base import Cell
from retrograd.cells.elman import Elman
from retrograd.cells.gru import GRU
from retrograd.cells.lstm import LSTM
from retrograd.cells.projected_lstm import ProjectedLSTM
from retrograd.errors import NotMeasured, UsageError

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def from_torch(module: nn.RNNBase) -> list[list[Cell]]:
    """The cells of a torch module, one list a layer and one cell a direction, on the very same parameters.

    >>> [[forward, backward]] = from_torch(nn.GRU(8, 16, bidirectional=True))
    >>> forward.weight_hh is module.weight_hh_l0
    True
    """
    return _cells(module, {suffix: _shared(module, suffix) for suffix in _suffixes(module)})


def constants(module: nn.RNNBase | nn.RNNCellBase, named: dict[str, Tensor], dtype: torch.dtype) -> list[list[Cell]]:
    """The same cells on copies of these weights, the `weights_in_use`; for reading alone.

    An nn.RNNCell, nn.GRUCell or nn.LSTMCell is one layer in one direction.
    """
    return _cells(module, {suffix: _copied(named, suffix, dtype) for suffix in _suffixes(module)})


def weights_in_use(module: nn.RNNBase | nn.RNNCellBase) -> dict[str, Tensor]:
    """By name, parametrised or not: for a fused module those that its forward hands to the kernel."""
    if isinstance(module, nn.RNNCellBase):
        named = {name: getattr(module, name, None) for name in PARAMETERS}
    else:
        if hasattr(module, "_update_flat_weights"):  # as its forward does, where a weight is computed
            module._update_flat_weights()
        named = dict(zip(module._flat_weights_names, module._flat_weights, strict=True))
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def _suffixes(module: nn.RNNBase | nn.RNNCellBase) -> list[str]:
    if isinstance(module, nn.RNNCellBase):
        return [""]
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions]


def _cells(module: nn.RNNBase | nn.RNNCellBase, weights: dict[str, dict[str, nn.Parameter]]) -> list[list[Cell]]:
    cells = [_filled(module, named) for named in weights.values()]
    ways = 2 if isinstance(module, nn.RNNBase) and module.bidirectional else 1
    return [cells[i : i + ways] for i in range(0, len(cells), ways)]


def _shared(module: nn.RNNBase, suffix: str) -> dict[str, nn.Parameter]:
    found = {}
    for name in PARAMETERS:
        parameter = getattr(module, name + suffix, None)
        if parameter is not None and not isinstance(parameter, nn.Parameter):
            raise NotMeasured(
                f"{name + suffix} is computed, not a parameter: the module is parametrised. "
                "Bake it in first (torch.nn.utils.parametrize.remove_parametrizations)."
            )
        found[name] = parameter
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def _copied(named: dict[str, Tensor], suffix: str, dtype: torch.dtype) -> dict[str, nn.Parameter]:
    return {
        name: nn.Parameter(named[name + suffix].detach().to(dtype, copy=True), requires_grad=False)
        for name in PARAMETERS
        if name + suffix in named
    }


def _filled(module: nn.RNNBase | nn.RNNCellBase, weights: dict[str, nn.Parameter]) -> Cell:
    with torch.device("meta"):  # draws nothing from the random generator and allocates nothing
        cell = _empty_cell(module, weights["weight_ih"].shape[1])
    for name, parameter in weights.items():
        setattr(cell, name, parameter)
    return cell.train(module.training)


def _empty_cell(module: nn.RNNBase | nn.RNNCellBase, input_size: int) -> Cell:
    size, bias = module.hidden_size, bool(module.bias)
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        projected = getattr(module, "proj_size", 0)
        return ProjectedLSTM(input_size, size, projected, bias=bias) if projected else LSTM(input_size, size, bias=bias)
    if isinstance(module, nn.GRU | nn.GRUCell):
        return GRU(input_size, size, bias=bias)
    if isinstance(module, nn.RNN | nn.RNNCell):
        return Elman(input_size, size, activation=module.nonlinearity, bias=bias)
    raise UsageError(f"Expected an nn.RNN, nn.GRU or nn.LSTM, or a cell of these, got {type(module).__name__}.")


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

    Raises UsageError where torch has no such module: sigmoid or identity, additive, several taps, layers that differ.
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
