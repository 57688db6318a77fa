"""Somebody's own cell, called once a step in a Python loop, with the gradient at its state within reach.

    s' = cell(x, s) + probe          probe = 0: what anything is to s', it is to probe

The cell runs as it is written, in the precision of the record, and autograd takes its derivatives. A cell that cannot
run in that precision, or that draws other random numbers in it, runs in its own.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function

from retrograd.errors import NotMeasured
from retrograd.trace.following import Following
from retrograd.trace.gradients import batched_gradient
from retrograd.trace.precision import Precision
from retrograd.trace.recording import Link, Place, Recording, Trajectory, said
from retrograd.trace.replay import Given, Run, Steps
from retrograd.trace.shapes import Shapes, as_rows
from retrograd.trace.trees import Path, at, leaves, mapped

CLOSE = 1e-3  # of the largest: what a step may differ by in another precision


@dataclass(frozen=True)
class Spec:
    """Where a cell takes its state from and where it leaves the new one.

    Paths begin with "call" and the name of a parameter of `forward`, with "return", or with "self" and an attribute.
    """

    before: tuple[Path, ...]
    after: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class CallSteps(Steps):
    """The one step of a call: autograd's own linear map."""

    new: Tensor  # (B, S), live
    probe: Tensor  # (2, B, S)

    def back(self, t: int, delta: Tensor) -> Tensor:
        if not self.new.requires_grad:
            return torch.zeros_like(delta)
        before = batched_gradient(self.new, self.probe, delta.reshape(-1, *self.new.shape))
        return before[:, 0].reshape(delta.shape)


