"""How much each loss's gradient weighs at each earlier state: the whole triangle, for a picture.

N[t, k] = |dL_t / dS[k]|,  k <= t          S[k] the states of all recurrent layers after step k, joined

Each row is a pass back through all steps of all sequences, so rows x T x B is what it costs: record fewer sequences
to have it cheaper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.joined import Joined, asked_steps, joined_layers, joined_log_norms
from retrograd.measures.spacing import from_first_to_last
from retrograd.trace import Trace
from retrograd.trace.gradients import AT_ONCE


@dataclass(frozen=True)
class Contributions:
    """ln of the median over the batch of N[t, k]. Rows are losses, columns states; None where k > t."""

    times: tuple[int, ...]  # t, of each row
    states: tuple[int, ...]  # k, of each column
    log_norms: tuple[tuple[float | None, ...], ...]  # -inf is an exact zero


def contributions(trace: Trace, *, rows: int = 24, columns: int = 96, sequences: int | None = None) -> Contributions:
    """N[t, k] for at most so many losses and states, spread evenly, the first and the last included.

    The median is over the first `sequences` of the batch, or all; the others cost nothing.

    A loss without a gradient has no row, and a sequence without one no say in it. A single loss is one row, at the
    last step. Layers that run in reverse are left out. The median is the lower of the two in the middle.

    >>> contributions(trace).log_norms[-1][0]  # the last loss at the initial state
    -23.1

    Raises NotMeasured where no loss has a gradient at any state.
    """
    if rows < 1 or columns < 1:
        raise UsageError(f"A picture has at least one row and one column, got {rows} and {columns}.")
    joined = joined_layers(trace)
    states = from_first_to_last(range(joined.first, joined.length + 1), columns)
    times = from_first_to_last(asked_steps(trace, joined.length), rows)
    found = dict(_medians(trace, joined, times, states, sequences))
    if not found:
        raise NotMeasured("No loss has a gradient at any recurrent state, so there is nothing to show.")
    triangle = (tuple(x if k <= t else None for k, x in zip(states, row, strict=True)) for t, row in found.items())
    return Contributions(times=tuple(found), states=tuple(states), log_norms=tuple(triangle))


def _medians(
    trace: Trace, joined: Joined, times: Sequence[int], states: Sequence[int], sequences: int | None
) -> Iterator[tuple[int, list[float]]]:
    """Each t whose loss has a gradient, and ln N[t, k] of the middle one of the sequences that have it."""
    for begin in range(0, len(times), AT_ONCE):
        group = times[begin : begin + AT_ONCE]
        gradients = trace.gradients_at(group, sequences=sequences)
        norms = joined_log_norms(trace, joined, [g[:, :, :sequences] for g in gradients])  # (A, T+1, B)
        some, norms = norms.ne(-torch.inf).any(1), norms[:, states]
        for t, row, has in zip(group, norms, some, strict=True):
            if has.any():
                yield t, row[:, has].median(-1).values.tolist()  # torch's median is the lower one, NaN if any is
