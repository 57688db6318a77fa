"""What one recording gathers: the trajectories of all recurrent modules, in the order in which they began.

    trajectory    a pass through a module and those that continue it: the same state, on and on
    clock         when a trajectory began: after those that its first state comes from, beside those that feed it

A decoder that starts from an encoder's last state goes on with its clock, so that a lag counts back across both.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from retrograd.trace.lineage import Lineage
from retrograd.trace.replay import Run


class Place(NamedTuple):
    """Which part of a module a run is of: ("l0", reverse)."""

    name: str
    reverse: bool


@dataclass(eq=False)
class Trajectory:
    """The passes of one module over one sequence; each pass is a list of runs, one for each of the places."""

    name: str
    places: tuple[Place, ...]
    kind: str  # the class of somebody's own cell
    has_memory: bool  # does that one's state hold more than what it puts out?
    passes: list[list[Run]] = field(default_factory=list)
    after: set["Trajectory"] = field(default_factory=set)  # those that its first state comes from
    beside: set["Trajectory"] = field(default_factory=set)  # those that its inputs come from
    started: bool = True  # was there a first state to take a gradient at?

    def __len__(self) -> int:
        return sum(len(runs[0].inputs) for runs in self.passes)

    @property
    def begins(self) -> int:
        """Steps on the common clock before its first."""
        if self.after:
            return max(earlier.begins + len(earlier) for earlier in self.after)
        fed = [below for below in self.beside if len(below) == len(self)]
        if fed:
            return max(below.begins for below in fed)
        return max((below.begins + len(below) for below in self.beside), default=0)


class Recording:
    """Trajectories, where each tensor came from, and what a reader of the trace should know."""

    def __init__(self) -> None:
        self.trajectories: list[Trajectory] = []
        self.lineage = Lineage()
        self.notes: dict[str, None] = {}

    def begin(self, name: str, places: tuple[Place, ...], kind: str = "", *, has_memory: bool = False) -> Trajectory:
        begun = Trajectory(name, places, kind, has_memory)
        self.trajectories.append(begun)
        return begun

    def add(self, trajectory: Trajectory, runs: list[Run], inputs: Tensor | None, states: list[Tensor]) -> None:
        """A pass, with what went in. The first of a trajectory tells where that began."""
        if not trajectory.passes:
            trajectory.after = self.lineage.of(*states) - {trajectory}
            trajectory.beside = self.lineage.of(inputs) - {trajectory}
        trajectory.passes.append(runs)
        for run in runs:
            self.lineage.add(run.last, trajectory)

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None
