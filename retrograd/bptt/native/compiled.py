"""The same operation under names that torch.compile knows: it puts them into its graph and looks no further."""

from typing import Any

import torch
from torch import Tensor

from retrograd.bptt.native.operation import ELMAN, KEPT, LSTM, Inputs, Kind, Run, Weights, backward, forward, full


@torch.library.custom_op("retrograd::sequence", mutates_args=())
def sequence(
    x: Tensor,
    first: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor | None,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    steps: int,
    cell: int,
    activation: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parts of a Run of full sequences."""
    weights = Weights(weight_ih, weight_hh, bias_ih, bias_hh)
    h, last, kept, c = forward(Inputs(Kind(cell, activation), full(steps, len(first)), x, first, weights))
    return h, last, kept, c


@sequence.register_fake
def _(x: Tensor, first: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    cell = rest[-2]
    N, H = x.shape[0], first.shape[1] // (2 if cell == LSTM else 1)
    kept = x.new_empty(0) if cell == ELMAN else x.new_empty(N, KEPT[cell] * H)
    return x.new_empty(N, H), x.new_empty(first.shape), kept, x.new_empty(N if cell == LSTM else 0, H)


@torch.library.custom_op("retrograd::sequence_backward", mutates_args=())
def sequence_backward(
    x: Tensor,
    first: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor | None,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    run: list[Tensor],
    d_h: Tensor | None,
    d_last: Tensor | None,
    steps: int,
    cell: int,
    activation: int,
) -> list[Tensor]:
    """Gradients, but for those that there are not."""
    weights = Weights(weight_ih, weight_hh, bias_ih, bias_hh)
    inputs = Inputs(Kind(cell, activation), full(steps, len(first)), x, first, weights)
    found = backward(inputs, Run(*run), d_h, d_last)
    return [g.clone() if g is found.bias_hh else g for g in found if g is not None]


@sequence_backward.register_fake
def _(*given: Any) -> list[Tensor]:
    return [of.new_empty(of.shape) for of in given[:6] if of is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.steps, ctx.cell, ctx.activation = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _take_back(ctx: Any, d_h: Tensor | None, d_last: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    tensors, run = ctx.saved_tensors[:6], list(ctx.saved_tensors[6:])
    found = iter(sequence_backward(*tensors, run, d_h, d_last, ctx.steps, ctx.cell, ctx.activation))
    return *(None if it is None else next(found) for it in tensors), None, None, None


sequence.register_autograd(_take_back, setup_context=_remember)