class _Mark(Function):
    """The new state twice, for the rest of the model and for the next call, and what else the cell put out.

    All of it is one node of the graph. What the rest was made of, the state just before it is marked, is none of the
    next steps' business; where a gradient comes back through it, that is the mark's as well.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(state: Tensor, mark: Tensor, new: "_New", *others: Tensor) -> tuple[Tensor, ...]:
        marked = state + mark
        return marked, marked.clone(), *(x.clone() for x in others)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.new, ctx.others = inputs[2], inputs[3:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        door, last, *others = gradients
        state = door if last is None else last if door is None else door + last
        beside = ctx.new.through(ctx.others, others)
        return state, state if beside is None else beside if state is None else state + beside, None, *others


class _New(NamedTuple):
    """The tensors of a new state as the cell returned them."""

    parts: list[Tensor]
    shapes: Shapes

    def through(self, others: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor | None:
        """The gradient of what was made from them, (B, S): at each of them with the rest held as they are."""
        used = [(x, g) for x, g in zip(others, gradients, strict=True) if g is not None]
        wells = [x for x in self.parts if x.requires_grad]
        if not used or not wells:
            return None
        stops = [x.grad_fn.register_prehook(_stopped) for x in wells if x.grad_fn is not None]
        try:
            xs, gs = zip(*used, strict=True)
            found = iter(torch.autograd.grad(xs, wells, gs, retain_graph=True, materialize_grads=True))
        finally:
            for stop in stops:
                stop.remove()
        return self.shapes.join([next(found) if x.requires_grad else torch.zeros_like(x) for x in self.parts])


def _stopped(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """A gradient is taken where it arrives, before this lets nothing through."""
    return tuple(None if g is None else torch.zeros_like(g) for g in gradients)


class _Step(NamedTuple):
    """What one call of the cell gave."""

    out: Any
    new: _New
    joined: Tensor  # (B, S)
    probe: Tensor  # (2, B, S)
    before: Tensor | None  # (B, S)
    given: Given | None


class Loop:
    """One cell during one recording: what stands in for its forward."""

    def __init__(self, name: str, module: nn.Module, spec: Spec, recording: Recording, dtype: torch.dtype) -> None:
        self.name, self.module, self.spec, self.recording = name, module, spec, recording
        self.original, self.signature = module.forward, inspect.signature(module.forward)
        self.following = Following(name, recording)
        self.precision: Precision | None = None
        self._asked, self._alike = dtype, False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.recording.busy:
            if not self.recording.replays():
                return self.original(*args, **kwargs)
            call = dict(self.signature.bind(*args, **kwargs).arguments)
            given = [self._at(path, {"call": call}) for path in self.spec.before]
            link = self.following.link(given)
            with torch.enable_grad():
                step = self._stepped(call, given, link)
                trajectory, run = self._recorded(call, link, step)
            own, dtype = self._own(call), step.joined.dtype
            if dtype != own:  # in its own precision it runs as the model does
                self.recording.outside_autocast(self.name, dtype, step.joined.device)
            pieces = [piece.to(own) for piece in step.new.shapes.split(run.outputs[0])]
            return self._handed_out(step, run, self.following.hand_out(trajectory, pieces), own)

    def _at(self, path: Path, tree: dict[str, Any]) -> Tensor | None:
        if path[0] != "self":
            return at(tree, path)
        value = getattr(self.module, path[1], None)
        return value if isinstance(value, Tensor) else None

    def _own(self, call: dict[str, Any]) -> torch.dtype:
        """The module's own precision."""
        tensors = chain(self.module.parameters(), self.module.buffers(), (x for _, x in leaves(call)))
        return next((x.dtype for x in tensors if x.is_floating_point()), torch.get_default_dtype())

    def _stepped(self, call: dict[str, Any], given: list[Tensor | None], link: Link) -> _Step:
        """The cell called in the precision of the record, if it can be."""
        own = self._own(call)
        self.precision = self.precision or Precision(self.module, own, self._asked)
        if self.precision.dtype == own:
            return self._step(call, given, link, self.precision)
        before, reason = _generators(), "it draws other random numbers in it"
        step: _Step | None = None
        try:
            step = self._step(call, given, link, self.precision)
        except NotMeasured:
            raise
        except Exception as error:  # whatever it is, the cell's own precision will tell
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        if step is not None and (self._alike or _equal(before, _generators())):
            return step
        after = _generators()
        _set(before)
        once = self._step(call, given, link, single := Precision(self.module, own, own))
        if step is not None and _equal(after, _generators()) and _close(step.joined, once.joined):
            self._alike = True
            return step
        self.recording.note(
            f"{self.name} does not run in {said(self._asked)} ({reason}), so its steps are those of its own "
            "precision, and norms under 1e-38 are not told from zero."
        )
        self.precision = single
        return once

    def _step(self, call: dict[str, Any], given: list[Tensor | None], link: Link, precision: Precision) -> _Step:
        dtype, tensors = precision.dtype, [g for g in given if g is not None]
        beside = [x for path, x in leaves(call, ("call",)) if path not in self.spec.before]
        shapes, state, bridge = Shapes(tensors, beside), None, None
        if len(tensors) == len(given):
            source = Given(tuple(tensors), lambda xs: [shapes.join([x.to(dtype) for x in xs])], 0)
            bridge = source if link.bridged else None
            exact = link.trajectory is not None and not link.bridged
            state = link.trajectory.passes[-1][0].last.to(dtype) if exact and link.trajectory else source.state
            if link.trajectory and self.recording.forget == len(link.trajectory) > 0:
                state, bridge = torch.zeros_like(state), None
        probe = None if state is None else torch.zeros(2, *state.shape, dtype=dtype, device=state.device)
        split = [] if probe is None or state is None else shapes.split(state + probe.requires_grad_()[0])
        pieces = dict(zip(self.spec.before, [piece.clone() for piece in split], strict=False))
        out, parts = self._called(call, pieces, precision)
        new = _New(parts, Shapes(parts, beside))
        joined = new.shapes.join([x.to(dtype) for x in parts])
        if probe is None:
            probe = torch.zeros(2, *joined.shape, dtype=dtype, device=joined.device, requires_grad=True)
        return _Step(out, new, joined, probe, state, bridge)

    def _called(
        self, call: dict[str, Any], pieces: dict[Path, Tensor], precision: Precision
    ) -> tuple[Any, list[Tensor]]:
        """What the cell returns, and the tensors of its new state."""

        def change(path: Path, x: Tensor) -> Tensor:
            return pieces.get(path, x.to(precision.dtype) if x.dtype == precision.own else x)

        asked = inspect.BoundArguments(self.signature, mapped(call, change, ("call",)))
        with precision.exchanged(), self.recording.within():
            for path, piece in pieces.items():
                if path[0] == "self":
                    setattr(self.module, path[1], piece)
            out = self.original(*asked.args, **asked.kwargs)
            found = {path: self._at(path, {"return": out}) for path in self.spec.after}
        parts = [x for x in found.values() if x is not None]
        if len(parts) < len(found):
            missing = next(path for path, x in found.items() if x is None)
            where = f"self.{missing[1]}" if missing[0] == "self" else "what it returns"
            raise NotMeasured(f"{self.name} was called, and no tensor of its state is in {where}; see rg.register.")
        return out, parts

    def _recorded(self, call: dict[str, Any], link: Link, step: _Step) -> tuple[Trajectory, Run]:
        """The step as a run of its trajectory."""
        recording, kind = self.recording, type(self.module).__name__
        trajectory = link.trajectory or recording.begin(
            self.name, (Place("", False),), kind, has_memory=len(self.spec.after) > 1
        )
        ids = {id(x) for x in step.new.parts}
        others = {id(x): x for _, x in leaves(step.out) if x.requires_grad and id(x) not in ids}
        door, last, *marked = _Mark.apply(step.joined, step.probe[1], step.new, *others.values())  # type: ignore[no-untyped-call]
        fed = [x for path, x in leaves(call, ("call",)) if path not in self.spec.before and x.is_floating_point()]
        before = torch.zeros_like(step.joined) if step.before is None else step.before
        run = Run(
            cell=None,
            inputs=as_rows(fed[0] if fed else None, step.joined)[None],
            states=torch.stack([before, step.joined]).detach(),
            outputs=door[None],
            final=torch.zeros_like(step.joined).requires_grad_(),  # all of the model sees the one above
            last=last,
            probe=step.probe,
            steps=CallSteps(step.joined, step.probe),
            given=step.given,
            others=dict(zip(others, marked, strict=True)),
        )
        trajectory.started = trajectory.started and step.before is not None
        recording.add(trajectory, [run], step.joined, [] if step.before is None else [step.before], link)
        return trajectory, run

    def _handed_out(self, step: _Step, run: Run, states: Sequence[Tensor], own: torch.dtype) -> Any:
        """What the cell returned, in its own precision, with the new state and the rest as they are marked."""
        handed = dict(zip(map(id, step.new.parts), states, strict=True))
        for path, state in zip(self.spec.after, states, strict=True):
            if path[0] == "self":
                setattr(self.module, path[1], state)

        def change(_: Path, x: Tensor) -> Tensor:
            found = handed.get(id(x), run.others.get(id(x), x))
            return found if id(x) in handed or x.dtype != step.joined.dtype else found.to(own, copy=True)

        return mapped(step.out, change)


def _generators() -> tuple[Tensor, ...]:
    """Where torch's random numbers are."""
    return torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())  # type: ignore[no-untyped-call]


def _set(states: tuple[Tensor, ...]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])


def _equal(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    return all(map(torch.equal, some, others))


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(
        one.to(other.dtype), other, rtol=CLOSE, atol=CLOSE * float(other.detach().abs().max()), equal_nan=True
    )
