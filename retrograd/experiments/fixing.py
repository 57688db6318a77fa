"""A remedy applied to somebody's model, and proved by measuring again.

    fixed = fix(model, loss, "forget-bias", 3.0, need=200)
    fixed.before.horizon, fixed.after.horizon, fixed.gained

The weights are those of before when it returns, unless they are to be kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from retrograd.experiments.examination import Loss, diagnose
from retrograd.init import initialise_
from retrograd.reports import Report


@dataclass(frozen=True, repr=False)
class Fixed:
    """A model before and after a remedy."""

    remedy: str  # as `initialise_` takes it: "forget_bias=3"
    before: Report
    after: Report
    kept: bool  # does the model have it now?

    @property
    def gained(self) -> int:
        """Steps that the gradient reaches further; at least so many, where it outlives the sequence."""
        return self.after.horizon.steps - self.before.horizon.steps

    @property
    def told_apart(self) -> bool:
        """Is that more than chance: are there intervals, and do they not overlap?"""
        one, other = self.before.horizon, self.after.horizon
        if one.low is None or one.high is None or other.low is None or other.high is None or one.lost or other.lost:
            return False
        return other.low > one.high or other.high < one.low

    def __repr__(self) -> str:
        chance = "" if self.told_apart or not self.gained else " That may be chance."
        left = "It is in the model." if self.kept else "It was taken back."
        return (
            f"{self.remedy}: the gradient reached {self.before.horizon} steps back, and {self.after.horizon} with it."
            f"{chance} {left}"
        )


def fix(
    model: nn.Module, loss: Loss, remedy: str, *numbers: float, need: int | None = None, keep: bool = False
) -> Fixed:
    """Diagnose, start the recurrent weights anew by `remedy` (`INITS`, at most one number), and diagnose again.

    It is a remedy for the start of a training: what the recurrent layers have learned is gone with it. Raises what
    `diagnose` and `initialise_` raise; the model is then as it was.

    >>> fix(nn_lstm, loss, "forget-bias", 3.0, need=200).gained
    152
    """
    name, equals, number = remedy.partition("=")
    spec = name.replace("-", "_") + equals + number + "".join(f"={float(x)!r}".replace("+", "") for x in numbers)
    before = diagnose(model, loss, need=need)
    with _patched(model, spec, keep=keep):
        after = diagnose(model, loss, need=need)
    return Fixed(spec, before, after, keep)


@contextmanager
def _patched(model: nn.Module, spec: str, *, keep: bool) -> Iterator[None]:
    """The remedy in place inside the block, drawn without touching the random numbers of anybody else."""
    saved = [(p, p.detach().clone()) for p in model.parameters()]
    done = False
    try:
        with torch.random.fork_rng(devices={p.device.index for p in model.parameters() if p.is_cuda}):
            initialise_(model, spec)
        yield
        done = True
    finally:
        if not (keep and done):
            with torch.no_grad():
                for p, value in saved:
                    p.copy_(value)
