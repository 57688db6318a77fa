"""Replay what a recurrent module does, layer by layer and step by step, behind its own signature.

    nn.RNN, nn.GRU, nn.LSTM                 any depth, both directions, either axis order, packed sequences
    nn.RNNCell, nn.GRUCell, nn.LSTMCell     one step a call
    Stack                                   our own layers, with document starts or several lengths

Everything inside runs in the precision of the record; what goes in is cast up, what comes out is cast back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from retrograd.bptt.embedded import Read, numbers
from retrograd.bptt.lengths import masks
from retrograd.bptt.stack import Stack
from retrograd.errors import NotMeasured
from retrograd.trace.passage import Noise, Passage
from retrograd.trace.replay import Run


def stack_forward(stack: Stack, passage: Passage) -> Callable[..., Any]:
    """Stack.forward: (x (T, B, X), state, starts, lengths) -> (outputs (T, B, H), state); in reverse from the end."""

    def directed(x: Tensor) -> Tensor:
        return x.flip(0) if stack.reverse else x

    def forward(
        read: Read,
        state: Sequence[Tensor] | None = None,
        starts: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, precise = numbers(read), passage.dtype

        def arranged(states: Sequence[Tensor]) -> list[Tensor]:
            return [s.to(precise) for s in states]

        noise = _noise(stack, x.dtype)
        marks, live = masks(starts, lengths, x, reverse=stack.reverse)
        outputs, runs = passage.runs(directed(x.to(precise)), tuple(state or ()), arranged, noise=noise, **marks)
        outputs = directed(outputs) if live is None else torch.where(live[..., None], directed(outputs), 0.0)
        return outputs.to(x.dtype, copy=True), passage.hand_out([r.final.to(x.dtype) for r in runs])

    return forward


def torch_forward(module: nn.RNNBase, passage: Passage) -> Callable[..., Any]:
    """The module's forward: (input, hx) -> (output, h_n), or (output, (h_n, c_n)) for an LSTM."""

    def forward(input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        form = _form_of(module, input)
        x = form.unpack(input.data if isinstance(input, PackedSequence) else input)
        dtype, precise = x.dtype, passage.dtype

        def arranged(states: Sequence[Tensor]) -> list[Tensor]:
            return _apart([form.batched(s) for s in states], precise)

        noise = _noise(module, dtype, form)
        outputs, runs = passage.runs(x.to(precise), _parts(hx), arranged, noise=noise, live=form.live)
        finals = passage.hand_out(_finals(runs, dtype, unbatched=form.unbatched))
        return form.pack(outputs.to(dtype, copy=True)), finals if len(finals) > 1 else finals[0]

    return forward


def cell_forward(module: nn.RNNCellBase, passage: Passage) -> Callable[..., Any]:
    """The cell's forward: (input (B, X) or (X,), hx) -> h, or (h, c) for an LSTMCell."""

    def forward(input: Tensor, hx: Any = None) -> Any:
        precise = passage.dtype

        def arranged(states: Sequence[Tensor]) -> list[Tensor]:
            return _apart([_rows(s)[None] for s in states], precise)

        _, runs = passage.runs(_rows(input)[None].to(precise), _parts(hx), arranged)
        finals = _finals(runs, input.dtype, unbatched=False)
        finals = passage.hand_out([part[0, 0] if input.dim() == 1 else part[0] for part in finals])
        return finals if isinstance(module, nn.LSTMCell) else finals[0]

    return forward


def _rows(x: Tensor) -> Tensor:
    return x[None] if x.dim() == 1 else x


def _parts(hx: Any) -> tuple[Tensor, ...]:
    """The tensors of a state: none, h, or (h, c)."""
    if hx is None:
        return ()
    return tuple(hx) if isinstance(hx, tuple | list) else (hx,)


def _apart(states: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The state of each layer and direction (B, S), of torch's (layers * directions, B, H) each for h and c."""
    return list(torch.cat(list(states), dim=-1).to(dtype).unbind(0))


def _finals(runs: list[Run], dtype: torch.dtype, *, unbatched: bool) -> tuple[Tensor, ...]:
    final, cell = torch.stack([r.final for r in runs]).to(dtype), runs[0].cell
    parts = final.tensor_split([cell.output_size], -1) if cell and cell.has_memory else (final,)
    return tuple(part.squeeze(1) if unbatched else part for part in parts)


@dataclass(frozen=True)
class _Form:
    """How the caller arranges a batch of sequences, and the way to (T, B, X) and back."""

    batch_first: bool = False
    unbatched: bool = False
    packed: PackedSequence | None = None

    @property
    def live(self) -> Tensor | None:
        """(T, B), the batch in the caller's order: has sequence b a step t?"""
        if self.packed is None:
            return None
        sizes = self.packed.batch_sizes.to(self.packed.data.device)
        present = torch.arange(int(sizes[0]), device=sizes.device) < sizes[:, None]
        order = self.packed.unsorted_indices
        return present if order is None else present[:, order]

    def unpack(self, x: Tensor) -> Tensor:
        if self.packed is not None:
            return _pad(x, self.packed)
        if self.unbatched:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if self.batch_first else x

    def pack(self, x: Tensor) -> Tensor | PackedSequence:
        if self.packed is not None:
            return _packed_like(x, self.packed)
        if self.unbatched:
            return x.squeeze(1)
        return x.transpose(0, 1) if self.batch_first else x

    def batched(self, state: Tensor) -> Tensor:
        return state.unsqueeze(1) if self.unbatched else state


def _form_of(module: nn.RNNBase, x: Tensor | PackedSequence) -> _Form:
    if isinstance(x, PackedSequence):
        return _Form(packed=x)
    return _Form(batch_first=module.batch_first, unbatched=x.dim() == 2)


def _pad(data: Tensor, packed: PackedSequence) -> Tensor:
    """Packed rows (N, X) as (T, B, X), zero where a sequence has ended, the batch in the caller's order."""
    padded, _ = nn.utils.rnn.pad_packed_sequence(packed._replace(data=data))
    return padded


def _packed_like(x: Tensor, packed: PackedSequence) -> PackedSequence:
    lengths = nn.utils.rnn.pad_packed_sequence(packed)[1]
    order = packed.sorted_indices
    rows = x if order is None else x[:, order]
    lengths = lengths if order is None else lengths[order.cpu()]
    data = nn.utils.rnn.pack_padded_sequence(rows, lengths).data
    return packed._replace(data=data)


def _noise(module: nn.RNNBase | Stack, dtype: torch.dtype, form: _Form | None = None) -> Noise | None:
    """Dropout between layers, drawn as the module itself draws it: in its own precision, on its own layout."""
    if not (module.training and module.dropout):
        return None
    if isinstance(module, nn.RNNBase) and next(module.parameters()).is_cuda and module.num_layers > 1:
        raise NotMeasured(
            "On a GPU cuDNN draws the dropout masks between layers itself, and they cannot be had again. "
            "Call model.eval() before recording, or record on a CPU."
        )
    p = float(module.dropout)

    def noise(x: Tensor) -> Tensor:
        if form is not None and form.packed is not None:
            rows = torch.ones(len(form.packed.data), x.shape[-1], dtype=dtype, device=x.device)
            return _pad(F.dropout(rows, p), form.packed).to(x.dtype)
        return F.dropout(torch.ones_like(x, dtype=dtype), p).to(x.dtype)

    return noise
