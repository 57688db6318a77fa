"""Layers that show no state from step to step: the gradient at each step's input instead, and named as such.

    x[k] + probe[k]          probe = 0: what the loss of step t is to x[k], it is to probe[k]

A linear recurrence computed by a scan or a convolution, or a loop written into a model's own forward, mixes the steps
without handing out what travels between them. Which layers mix is found by trying: does the output of one step depend
on the input of another? Of modules within one another the innermost is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.errors import NotMeasured
from retrograd.trace.recording import Place, Recording
from retrograd.trace.replay import Run, Steps
from retrograd.trace.trees import Path, leaves, mapped

KIND = "Inputs"


class NoSteps(Steps):
    """There is no linear map from step to step to be had."""

    def back(self, t: int, delta: Tensor) -> Tensor:
        raise NotMeasured("No state travels from step to step where it could be seen, so there is no Jacobian.")


@dataclass(frozen=True, eq=False)
class _Layer:
    """A module that mixes steps, with the input that it does it to."""

    module: nn.Module
    x: Tensor  # (T, B, X)
    probe: Tensor  # (T+1, B, X), zeros: all but the first of it is added to x


class _Search:
    """The modules of one pass, each looked at when it is left."""

    def __init__(self, steps: int, batch: int) -> None:
        self.steps, self.batch = steps, batch
        self.open: list[tuple[nn.Module, Tensor, dict[int, Tensor]] | None] = []
        self.found: list[_Layer] = []

    def enters(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        self.open.append(None)

        def change(_: Path, x: Tensor) -> Tensor:
            axes = self.axes(x) if self.open[-1] is None and x.is_floating_point() else []
            if not axes:
                return x
            width = x.numel() // (self.steps * self.batch)
            probes = {axis: x.new_zeros(self.steps + 1, self.batch, width).requires_grad_() for axis in axes}
            self.open[-1] = (module, x.detach(), probes)
            for axis, probe in probes.items():
                x = x + probe[1:].transpose(0, axis).reshape(x.shape)
            return x

        return mapped(args, change), mapped(kwargs, change)

    def leaves(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        fed = self.open.pop()
        y = next((y for _, y in leaves(output) if y.requires_grad and self.axes(y)), None)
        if fed is None or y is None or any(inner.module in module.modules() for inner in self.found):
            return
        _, x, probes = fed
        for axis, probe in probes.items():
            if axis in self.axes(y) and _mixes(y.transpose(0, axis), probe):
                self.found.append(_Layer(module, x.transpose(0, axis).flatten(2) if x.dim() > 2 else x, probe))
                return

    def axes(self, x: Tensor) -> list[int]:
        """Which of its first two axes may be time, the other being the batch."""
        return [a for a in (0, 1) if x.dim() > 1 and (x.shape[a], x.shape[1 - a]) == (self.steps, self.batch)]


def _mixes(y: Tensor, probe: Tensor) -> bool:
    """Does the middle step's output (T, B, ...) depend on another step's input, and on no other sequence's?"""
    middle = y.shape[0] // 2
    at = y[middle, 0].flatten()
    uneven = torch.arange(1, 1 + len(at), device=at.device, dtype=at.dtype).cos()  # the sum of a LayerNorm is constant
    (g,) = torch.autograd.grad(at @ uneven, probe, retain_graph=True, materialize_grads=True)
    some = g[1:].ne(0).any(-1)
    return bool(some[:, 0].sum() > some[middle, 0].int()) and not bool(some[:, 1:].any())


def record_inputs(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], steps: int, batch: int
) -> tuple[Recording, Tensor]:
    """The layers that mix steps, as trajectories of their inputs, and the losses.

    Its hooks are for the caller to take off. The recording is empty where no layer mixes steps.
    """
    search, recording = _Search(steps, batch), Recording()
    names = {module: name or type(module).__name__.lower() for name, module in model.named_modules()}
    for module in names:
        module.register_forward_pre_hook(search.enters, with_kwargs=True)
        module.register_forward_hook(search.leaves, with_kwargs=True)
    losses = loss(model)
    for layer in search.found:
        trajectory = recording.begin(names[layer.module].removeprefix("_orig_mod."), (Place("", False),), KIND)
        trajectory.started = False  # there is no state before the first input
        trajectory.append([_run(layer)])
    if search.found:
        said = ", ".join(trajectory.name for trajectory in recording.trajectories)
        recording.note(
            f"No state of {said} can be seen: what is shown is the gradient at the input of each step, not at a state."
        )
    return recording, losses


def _run(layer: _Layer) -> Run:
    x = layer.x.reshape(layer.probe[1:].shape)
    nothing = layer.probe.new_zeros(()).requires_grad_()
    states = torch.cat([torch.zeros_like(x[:1]), x])
    empty = nothing.expand(len(x), x.shape[1], 0)
    return Run(None, x, states, empty, nothing.expand(x.shape[1:]), nothing, layer.probe, NoSteps())
