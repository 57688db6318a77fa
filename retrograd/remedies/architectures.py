"""Other equations in the place of a plain nn.RNN, whoever calls it.

    irnn             h' = max(0, z), W_hh = I                 Le et al., 2015: the same module, another activation
    gated_cell       nn.GRU, its update gate at sigmoid(b)    Cho et al., 2014: takes and gives what nn.RNN does
    additive_path    h' = h + a f(z)                          Kusupati et al., 2018: on the same weights

A module is replaced wherever in the model it hangs, also where it hangs twice; our own Stack changes its cells.
"""

import math
from collections.abc import Callable, Iterator

from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, Cell, Elman, from_torch
from retrograd.cells.activations import activation_named
from retrograd.errors import ConfigError, UsageError
from retrograd.init import forget_bias_, identity_
from retrograd.remedies.patch import Course, Loss, Plain
from retrograd.remedies.residual import Residual, ResidualRNN
from retrograd.remedies.unrolled import recurrent_modules
from retrograd.trace import record

TORCH_MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}


def irnn(model: nn.Module, loss: Loss) -> Course:
    """ReLU in each plain layer, which then starts as the identity."""
    plain = list(_plain(model, "irnn"))
    for module in plain:
        identity_(module)  # refuses what cannot be set, before anything of it has changed
    for module in plain:
        if isinstance(module, Stack):
            for cell in module.layers:
                vars(cell).update(activation="relu", _f=activation_named("relu"))
        else:
            vars(module).update(nonlinearity="relu", mode=TORCH_MODES["relu"])
    return Plain()


def gated_cell(model: nn.Module, loss: Loss, bias: float | None = None) -> Course:
    """A GRU of the same sizes for each plain layer. Without a bias, memory lasts for the steps of the loss's data."""
    plain = list(_plain(model, "gated_cell"))
    keeps = math.log(max(_length(model, loss) - 1, 2)) if bias is None else bias
    for module in plain:
        if isinstance(module, Stack):
            _exchange_cells(module, _gru_cell, keeps)
        else:
            _replace(model, module, _forgetting(_gru(module), keeps))
    return Plain()


def additive_path(model: nn.Module, loss: Loss, share: float | None = None) -> Course:
    """h' = h + share f(z). Without a share it is one over the steps of the loss's data."""
    plain = list(_plain(model, "additive_path"))
    for module in plain:
        if isinstance(module, nn.RNN) and module.bidirectional:
            raise UsageError("additive_path runs in one direction, and this nn.RNN in both. Try irnn or gated_cell.")
    a = 1 / _length(model, loss) if share is None else share
    if not 0 < a <= 1:
        raise ConfigError(f"The share of additive_path must be over 0 and at most 1, got {a:g}.")
    for module in plain:
        if isinstance(module, Stack):
            _exchange_cells(module, lambda cell: Residual(cell, a), None)
        else:
            cells = [Residual(cell, a) for (cell,) in from_torch(module) if isinstance(cell, Elman)]
            _replace(model, module, ResidualRNN(module, cells))
    return Plain()


def _plain(model: nn.Module, remedy: str) -> Iterator[nn.RNN | Stack]:
    """The recurrent modules, all of them plain, or one UsageError."""
    for name, module in recurrent_modules(model).items():
        label = name or type(module).__name__
        if isinstance(module, Stack):
            if not all(isinstance(cell, Elman) for cell in module.layers):
                kinds = ", ".join(sorted({type(cell).__name__ for cell in module.layers}))
                raise UsageError(f"{remedy} is for Elman cells, and {label} has {kinds}.")
            yield module
        elif isinstance(module, nn.RNN):
            yield module
        else:
            raise UsageError(f"{remedy} is for a plain nn.RNN, and {label} is an nn.{type(module).__name__}.")


def _length(model: nn.Module, loss: Loss) -> int:
    return max(map(len, record(model, loss).layers))


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Wherever `old` hangs in `model`."""
    if model is old:
        raise UsageError(
            f"The model is itself the nn.{type(old).__name__}, which cannot be replaced in place. Put it in a module."
        )
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _exchange_cells(stack: Stack, make: Callable[[Elman], Cell], bias: float | None) -> None:
    for at, cell in enumerate(stack.layers):
        assert isinstance(cell, Elman)
        new = make(cell)
        stack.cells[at] = new if bias is None else _forgetting(new, bias)
    stack.backend = "auto"


def _gru_cell(cell: Elman) -> GRU:
    new = GRU(cell.input_size, cell.hidden_size, bias=cell.bias_ih is not None)
    return new.to(cell.weight_ih).train(cell.training)


def _gru(module: nn.RNN) -> nn.GRU:
    like = next(module.parameters())
    new = nn.GRU(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bias=module.bias,
        batch_first=module.batch_first,
        dropout=module.dropout,
        bidirectional=module.bidirectional,
        device=like.device,
        dtype=like.dtype,
    )
    return new.train(module.training)


def _forgetting(module: Cell | nn.GRU, bias: float) -> Cell | nn.GRU:
    forget_bias_(module, bias)
    return module
