"""What one recording gathers: the trajectories of all recurrent modules, in the order in which they began.

    trajectory    a pass through a module and those that continue it: the same state, on and on
    clock         when a trajectory began: after what its first state comes from, beside those that feed it

A decoder that starts from an encoder's last state goes on with its clock, so that a lag counts back across both.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from retrograd.errors import NotMeasured
from retrograd.trace.lineage import Lineage
from retrograd.trace.replay import Run


class Place(NamedTuple):
    """Which part of a module a run is of: ("l0", reverse)."""

    name: str
    reverse: bool


class Moment(NamedTuple):
    """A trajectory after so many of its passes."""

    trajectory: "Trajectory"
    passes: int


@dataclass(eq=False)
class Trajectory:
    """The passes of one module over one sequence; each pass is a list of runs, one for each of the places."""

    name: str
    places: tuple[Place, ...]
    kind: str  # the class of somebody's own cell
    has_memory: bool  # does that one's state hold more than what it puts out?
    passes: list[list[Run]] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])  # the steps taken before each pass, and after the last
    after: set[Moment] = field(default_factory=set)  # where its first state comes from
    beside: set["Trajectory"] = field(default_factory=set)  # those that its inputs come from
    started: bool = True  # was there a first state to take a gradient at?
    cut: bool = False  # did its first state come from the module's last call, but no gradient with it?
    mixed: bool = False  # was what it handed out mixed with older states before it was given again?

    def __len__(self) -> int:
        return self.ends[-1]

    def append(self, runs: list[Run]) -> None:
        self.passes.append(runs)
        self.ends.append(len(self) + len(runs[0].inputs))

    @property
    def now(self) -> Moment:
        return Moment(self, len(self.passes))


class Link(NamedTuple):
    """What a state that a module is given is to its trajectories."""

    trajectory: Trajectory | None = None  # the one to go on with
    bridged: bool = False  # by way of the model?
    mixed: bool = False  # and with older states of it mixed in?
    cut: Moment | None = None  # where its numbers come from, though no gradient does


class Recording:
    """Trajectories, where each tensor came from, and what a reader of the trace should know."""

    def __init__(self, forget: int = 0) -> None:
        self.trajectories: list[Trajectory] = []
        self.lineage = Lineage()
        self.notes: dict[str, None] = {}
        self.forget = forget  # every trajectory sets out from zero again after so many steps; 0: never
        self._thread, self._within = threading.get_ident(), False
        self.busy = threading.RLock()  # held while a cell runs in another precision

    def begin(self, name: str, places: tuple[Place, ...], kind: str = "", *, has_memory: bool = False) -> Trajectory:
        begun = Trajectory(name, places, kind, has_memory)
        self.trajectories.append(begun)
        return begun

    def add(
        self, trajectory: Trajectory, runs: list[Run], made_from: Tensor, states: Sequence[Tensor], link: Link
    ) -> None:
        """A pass, with what went in. The first of a trajectory tells where that began."""
        if not trajectory.passes:
            trajectory.after = {link.cut} if link.cut else self.lineage.of(*states)
            trajectory.cut = link.cut is not None
            earlier = {moment.trajectory for moment in trajectory.after}
            trajectory.beside = {moment.trajectory for moment in self.lineage.of(made_from)} - earlier
        trajectory.mixed |= link.mixed
        trajectory.append(runs)
        for run in runs:
            self.lineage.add(run.last, trajectory.now)

    def begins(self) -> dict[Trajectory, int]:
        """Of each trajectory the steps on the common clock before its first."""
        found: dict[Trajectory, int] = {}
        for it in self.trajectories:
            fed = [below for below in it.beside if len(below) == len(it)]
            if it.after:
                found[it] = max(found[earlier] + earlier.ends[passes] for earlier, passes in it.after)
            elif fed:
                found[it] = max(found[below] for below in fed)
            else:
                found[it] = max((found[below] + len(below) for below in it.beside), default=0)
        return found

    def ends(self) -> dict[Trajectory, int]:
        """Of each trajectory the last step on the clock of all that hang together with it."""
        begins, groups = self.begins(), list[set[Trajectory]]()
        for it in self.trajectories:
            linked = {it, *it.beside, *(moment.trajectory for moment in it.after)}
            touched = [group for group in groups if group & linked]
            groups = [group for group in groups if not group & linked] + [linked.union(*touched)]
        return {it: max(begins[one] + len(one) for one in group) for group in groups for it in group}

    def replays(self) -> bool:
        """Is a call that comes now to be recorded? Not one of another thread, nor one within a cell's step."""
        if self.elsewhere or self._within:
            return False
        if torch.is_inference_mode_enabled():
            raise NotMeasured("A layer runs in torch.inference_mode, which keeps no graph. Use torch.no_grad() there.")
        return True

    @property
    def elsewhere(self) -> bool:
        """Is this another thread than the one that records?"""
        return threading.get_ident() != self._thread

    @contextmanager
    def within(self) -> Iterator[None]:
        """The step of a cell, which may hold recurrent modules of its own."""
        found, self._within = self._within, True
        try:
            yield
        finally:
            self._within = found

    def forgotten(self, trajectory: Trajectory, x: Tensor, starts: Tensor | None) -> Tensor | None:
        """The document starts (T, B) of a pass over x, with the step among them that is to forget all before it."""
        step = self.forget - len(trajectory)
        if not self.forget or not 0 <= step < len(x):
            return starts
        fresh = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device) if starts is None else starts.clone()
        fresh[step] = True
        return fresh

    def outside_autocast(self, name: str, dtype: torch.dtype, device: torch.device) -> None:
        """Say so where a layer's steps run in `dtype` though the model itself runs under autocast."""
        if torch.is_autocast_enabled(device.type):
            self.note(f"The steps of {name} were replayed in {said(dtype)}, outside of autocast.")

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None


def said(dtype: torch.dtype) -> str:
    """As "float64"."""
    return str(dtype).removeprefix("torch.")
