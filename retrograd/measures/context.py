"""How much of what went before a model really uses: its loss with all of the past, and with the last n steps of it.

    excess[n] = mean over k of  L[k+n | everything before step k+1 forgotten] - L[k+n]          in the loss's own unit

The recurrent states are set to zero after k steps, for several k; the loss n steps later was computed from n steps,
its own among them. The gradient tells what could be learned, this tells what has been (Khandelwal et al., 2018).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.bootstrap import estimate
from retrograd.measures.spacing import spaced
from retrograd.trace import Trace, cells_of, losses_forgetting, record_with


@dataclass(frozen=True)
class Context:
    """By the length n of what is left of the past. The intervals are over the sequences; None for a single one."""

    lengths: tuple[int, ...]  # n
    excess: tuple[float, ...]  # how much worse the loss is than with all of the past
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    whole: float  # the mean loss with all of the past, over the same targets as the longest n
    share: float  # what `used` asks for
    resets: int  # k
    sequences: int

    @property
    def used(self) -> int | None:
        """The shortest n from which on the excess is at most that share of what it is at n = 1; None: at no n."""
        bar = self.share * abs(self.excess[0])
        last = max((i for i, x in enumerate(self.excess) if not abs(x) <= bar), default=-1)
        return self.lengths[last + 1] if last + 1 < len(self.lengths) else None


def context(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    *,
    trace: Trace | None = None,
    resets: int = 12,
    longest: int | None = None,
    share: float = 0.01,
    seed: int = 0,
) -> Context:
    """The excess loss by context, from `resets` passes forward over the data; half of the steps is the longest n.

    `trace` is the record of this loss, where there is one already: it spares a pass.

    >>> context(model, loss).used
    37

    Raises NotMeasured where the loss is one number, where the steps of a layer cannot be seen, or where it runs in
    reverse and knows what comes after.
    """
    if resets < 1 or not 0 < share < 1:
        raise UsageError(f"At least one reset and a share between 0 and 1 are needed, got {resets} and {share}.")
    cells = cells_of(model, loss)
    if trace is None:
        trace = record_with(model, loss, cells)
    whole = _losses(trace)
    steps, first = len(whole), trace.first_loss
    most = (steps + first) // 2 if longest is None else longest
    if not 1 <= most < steps + first:
        raise UsageError(f"The longest context must be from 1 to {steps + first - 1} steps, got {most}.")
    at = sorted({1 + round(i * (steps + first - most - 1) / max(resets - 1, 1)) for i in range(resets)})
    excess = whole.new_full((len(at), most, whole.shape[1]), math.nan)  # (K, n, B)
    for row, k in zip(excess, at, strict=True):
        cut = _by_step(losses_forgetting(model, loss, cells, k))
        if cut.shape != whole.shape:
            raise UsageError(
                f"The trace must be that of this very loss, {tuple(cut.shape)}; its losses are {tuple(whole.shape)}."
            )
        cut -= whole
        known = slice(max(first - k, 0), most)
        row[known] = cut[k + known.start - first : k + most - first]
    lengths = [n for n in spaced(most) if not excess[:, n - 1].isnan().all()]
    found = [_estimate(excess[:, n - 1], seed) for n in lengths]
    return Context(
        lengths=tuple(lengths),
        excess=tuple(value for value, _, _ in found),
        low=tuple(low for _, low, _ in found),
        high=tuple(high for _, _, high in found),
        whole=float(torch.stack([whole[k + most - 1 - first] for k in at]).mean()),
        share=share,
        resets=len(at),
        sequences=whole.shape[1],
    )


def _losses(trace: Trace) -> Tensor:
    """(T, B)"""
    if not trace.per_step:
        raise NotMeasured("The loss is one number, which does not tell its steps apart; return (time, batch).")
    backwards = [layer.name for layer in trace.layers if layer.reverse or not layer.has_states]
    if backwards or any(layer.begins for layer in trace.layers):
        which = ", ".join(backwards) or "a decoder that goes on after an encoder"
        raise NotMeasured(
            f"What went before cannot be taken from {which}: "
            "context is measured of layers that run forwards over one text."
        )
    return _by_step(trace.losses)


def _by_step(losses: Tensor) -> Tensor:
    """(T, B) of those, or of (T,)."""
    losses = losses.detach().double().cpu()
    return losses if losses.dim() > 1 else losses.reshape(-1, 1)


def _estimate(excess: Tensor, seed: int) -> tuple[float, float | None, float | None]:
    """The mean of (K, B), and its interval over the sequences."""
    each = excess.nanmean(0)
    found = estimate(lambda draw: each[draw].mean(-1), len(each), seed=seed)
    return found.value, found.low, found.high
