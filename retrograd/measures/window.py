"""How much of dL/dW_hh a truncated backward pass keeps.

    g_p = what a window of p steps sees of the pieces by lag           error |g_p - g| / |g|, cosine <g_p, g> / |g_p||g|
      sliding    each loss sees p steps, its own the last of them: the lags under p
      chunks     each loss sees back to the first step of its chunk of p steps: what truncated BPTT trains with

Of a sample of the losses the chunks weigh each piece by the share of all losses that see its lag: where the few of
the sample happen to stand in their chunks does not count. All layers are truncated together (Williams & Peng, 1990).
Axes: P windows, L lags, N rows, losses times sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import UsageError
from retrograd.measures.lags import Crossings, crossings
from retrograd.measures.spacing import spaced
from retrograd.numerics import log_norm
from retrograd.trace import Trace


@dataclass(frozen=True)
class Truncation:
    """The truncated gradient against the full one, window by window; NaN where one of them is zero or no number."""

    error: tuple[float, ...]
    cosine: tuple[float, ...]


@dataclass(frozen=True)
class LayerWindow:
    layer: str
    cell: str  # the class: "LSTM"
    log_norms: tuple[float, ...]  # ln |piece[l]|, l = 0, 1, ...; -inf is an exact zero
    sliding: Truncation
    chunks: Truncation


@dataclass(frozen=True)
class WindowAdequacy:
    """Of the losses at `anchors`, in so many sequences. Plain numbers."""

    layers: tuple[LayerWindow, ...]
    windows: tuple[int, ...]  # p
    wanted: float  # the cosine that a window should have
    anchors: tuple[int, ...]
    sequences: int  # how many had a gradient at all
    left_out: tuple[str, ...]  # layers that run in reverse or beside, or have no W_hh that is known

    @property
    def smallest(self) -> int | None:
        """The smallest window from which on the chunks' cosine is as wanted in every layer; None where it never is."""
        enough = None
        for i in reversed(range(len(self.windows))):
            if not all(layer.chunks.cosine[i] >= self.wanted for layer in self.layers):
                break
            enough = self.windows[i]
        return enough

    def to_use(self, need: int) -> int | None:
        """The window for a task that needs that lag: the larger of it and `smallest`.

        Where the gradient vanishes within three steps a window of three loses nothing, because nothing is left to
        lose: the smallest alone says nothing about a task.
        """
        return None if self.smallest is None else max(need, self.smallest)


def window(
    trace: Trace,
    *,
    windows: Sequence[int] | None = None,
    anchors: Sequence[int] | int = 8,
    layers: Sequence[str] | None = None,
    wanted: float = 0.99,
    seed: int = 0,
) -> WindowAdequacy:
    """Each layer's gradient by lag, and the error and cosine of the windows 1, 2, 3, 4, 6, 8, 12 ... up to all steps.

    `anchors` are the times of the losses, or how many to draw; `layers` the names of those to truncate, by default all
    that run forwards. An anchor costs two or three pullbacks a step, and room for T B S numbers a layer.

    >>> window(trace).to_use(need=150)
    150

    Raises NotMeasured where the loss is a sum over steps, whose lags cannot be told apart, or no layer has a W_hh.
    """
    times, lines = crossings(trace, anchors, layers=layers, seed=seed)
    sizes = _sizes(windows, lines[0].latest)
    some = torch.stack([line.gradients.ne(0).any(-1).any(1).any(0).cpu() for line in lines]).any(0)
    measured = tuple(_of_layer(line, sizes) for line in lines)
    return WindowAdequacy(
        layers=measured,
        windows=sizes,
        wanted=wanted,
        anchors=times,
        sequences=int(some.sum()),
        left_out=tuple(x.name for x in trace.layers if x.name not in {layer.layer for layer in measured}),
    )


def _sizes(windows: Sequence[int] | None, longest: int) -> tuple[int, ...]:
    """In order; those beyond the longest lag see all, as it does."""
    if windows is None:
        windows = spaced(longest)
    if not windows or min(windows) < 1:
        raise UsageError(f"Windows are numbers of steps from 1, got {list(windows)}.")
    return tuple(sorted({min(p, longest) for p in windows}))


def _of_layer(line: Crossings, windows: tuple[int, ...]) -> LayerWindow:
    log_norms: list[float] = []
    everything = int(line.ends.max()) + 1
    limits = torch.tensor([*windows, everything], device=line.W.device)[:, None]
    sums, chunks = (line.W.new_zeros(n, line.W.numel()) for n in (len(limits), len(windows)))
    for lags, da, h in line:
        pieces = (da.transpose(1, 2) @ h).flatten(1)
        log_norms += log_norm(pieces).tolist()
        sums.addmm_((lags < limits).to(pieces), pieces)
        if line.drawn_from is not None:
            chunks.addmm_(_shares(line, lags, line.drawn_from, windows), pieces)
            continue
        for i, p in enumerate(windows):
            if (inside := lags[:, None] <= (line.ends.flatten() - 1) % p).any():  # (L, N)
                chunks[i] += (da[inside].T @ h[inside]).flatten()
    sliding, whole = sums[:-1], sums[-1]
    return LayerWindow(
        layer=line.layer.name,
        cell=line.layer.kind,
        log_norms=tuple(log_norms),
        sliding=_compared(sliding, whole),
        chunks=_compared(chunks, whole),
    )


def _shares(line: Crossings, lags: Tensor, losses: Tensor, windows: Sequence[int]) -> Tensor:
    """(P, L): of all losses that are far enough from the start, how many see so far back within chunks of p steps."""
    t, l = losses.to(lags.device), lags[:, None]
    there = t - line.begin > l
    seen = torch.stack([(there & ((t - 1) % p >= l)).sum(1) for p in windows])
    return seen.to(line.W.dtype) / there.sum(1).clamp(min=1)


def _compared(truncated: Tensor, whole: Tensor) -> Truncation:
    """Gradients (P, n) with one (n)."""
    return Truncation(
        error=tuple((log_norm(truncated - whole) - log_norm(whole)).exp().tolist()),
        cosine=tuple((_direction(truncated) @ _direction(whole)).tolist()),
    )


def _direction(x: Tensor) -> Tensor:
    """Each row with length 1; first scaled by its largest element, whose square may be out of range."""
    x = x / x.abs().amax(-1, keepdim=True)
    return torch.nn.functional.normalize(x, dim=-1, eps=0)
