"""Somebody's recurrent modules run step by step for a while, with each state within reach.

    s[t] = F(p[t], s[t-1])          a tap sees s[t] and gives what step t + 1 starts from

    nn.RNN, nn.GRU, nn.LSTM     any depth, both directions, either axis order, packed sequences
    Stack                       our own layers, with document starts or several lengths

The weights are the module's own: what autograd finds here, it finds in their `.grad`. Where a sequence has ended its
state stays as it is. What torch.compile has made of the model runs as it was written. Axes: T time, B batch, X input,
S state; a layer that runs backwards is met in its own order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from retrograd.bptt.embedded import Read, numbers
from retrograd.bptt.lengths import masks
from retrograd.bptt.stack import Stack
from retrograd.cells import Cell, from_torch
from retrograd.errors import NotMeasured
from retrograd.trace.record import eagerly

Layers = list[list[Cell]]  # lowest first; one cell, or one for each direction
FORWARDS = (nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward, Stack.forward)


@dataclass(frozen=True, eq=False)
class Pass:
    """One layer in one direction over one batch, about to be run."""

    cell: Cell
    inputs: Tensor  # (T, B, X), live
    state: Tensor  # (B, S), live
    live: Tensor | None  # (T, B): has sequence b a step t? None where all have all
    starts: Tensor | None  # (T, B): does a new document begin there, from a state of zero?


Tap = Callable[[int, Tensor], Tensor]  # (t = 1 .. T, s[t]) -> what the next step starts from
Watch = Callable[[Pass], Tap]


def recurrent_modules(model: nn.Module) -> dict[str, nn.RNNBase | Stack]:
    """Those that can be run step by step, by name. Raises NotMeasured where there is none, or one cannot."""
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.RNNBase | Stack)}
    if not found:
        raise NotMeasured(
            f"This {type(model).__name__} has no nn.RNN, nn.GRU, nn.LSTM or Stack whose steps could be reached."
        )
    for module in found.values():
        if type(module).forward not in FORWARDS or "forward" in vars(module):
            raise NotMeasured(
                f"The forward of this {type(module).__name__} is not torch's own, so its steps are not known."
            )
        _layers(module)
    return found


@contextmanager
def unrolled(model: nn.Module, watch: Watch) -> Iterator[None]:
    """Inside the block each recurrent module of `model` runs step by step, under a tap that `watch` gives it."""
    modules = list(recurrent_modules(model).values())
    try:
        for module in modules:
            forward = _stack_forward(module, watch) if isinstance(module, Stack) else _torch_forward(module, watch)
            vars(module)["forward"] = forward
        with eagerly(model):
            yield
    finally:
        for module in modules:
            vars(module).pop("forward", None)


def _layers(module: nn.RNNBase | Stack) -> Layers:
    return [[cell] for cell in module.layers] if isinstance(module, Stack) else from_torch(module)


def walk(it: Pass, tap: Tap) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)) of one pass."""
    s, states = it.state, []
    for t, p in enumerate(it.cell.project(it.inputs)):
        before = s if it.starts is None else torch.where(it.starts[t, :, None], 0.0, s)
        after = it.cell.recur(p, before)
        after = after if it.live is None else torch.where(it.live[t, :, None], after, before)
        s = tap(t + 1, after)
        states.append(after)
    return it.cell.output(torch.stack(states)), states[-1]


def _through(
    layers: Layers,
    x: Tensor,
    states: Sequence[Tensor],
    watch: Watch,
    *,
    dropout: float,
    live: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """All layers over x (T, B, X): the outputs of the highest, both directions side by side, and every last state."""
    last: list[Tensor] = []
    for depth, cells in enumerate(layers):
        if depth and dropout:
            x = F.dropout(x, dropout)
        pair = []
        for backwards, cell in enumerate(cells):
            real = live.flip(0) if live is not None and backwards else live
            it = Pass(cell, x.flip(0) if backwards else x, states[len(last)], real, starts)
            outputs, s = walk(it, watch(it))
            pair.append(outputs.flip(0) if backwards else outputs)
            last.append(s)
        x = torch.cat(pair, -1) if len(pair) > 1 else pair[0]
    return x, last


def _stack_forward(stack: Stack, watch: Watch) -> Callable[..., Any]:
    def directed(x: Tensor) -> Tensor:
        return x.flip(0) if stack.reverse else x

    def forward(
        read: Read,
        state: Sequence[Tensor] | None = None,
        starts: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = numbers(read)
        states = stack.initial_state(x.shape[1]) if state is None else state
        dropout = stack.dropout if stack.training else 0.0
        marks, live = masks(starts, lengths, x, reverse=stack.reverse)
        x = x if live is None else torch.where(live[..., None], x, 0.0)  # a NaN behind an end would come back
        outputs, last = _through(_layers(stack), directed(x), states, watch, dropout=dropout, **marks)
        outputs = directed(outputs)
        return outputs if live is None else torch.where(live[..., None], outputs, 0.0), tuple(last)

    return forward


def _torch_forward(module: nn.RNNBase, watch: Watch) -> Callable[..., Any]:
    layers = _layers(module)

    def forward(input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        packed = input if isinstance(input, PackedSequence) else None
        alone = not isinstance(input, PackedSequence) and input.dim() == 2
        x, live = _time_first(module, input, alone=alone)
        given = () if hx is None else tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        parts = [part.unsqueeze(1) if alone else part for part in given]
        cells = [cell for pair in layers for cell in pair]
        states = list(torch.cat(parts, -1)) if parts else [cell.initial_state(x.shape[1]) for cell in cells]
        dropout = float(module.dropout) if module.training else 0.0
        outputs, last = _through(layers, x, states, watch, dropout=dropout, live=live)
        finals = _finals(cells[0], last, alone=alone)
        return _as_given(module, outputs, packed, alone=alone), finals if len(finals) > 1 else finals[0]

    return forward


def _time_first(module: nn.RNNBase, x: Any, *, alone: bool) -> tuple[Tensor, Tensor | None]:
    """The caller's input as (T, B, X), and which of the steps are real."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x)
        steps = torch.arange(len(padded), device=padded.device)
        return padded, steps[:, None] < lengths.to(padded.device)
    if alone:
        return x.unsqueeze(1), None
    return (x.transpose(0, 1) if module.batch_first else x), None


def _as_given(module: nn.RNNBase, y: Tensor, packed: PackedSequence | None, *, alone: bool) -> Tensor | PackedSequence:
    if packed is not None:
        lengths = pad_packed_sequence(packed)[1]
        if packed.sorted_indices is None:
            return pack_padded_sequence(y, lengths)
        ordered = pack_padded_sequence(y[:, packed.sorted_indices], lengths[packed.sorted_indices.cpu()])
        return packed._replace(data=ordered.data)
    if alone:
        return y.squeeze(1)
    return y.transpose(0, 1) if module.batch_first else y


def _finals(cell: Cell, last: list[Tensor], *, alone: bool) -> tuple[Tensor, ...]:
    """h_n, or (h_n, c_n), of all layers and directions."""
    states = torch.stack(last)
    h = cell.output(states)
    parts = (h, states[..., h.shape[-1] :]) if cell.has_memory else (h,)
    return tuple(part.squeeze(1) if alone else part.contiguous() for part in parts)
