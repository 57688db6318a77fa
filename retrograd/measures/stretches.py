"""The longest unbroken stretch of steps of each sequence, and averages along it with their interval.

    t = begin[b] + j,  j = 1 .. length[b]          mean +- t_quantile * standard error of the means of blocks of time

Padding is no step, and a new document, which sets out from zero, breaks a stretch. The first step of a layer counts
only where its first state is its own. Axes: T time, B batch, S state;
n steps of a stretch, b stretches, k quantities.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, UsageError
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True, eq=False)
class Stretches:
    """At most one of a sequence, the longest first; all on the CPU."""

    sequence: Tensor  # (b,), which one of the batch
    begin: Tensor  # (b,), s[begin] is the state from which the stretch sets out
    length: Tensor  # (b,), at least 1

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def steps(self) -> int:
        """n, the length of the longest."""
        return int(self.length[0])

    @property
    def inside(self) -> Tensor:
        """(n, b): has stretch b a step j + 1?"""
        return torch.arange(self.steps)[:, None] < self.length

    def times(self, first: int, last: int) -> Tensor:
        """(last - first, b): t of these steps, counted in the stretch from 0; after its end a stretch stands still."""
        j = torch.arange(first, last)[:, None].minimum(self.length - 1)
        return self.begin + j + 1

    def counted(self, transient: int | None) -> Tensor:
        """(n, b): is the step one after the transient? Left out, that is a quarter of the longest stretch."""
        transient = self.steps // 4 if transient is None else transient
        if transient >= self.steps:
            raise NotMeasured(f"Of {self.steps} steps a transient of {transient} leaves none.")
        return self.inside & (torch.arange(self.steps)[:, None] >= transient)


def check_transient(trace: Trace, transient: int | None) -> None:
    """Raises UsageError where it would leave no step of any layer."""
    longest = max(map(len, trace.layers))
    if transient is not None and not 0 <= transient < longest:
        raise UsageError(
            f"The transient must leave some of the {longest} steps to measure, got {transient}. "
            "Give a shorter one or a longer sequence."
        )


def stretches(layer: LayerTrace, sequences: int | None = None) -> Stretches:
    """The longest stretch of each sequence of a layer, and of these the longest `sequences`.

    Raises NotMeasured where no step leads from one state to the next, as when a document begins at each.
    """
    if sequences is not None and sequences < 1:
        raise UsageError(f"At least one sequence is needed, got {sequences}.")
    linked = _linked(layer)
    i = torch.arange(len(linked))[:, None]
    run = i - torch.where(linked, -1, i).cummax(0).values  # the steps up to this one without a break
    length, last = run.max(0)
    length, order = length.sort(descending=True, stable=True)
    order, length = order[length > 0][:sequences], length[length > 0][:sequences]
    if not len(order):
        raise NotMeasured(
            f"No step of {layer.name} leads from one of its states to the next: each of the {len(layer)} begins anew."
        )
    return Stretches(sequence=order, begin=last[order] + 1 - length, length=length)


def _linked(layer: LayerTrace) -> Tensor:
    """(T, B): does step t lead from s[t-1] to s[t]? Not where the sequence has ended or a document begins."""
    linked = (live_steps(layer) & ~starting_steps(layer)).cpu()
    linked[: layer.first] = False  # there is no s[0], or it is an earlier layer's
    return linked


def live_steps(layer: LayerTrace) -> Tensor:
    """(T, B): has sequence b a step t?"""
    return torch.ones_like(layer.states[1:, :, 0], dtype=torch.bool) if layer.live is None else layer.live


def starting_steps(layer: LayerTrace) -> Tensor:
    """(T, B): does a new document begin with the step, so that nothing goes further back?"""
    return torch.zeros_like(live_steps(layer)) if layer.starts is None else layer.starts


@dataclass(frozen=True, eq=False)
class Averages:
    """Means of k quantities over time and sequences, with the 95 % interval."""

    mean: Tensor  # (k,)
    low: Tensor | None  # (k,); None where there is one block, which has no spread
    high: Tensor | None
    blocks: int  # how many blocks there were
    sequences: int
    steps: int  # of all sequences together


def averages(values: Tensor, counted: Tensor, *, blocks: int) -> Averages:
    """Means of values (n, b, k) over the steps that are counted, (n, b).

    Each sequence is cut into as many equal blocks of time as it takes to have `blocks` of them, so with that many
    sequences each is one block: the longer a block, the less it has in common with the next. A mean that is infinite
    has an interval of that alone.
    """
    if blocks < 1:
        raise UsageError(f"At least one block of time is needed, got {blocks}.")
    some = counted.any(0)
    values, counted = values[:, some], counted[:, some]
    cuts = -(-blocks // counted.shape[1])
    block = (counted.cumsum(0) - 1) * cuts // counted.sum(0) + cuts * torch.arange(counted.shape[1])
    found, owner = values[counted], torch.unique(block[counted], return_inverse=True)[1]
    sizes = owner.bincount()
    means = torch.zeros(len(sizes), found.shape[-1], dtype=found.dtype).index_add(0, owner, found) / sizes[:, None]
    mean = found.mean(0)
    spread = _half_width(means - mean, sizes / sizes.sum()) if len(sizes) > 1 else None
    return Averages(
        mean=mean,
        low=None if spread is None else torch.where(mean.isinf(), mean, mean - spread),
        high=None if spread is None else torch.where(mean.isinf(), mean, mean + spread),
        blocks=len(sizes),
        sequences=int(some.sum()),
        steps=len(found),
    )


def _half_width(deviations: Tensor, shares: Tensor) -> Tensor:
    """Of the 95 % interval of a mean, from the blocks' deviations (N, k) and their shares of all steps (N,)."""
    n = len(deviations)
    error = ((shares[:, None] * deviations).square().sum(0) * n / (n - 1)).sqrt()
    return student(n - 1) * error


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: 12.71 with one degree of freedom, 1.96 with many (Cornish & Fisher, 1938)."""
    if freedom < 4:
        return (12.7062, 4.3027, 3.1824)[freedom - 1]
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
