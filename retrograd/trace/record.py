"""Run a model once and keep every state of its recurrent layers within reach of the gradient.

    trace = record(model, lambda m: F.cross_entropy(m(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y))

A fused nn.LSTM shows neither its inner states nor their gradients: hooks on its output see the direct gradient only,
exactly zero before the last step when the loss is there. So for the time of one forward pass each recurrent module is
replayed layer by layer with its own weights, in float64, where a vanished float32 gradient is still a number.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrograd.bptt.stack import Stack
from retrograd.cells import Cell, from_torch
from retrograd.errors import NotMeasured
from retrograd.numerics import flush_denormals
from retrograd.trace.modules import Layers, Passage, stack_forward, torch_forward
from retrograd.trace.replay import Run, Tape
from retrograd.trace.snapshot import untouched
from retrograd.trace.trace import LayerTrace, Trace

FORWARDS = (nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward, Stack.forward)


def record(model: nn.Module, loss: Callable[[nn.Module], Tensor], *, dtype: torch.dtype = torch.float64) -> Trace:
    """Call `loss(model)` and return its trace; the model and the random numbers are left as they were found.

    `loss` runs the model's own forward and returns the losses of all steps, (T, B) or (T,), or a single number.
    The model is measured in the mode it is in, with dropout if it is training. A call that starts from the very
    state tensors that the module's last call returned continues it, as in decoding token by token; any other call
    of the module begins a trajectory of its own.

    >>> model = nn.LSTM(8, 16)
    >>> record(model, lambda m: m(torch.randn(20, 4, 8))[0].square().sum(-1)).layers[0].states.shape
    torch.Size([21, 4, 32])

    Raises NotMeasured where no recurrent layer runs, or the loss does not depend on one.
    """
    passages = {}
    with untouched(model), torch.enable_grad(), flush_denormals(False):
        for name, module in model.named_modules():
            if isinstance(module, Stack | nn.RNNBase):
                passages[name or type(module).__name__.lower()] = _patch(module, dtype)
        losses = loss(model)
        _check(losses)
        total = losses.sum()
    layers = tuple(layer for name, passage in passages.items() for layer in _layers(name, passage, total))
    if not layers:
        raise NotMeasured("No nn.RNN, nn.GRU, nn.LSTM or Stack ran while the loss was computed; there is no state.")
    return Trace(layers, losses)


def _patch(module: Stack | nn.RNNBase, dtype: torch.dtype) -> Passage:
    """Replace the module's forward on the instance alone; `untouched` takes it off again."""
    if type(module).forward not in FORWARDS or "forward" in vars(module):
        raise NotMeasured(
            f"The forward of this {type(module).__name__} is not torch's own, so that its steps are not known. Call "
            "the nn.RNN, nn.GRU or nn.LSTM from a module around it."
        )
    shared = [[cell] for cell in module.layers] if isinstance(module, Stack) else from_torch(module)
    passage = Passage([[_constant(cell, dtype) for cell in cells] for cells in shared])
    if isinstance(module, Stack):
        vars(module)["forward"] = stack_forward(module, passage)
    else:
        vars(module)["forward"] = torch_forward(module, passage)
    return passage


def _constant(cell: Cell, dtype: torch.dtype) -> Cell:
    return copy.deepcopy(cell).to(dtype).requires_grad_(False)


def _check(losses: Tensor) -> None:
    if not isinstance(losses, Tensor) or losses.dim() > 2:
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise NotMeasured(f"The loss must be (time, batch), (time,) or a single number, got {shape}.")
    if not losses.requires_grad:
        raise NotMeasured(
            "The loss carries no gradient. Was it computed under torch.no_grad(), or from detached outputs?"
        )


def _layers(name: str, passage: Passage, loss: Tensor) -> list[LayerTrace]:
    layers = []
    for number, passes in enumerate(passage.trajectories, start=1):
        for (suffix, reverse), runs in zip(_places(passage.layers), zip(*passes, strict=True), strict=True):
            full = f"{name}.{suffix}" + (f" ({number})" if number > 1 else "")
            layers.append(_layer(full, runs, loss, reverse=reverse))
    return layers


def _places(layers: Layers) -> list[tuple[str, bool]]:
    """Of each cell, lowest layer first: what its layer is called within the module, and whether it runs in reverse."""
    both = ("", False), (".reverse", True)
    return [(f"l{layer}{end}", reverse) for layer, cells in enumerate(layers) for end, reverse in both[: len(cells)]]


def _layer(name: str, runs: tuple[Run, ...], loss: Tensor, *, reverse: bool) -> LayerTrace:
    cell = runs[0].cell
    tape = Tape(
        cell,
        starts=_joined([run.tape.starts for run in runs], runs, empty=False),
        live=_joined([run.tape.live for run in runs], runs, empty=True),
        steps=[step for run in runs for step in run.tape.steps],
    )
    return LayerTrace(
        name=name,
        reverse=reverse,
        cell=cell,
        inputs=torch.cat([run.inputs for run in runs]),
        states=torch.cat([runs[0].states, *(run.states[1:] for run in runs[1:])]),
        tape=tape,
        runs=runs,
        loss=loss,
    )


def _joined(masks: list[Tensor | None], runs: tuple[Run, ...], *, empty: bool) -> Tensor | None:
    """The runs' masks end to end, `empty` where a run has none; None where none has."""
    if all(mask is None for mask in masks):
        return None
    blank = [run.inputs.new_full(run.inputs.shape[:2], empty, dtype=torch.bool) for run in runs]
    return torch.cat([b if m is None else m for b, m in zip(blank, masks, strict=True)])
