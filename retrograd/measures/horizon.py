"""How far back a gradient still counts.

    g[l]    = median over batch and anchors of N[t, t-l] / N[t, t-r]       r = 0, or 1 for a state with a memory cell
    horizon = the largest l with g[j] >= threshold for every j <= l
    decay   = exp(slope of ln g[l]), least squares over the lags from r to the first below the threshold

With a memory cell the lag 0 gradient is on h alone, and the first step back is the output gate's: the read-out, told
apart. Intervals are 95 % bootstrap intervals over the sequences of the batch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.bootstrap import bounds, quantile
from retrograd.measures.reach import Reach

NEARLY_NOTHING = math.log(1e-290)  # float64 ends at 5e-324


@dataclass(frozen=True)
class Horizon:
    """Plain numbers: what a log line, a report and a verdict need. Logarithms are natural; -inf is an exact zero."""

    steps: int
    low: int | None  # the interval of steps; None for a single sequence, which has no spread
    high: int | None
    threshold: float
    longest: int  # the longest lag that was measured
    reference: int  # r
    profile: tuple[float, ...]  # ln g[l], l = 0 .. longest
    upper: tuple[float, ...]  # the same with the 90 % quantile for the median: rare long dependencies
    profile_low: tuple[float, ...]  # the interval of each ln g[l]; empty for a single sequence
    profile_high: tuple[float, ...]
    decay: float  # factor per step; nan where it cannot be fitted
    decay_low: float | None
    decay_high: float | None
    fitted: tuple[int, int]  # the lags of the fit, both included
    readout: float | None  # g[0]: a loss's own step over the one before, for a state with a memory cell
    anchors: tuple[int, ...]
    sequences: int  # how many had a gradient at all
    per_step: bool  # False: counted from the last step, for the summed loss
    summed: bool  # is that loss made of several steps? Then lags cannot be told apart
    underflow: int | None  # the first lag whose norm is under what a float64 can hold: from there -inf is no true zero

    @property
    def censored(self) -> bool:
        """Did the gradient outlive the lags that were measured?"""
        return self.steps >= self.longest

    @property
    def finite(self) -> bool:
        """False once a NaN or an infinity shows in the profile."""
        return all(math.isfinite(x) or x == -math.inf for x in self.profile)

    @property
    def lost(self) -> bool:
        """Did a NaN end it, so that how far the gradient counts is not known?"""
        return any(map(math.isnan, self.profile[self.steps : self.steps + 2]))

    @property
    def display(self) -> str:
        """Such as "23", ">256" where the gradient outlives what was measured, "NaN" where it is no number."""
        if self.lost:
            return "NaN"
        return f">{self.longest}" if self.censored else str(self.steps)

    def __str__(self) -> str:
        return self.display


def horizon(reach: Reach, *, threshold: float = 1e-3, resamples: int = 200, seed: int = 0) -> Horizon:
    """The horizon, its decay per step and their bootstrap intervals; draws nothing from the global generators.

    >>> horizon(reach(trace)).display
    '23'

    Raises NotMeasured where no anchor has a gradient, so that there is no ratio.
    """
    if not 0 < threshold < 1:
        raise UsageError(f"The threshold is a share between 0 and 1, got {threshold:g}.")
    r = 1 if reach.has_memory else 0
    logs, owner = _ratios(reach, r)
    sequences = len(set(owner.tolist()))
    profile = quantile(logs, 0.5, dim=0)
    fit = _fit_range(profile, r, threshold)
    low = high = decay_low = decay_high = None
    band: tuple[Tensor, ...] = ()
    if sequences > 1:
        profiles = _resampled(logs, owner, resamples, seed)
        low, high = (int(x) for x in bounds(_lags(profiles, r, threshold).double()))
        decay_low, decay_high = (float(x) for x in bounds(_decay(profiles, fit)))
        band = bounds(profiles)
    return Horizon(
        steps=int(_lags(profile, r, threshold)),
        low=low,
        high=high,
        threshold=threshold,
        longest=reach.longest,
        reference=r,
        profile=tuple(profile.tolist()),
        upper=tuple(quantile(logs, 0.9, dim=0).tolist()),
        profile_low=tuple(band[0].tolist()) if band else (),
        profile_high=tuple(band[1].tolist()) if band else (),
        decay=float(_decay(profile, fit)),
        decay_low=decay_low,
        decay_high=decay_high,
        fitted=fit,
        readout=_exp(float(profile[0])) if reach.has_memory else None,
        anchors=reach.anchors,
        sequences=sequences,
        per_step=reach.per_step,
        summed=reach.summed,
        underflow=_underflow(reach.log_norms),
    )


def _ratios(reach: Reach, r: int) -> tuple[Tensor, Tensor]:
    """ln N[t,t-l] / N[t,t-r], (N, lags), one row for each anchor and sequence with a loss; and the row's sequence."""
    logs = reach.log_norms.permute(0, 2, 1).flatten(0, 1)  # (A * B, lags)
    owner = torch.arange(reach.log_norms.shape[2]).repeat(reach.log_norms.shape[0])
    some = (logs[:, [0, r]] != -math.inf).all(1)
    if not some.any():
        raise NotMeasured(
            "No loss has a gradient at its own step, so there is nothing to compare the earlier ones with. "
            "Where only the last step has a loss, return that one number."
        )
    logs = logs[some]
    return logs - logs[:, r : r + 1], owner[some]


def _underflow(log_norms: Tensor) -> int | None:
    """The first lag where most norms are zero though they had only just been near the smallest number there is."""
    middle = quantile(log_norms.permute(0, 2, 1).flatten(0, 1), 0.5, dim=0)
    gone = (middle[1:] == -math.inf) & (middle[:-1] < NEARLY_NOTHING) & middle[:-1].isfinite()
    return int(gone.nonzero()[0]) + 1 if gone.any() else None


def _lags(profiles: Tensor, r: int, threshold: float) -> Tensor:
    """The horizon of each profile (..., lags); r at least, since g[r] = 1."""
    above = profiles[..., r:] >= math.log(threshold)
    return r + above.long().cumprod(-1).sum(-1).sub(1).clamp(min=0)


def _fit_range(profile: Tensor, r: int, threshold: float) -> tuple[int, int]:
    last = min(int(_lags(profile, r, threshold)) + 1, len(profile) - 1)
    while last > r and not math.isfinite(profile[last]):
        last -= 1
    return r, last


def _decay(profiles: Tensor, fit: tuple[int, int]) -> Tensor:
    """exp of the least-squares slope of each profile (..., lags) over the lags of the fit."""
    first, last = fit
    if first == last:
        return torch.full(profiles.shape[:-1], math.nan, dtype=torch.float64)
    l = torch.arange(first, last + 1, dtype=torch.float64)
    l = l - l.mean()
    return (profiles[..., first : last + 1] @ l / (l @ l)).exp()


def _resampled(logs: Tensor, owner: Tensor, resamples: int, seed: int) -> Tensor:
    """Median profiles (resamples, lags), each over as many sequences drawn with replacement.

    A draw is a weight for each row; the rows of each lag are sorted once and the median is where the weight is half.
    """
    names, row = torch.unique(owner, return_inverse=True)
    draws = torch.randint(len(names), (resamples, len(names)), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(resamples, len(names)).scatter_add_(1, draws, torch.ones(draws.shape))[:, row]
    values, order = logs.sort(0)  # (N, lags)
    below = weights[:, order].cumsum(1) < weights.sum(1)[:, None, None] / 2  # (resamples, N, lags)
    return torch.where(logs.isnan().any(0), math.nan, values.gather(0, below.sum(1)))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf
