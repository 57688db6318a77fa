"""Going back: after a few steps whose loss or gradient is not finite, in a row or nearly so, training returns to an
earlier checkpoint and goes on from there with a smaller step.

    rate <- rate * factor ^ returns        and the gradient is clipped from then on, to norm 1 where it was not

From a checkpoint whose very first steps are not finite no step was taken at all, so a smaller one changes nothing:
that one is not gone back to again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retrograd.training.loop import Step

CLIP_NORM = 1.0


@dataclass
class Rollback:
    """When one training goes back, and how often it may."""

    tolerance: int  # strikes at which it goes back: so many steps skipped in a row, or more than one in three for long
    limit: int  # returns at most
    factor: float  # of the learning rate at each return
    tried: tuple[str, ...] = ()  # checkpoints gone back to, in order
    strikes: float = 0.0  # one for a step that is skipped, half a one less for one that is taken
    moved: bool = False  # was a step taken since the last checkpoint that was gone on from?

    @property
    def scale(self) -> float:
        """What the learning rate is multiplied with by now."""
        return float(self.factor ** len(self.tried))

    def clip_norm(self, asked: float) -> float:
        """The norm to clip to, where `asked` is what the config says and 0 is off."""
        return asked or (CLIP_NORM if self.tried else 0.0)

    def due(self, step: Step) -> bool:
        """Count a step; True where it was the last that could be skipped."""
        self.strikes = max(0.0, self.strikes - 0.5) if step.finite else self.strikes + 1
        self.moved |= step.finite
        return self.strikes >= self.tolerance

    def choose(self, newest_first: Sequence[str]) -> str | None:
        """The checkpoint to go back to, or None where no other return can help.

        It is the newest that was not tried: one that was has led to NaN again before anything newer could be saved.
        When all were, it is the oldest, unless not even one step could be taken from where training stands.
        """
        untried = [name for name in newest_first if name not in self.tried]
        if not self.moved:
            untried = untried[1:] if newest_first[0] not in self.tried else untried
        if len(self.tried) >= self.limit or not (untried or self.moved):
            return None
        chosen = untried[0] if untried else newest_first[-1]
        self.tried, self.strikes, self.moved = (*self.tried, chosen), 0.0, False
        return chosen
