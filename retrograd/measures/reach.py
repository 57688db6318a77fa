"""How much of a loss's gradient arrives at each earlier state, through every path.

    N[t, k] = |dL_t / dS[k]|          S[k] the states of all recurrent layers after step k, joined

Axes: A anchors (the times t of the losses), lags l = t - k from 0, B batch. The anchors are the same for every lag, so
none of them may be nearer to the start than the longest lag.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import UsageError
from retrograd.measures.joined import Joined, asked_steps, ends, enters_often, fewest, joined_layers, joined_log_norms
from retrograd.measures.spacing import up_to_last
from retrograd.trace import Trace


@dataclass(frozen=True, eq=False)
class Reach:
    """ln N[t, t-l] in float64, as logarithms because the norms span hundreds of orders of magnitude.

    -inf is an exact zero: no path leads there.
    """

    log_norms: Tensor  # (A, longest + 1, B)
    anchors: tuple[int, ...]
    length: int  # T
    layers: tuple[str, ...]
    has_memory: bool  # does a state hold a memory cell beside h?
    per_step: bool  # False: the one anchor is the summed loss, counted from the last step
    summed: bool  # is that one loss made of several steps? Then lags cannot be told apart
    later: bool = False  # does a loss depend on later states too, by another way than time?

    @property
    def longest(self) -> int:
        return self.log_norms.shape[1] - 1


def reach(
    trace: Trace,
    *,
    anchors: Sequence[int] | int | None = None,
    longest: int | None = None,
    layers: Sequence[str] | None = None,
) -> Reach:
    """N[t, t-l] for the losses at `anchors` (times from 1, or how many, spread evenly) and lags 0 to `longest`.

    Left out: 4 anchors, or fewer of many sequences, and the lags up to three quarters of T. A single loss is one
    anchor at the last step and its lags go back to the start. `layers` names those to join; by default all that run
    forwards.

    >>> reach(trace, anchors=4, longest=150).log_norms.shape
    torch.Size([4, 151, 8])
    """
    joined = joined_layers(trace, layers)
    chosen = joined.layers(trace)
    length = joined.length
    last = ends(trace, chosen[0], length)
    longest, times = _plan(trace, joined, fewest(trace, chosen[0], length), anchors, longest)
    norms = joined_log_norms(trace, joined, trace.gradients_at(times if trace.per_step else [len(trace)]))
    starting = torch.tensor(times)[:, None] if trace.per_step else last[None]
    k = starting[:, None] - torch.arange(longest + 1)[:, None]  # (A, lags, B)
    return Reach(
        log_norms=norms.gather(1, k.expand(-1, -1, norms.shape[-1])),
        anchors=tuple(times),
        length=length,
        layers=tuple(layer.name for layer in chosen),
        has_memory=any(layer.has_memory for layer in chosen),
        per_step=trace.per_step,
        summed=not trace.per_step and all(map(enters_often, chosen)),
        later=any(bool((norms[a, t + 1 :] > -torch.inf).any()) for a, t in enumerate(times)),
    )


def _plan(
    trace: Trace, joined: Joined, fewest: int, anchors: Sequence[int] | int | None, longest: int | None
) -> tuple[int, list[int]]:
    """The longest lag, and the times of the losses: of those that are asked, where some are masked."""
    first = joined.first
    if not trace.per_step:
        longest, times = fewest - first if longest is None else longest, [fewest]
    elif anchors is None or isinstance(anchors, int):
        asked = asked_steps(trace, joined.length)
        longest = min(joined.length * 3 // 4, asked[-1] - first) if longest is None else longest
        late = [t for t in asked if t >= max(longest + first, 1)]
        times = up_to_last(late or asked[-1:], _enough(trace) if anchors is None else anchors)
    else:
        times = list(anchors)
        longest = min(times, default=0) - first if longest is None else longest
    most = min(times, default=0) - first
    if not 1 <= longest <= most:
        raise UsageError(
            f"The longest lag must be at least 1 and at most the earliest anchor, {most}; "
            f"got {longest}. Give a longer sequence or a shorter lag."
        )
    return longest, times if trace.per_step else [joined.length]


def _enough(trace: Trace) -> int:
    """Anchors for a median over about 32 losses and sequences; the interval is over the sequences alone."""
    return max(1, min(4, 32 // (trace.losses.shape[1] if trace.losses.dim() > 1 else 1)))
