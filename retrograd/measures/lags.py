"""The gradient of recurrent weights by lag: which step back from its loss it crossed them at.

    piece[l] = sum over losses t of (dL_t / da[t-l]) r[t-l-1]^T          a = W_hh r + b_hh
    sum over l of piece[l] = dL/dW_hh

r is h, or with several taps the h of several earlier steps. Lag 0 is the loss's own step. dL_t/da takes every path
there is: what comes to a lower layer by way of an upper one counts by the step at which it crosses the lower one's
W_hh.
Axes: A losses, L lags, T time, B batch, S state, G blocks of H rows in the weights, N = A B rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.cells import Cell
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.joined import asked_steps, ends, enters_often, joined_layers
from retrograd.measures.spacing import drawn
from retrograd.trace import LayerTrace, Trace

AT_ONCE = 1 << 20  # numbers of dL/da that are held together


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where the gradients of some losses cross the recurrent weights of one layer."""

    layer: LayerTrace
    cell: Cell
    W: Tensor  # (G*H, R)
    begin: int  # steps on the losses' clock before the layer's first
    ends: Tensor  # (A, B): the step of each loss in each sequence, on that clock
    drawn_from: Tensor | None  # the steps of all losses, where these are a sample of them
    gradients: Tensor  # (A, T+1, B, S): dL_t/ds

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Some lags (L,) at a time, from 0: dL/da at the step so far back (L, N, G*H), and r before it (L, N, R)."""
        before, ends, longest = self.layer.before, self.ends, int(self.ends.max())
        loss, row = (torch.arange(n, device=ends.device) for n in ends.shape)
        for first in range(0, longest, self._at_once):
            lags = torch.arange(first, min(first + self._at_once, longest), device=ends.device)
            k = ends - lags[:, None, None] - self.begin  # (L, A, B): the layer's own step, from 1
            there = (k >= 1) & (k <= len(self.layer))
            k = k.clamp(1, len(self.layer))
            delta = self.gradients[loss[:, None], k, row]
            there &= delta.ne(0).any(-1)
            if self.layer.live is not None:
                there &= self.layer.live[k - 1, row]
            da = self.layer.linear[k - 1, row].at_state_share(delta)
            r = self.cell.read(before[k - 1, row])
            da, r = (torch.where(there[..., None], x, 0.0).flatten(1, 2) for x in (da, r))
            yield lags, da, r

    @property
    def latest(self) -> int:
        """The step of the latest of all losses."""
        return int((self.ends if self.drawn_from is None else self.drawn_from).max())

    @property
    def _at_once(self) -> int:
        return max(1, AT_ONCE // (self.ends.numel() * len(self.W)))


def crossings(
    trace: Trace, anchors: Sequence[int] | int = 8, *, layers: Sequence[str] | None = None, seed: int = 0
) -> tuple[tuple[int, ...], list[Crossings]]:
    """The times of the losses, and their crossings of each layer that has a W_hh.

    `anchors` are these times, or how many: then they are a sample, one drawn from each of as many equal stretches; the
    global generators are left alone. A single loss is one anchor at the last step.

    Raises NotMeasured where that is a sum over several steps, and where no layer has a W_hh that is known.
    """
    joined = joined_layers(trace, layers)
    chosen = joined.layers(trace)
    weights = [None if layer.cell is None else layer.cell.weight_hh for layer in chosen]
    if all(W is None for W in weights):
        raise NotMeasured(
            "No layer has recurrent weights W_hh whose equation is known, so there is no gradient by lag. There are: "
            f"{', '.join(f'{layer.name} ({layer.kind})' for layer in chosen)}."
        )
    drawn_from = None
    if trace.per_step:
        times, drawn_from = _times(trace, joined.length, anchors, seed)
        last = torch.tensor(times)[:, None].expand(-1, chosen[0].states.shape[1])
        gradients = trace.gradients_at(times)
    else:
        if all(map(enters_often, chosen)):
            raise NotMeasured(
                "The loss is one number made of several steps, so that the lags of its gradient cannot be told apart. "
                "Return the losses of all steps, (time, batch)."
            )
        last = ends(trace, chosen[0], joined.length)[None]
        times = [int(last.max())]
        gradients = trace.gradients_at([len(trace)])
    return tuple(times), [
        Crossings(layer, layer.cell, W.detach(), begin, last.to(W.device), drawn_from, gradients[i])
        for layer, W, begin, i in zip(chosen, weights, joined.begins, joined.indices, strict=True)
        if layer.cell is not None and W is not None
    ]


def gradient_by_lag(trace: Trace, anchors: Sequence[int] | int = 8, *, layer: str | None = None) -> Iterator[Tensor]:
    """piece[l], (G*H, R), for l = 0, 1, ...: of the lowest layer, or of the one of this name; see `crossings`.

    >>> sum(gradient_by_lag(trace, range(1, 201))).allclose(module.weight_hh_l0.grad)
    True
    """
    _, (lowest, *_) = crossings(trace, anchors, layers=None if layer is None else [layer])
    for _, da, r in lowest:
        yield from da.transpose(1, 2) @ r


def _times(trace: Trace, length: int, anchors: Sequence[int] | int, seed: int) -> tuple[list[int], Tensor | None]:
    """The times, and those of all losses where they are a sample."""
    if not isinstance(anchors, int):
        times, asked = list(anchors), None
    elif anchors < len(asked := asked_steps(trace, length)):
        times = drawn(asked, max(anchors, 0), seed)
    else:
        times, asked = list(asked), None
    if not times:
        raise UsageError(
            "A gradient by lag is that of at least one loss: anchors=8, or anchors=[...] with their times."
        )
    return times, None if asked is None else torch.tensor(asked)
