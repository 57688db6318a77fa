"""Which trajectory of a module a call goes on with, told by the state that it is given.

    the very tensors that a call handed out, as they were      goes on, in full precision
    what autograd's graph leads back from to such a call       goes on by way of the model (h * mask, a layer norm)
    the same numbers, cut off from the graph                   begins anew on the clock where that ended
    anything else                                              begins anew

A model may write into what it was handed, or detach it in place; so its version, its place in the graph and its
numbers are looked at beside its identity.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from retrograd.trace.recording import Link, Moment, Recording, Trajectory, said


class _Handed(NamedTuple):
    """Tensors as they were when they were handed to the model."""

    tensors: tuple[Tensor, ...]
    marks: tuple[tuple[int, Any], ...]
    values: tuple[Tensor, ...]
    moment: Moment

    def are(self, given: Sequence[Tensor | None]) -> bool:
        return (
            len(given) == len(self.tensors)
            and all(_reads(a, b) for a, b in zip(given, self.tensors, strict=True))
            and all(_mark(x) == mark for x, mark in zip(self.tensors, self.marks, strict=True))
            and self.equal(given)
        )

    def equal(self, given: Sequence[Tensor | None]) -> bool:
        return self.fit(given) and all(_same(a, b) for a, b in zip(given, self.values, strict=True) if a is not None)

    def fit(self, given: Sequence[Tensor | None]) -> bool:
        return len(given) == len(self.values) and all(
            a is not None and _axes(a) == _axes(b) for a, b in zip(given, self.values, strict=True)
        )


class Following:
    """The trajectories of one module during one recording."""

    def __init__(self, name: str, recording: Recording) -> None:
        self.name, self.recording = name, recording
        self._handed: dict[int, _Handed] = {}  # by where the first tensor is in memory
        self._latest: dict[Trajectory, _Handed] = {}

    def link(self, given: Sequence[Tensor | None]) -> Link:
        """What a state, as the caller gave it, goes on with."""
        if not given or any(x is None for x in given) or not self._latest:
            return Link()
        handed = self._handed.get(_place(given[0]))
        if handed and handed.are(given):
            if handed.tensors[0].requires_grad == torch.is_grad_enabled():
                return Link(handed.moment.trajectory)
            if not torch.is_grad_enabled():  # a look ahead
                return Link(cut=handed.moment)
        moments = self.recording.lineage.of(*given)
        for trajectory in reversed(self._latest):
            if trajectory.now in moments and self._latest[trajectory].fit(given):
                self._note_bridge(given)
                mixed = any(it.trajectory is trajectory and it.passes < len(trajectory.passes) for it in moments)
                return Link(trajectory, bridged=True, mixed=mixed)
        return Link(cut=None if moments else self._cut(given))

    def _note_bridge(self, given: Sequence[Tensor | None]) -> None:
        dtype = next(said(x.dtype) for x in given if x is not None)
        if dtype != "float64":
            self.recording.note(
                f"Between the calls of {self.name} the model changes its state, in {dtype}; norms under what that can "
                "hold are not told from zero there."
            )

    def _cut(self, given: Sequence[Tensor | None]) -> Moment | None:
        """Where these numbers were handed out last; zeros are anybody's."""
        latest = next(reversed(self._latest.values()))
        if not latest.equal(given) or not any(x.any() for x in latest.values):
            return None
        self.recording.note(
            f"{self.name} goes on from a state that is cut off from the gradient (detached, or from torch.no_grad): "
            "no gradient crosses there."
        )
        return latest.moment

    def hand_out(self, trajectory: Trajectory, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Copies that the model may do with as it likes; without a gradient where it has switched that off."""
        copies = tuple(x.clone() for x in states)
        handed = _Handed(copies, tuple(map(_mark, copies)), tuple(x.detach().clone() for x in copies), trajectory.now)
        before = self._latest.pop(trajectory, None)
        if before is not None:
            del self._handed[_place(before.tensors[0])]
        self._handed[_place(copies[0])] = self._latest[trajectory] = handed  # the latest comes last
        return copies


def _place(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _reads(a: Tensor | None, b: Tensor) -> bool:
    """Is it the tensor, or the same with an axis more or less, as of torch's (layers, B, H)?"""
    return a is b or (
        a is not None
        and a.data_ptr() == b.data_ptr()
        and _axes(a) == _axes(b)
        and a.is_contiguous()
        and a.dtype == b.dtype
        and a.requires_grad == b.requires_grad
    )


def _same(a: Tensor, b: Tensor) -> bool:
    a = a.reshape(b.shape)
    return bool((a.eq(b) | (a.isnan() & b.isnan())).all())


def _axes(x: Tensor) -> list[int]:
    return [n for n in x.shape if n > 1]


def _mark(x: Tensor) -> tuple[int, Any]:
    """Changes where the tensor is written to, or taken out of the graph."""
    return x._version, x.grad_fn
