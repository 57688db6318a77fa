"""Somebody's own cell, called once a step in a Python loop, with the gradient at its state within reach.

    s' = cell(x, s) + probe          probe = 0: what anything is to s', it is to probe

The cell runs as it is written, on a copy of itself in the precision of the record, and autograd takes its derivatives.
Where a call is given the very tensors that the last one returned, the state goes on in that precision; where the model
did something to them in between, it goes through that. A cell that cannot run in float64 runs in its own precision.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function

from retrograd.trace.recording import Place, Recording, Trajectory
from retrograd.trace.replay import Run, Steps, batched_gradient
from retrograd.trace.trees import Path, at, leaves, mapped


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
        before = batched_gradient(self.new, self.probe, delta.reshape(-1, *self.new.shape))
        return before[:, 0].reshape(delta.shape)


class _Mark(Function):
    """The new state twice, as one node of the graph: for the rest of the model, and for the next call."""

    generate_vmap_rule = True

    @staticmethod
    def forward(new: Tensor) -> tuple[Tensor, Tensor]:
        return new.clone(), new.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, door: Tensor, last: Tensor) -> Tensor:
        return door + last


class Loop:
    """One cell during one recording: what stands in for its forward."""

    def __init__(self, name: str, module: nn.Module, spec: Spec, recording: Recording, dtype: torch.dtype) -> None:
        self.name, self.module, self.spec, self.recording, self.dtype = name, module, spec, recording, dtype
        self.signature = inspect.signature(module.forward)
        self.original: Callable[..., Any] = module.forward
        self.current: Trajectory | None = None
        self._handed: list[Tensor] = []
        self._last: Tensor | None = None
        self._twin, self._version = self._copied(), _version(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        bound = self.signature.bind(*args, **kwargs)
        tree = {"call": dict(bound.arguments), "self": vars(self.module)}
        given = [at(tree, path) for path in self.spec.before]
        if _version(self.module) != self._version:  # weights that are made anew at each call
            self._twin, self._version = self._copied(), _version(self.module)
        try:
            return self._step(tree, bound, given)
        except (RuntimeError, TypeError) as error:
            if self._twin is None:
                raise
            self._twin = None
            self.recording.note(
                f"{self.name} does not run in {_name(self.dtype)} ({str(error).splitlines()[0]}), so its steps are "
                "those of its own precision, and norms under 1e-38 are not told from zero."
            )
            return self._step(tree, bound, given)

    def _step(self, tree: dict[str, Any], bound: inspect.BoundArguments, given: list[Tensor | None]) -> Any:
        own = next((x.dtype for _, x in leaves(tree["call"]) if x.is_floating_point()), torch.get_default_dtype())
        dtype = own if self._twin is None else self.dtype
        trajectory, bridged = self._trajectory(given)
        first = x if (x := self._input(tree)) is not None else None
        batch = len(first) if first is not None and first.dim() > 1 else None
        shapes = _Shapes([g for g in given if g is not None], batch)
        whole = all(g is not None for g in given)
        state = self._state(given, shapes, trajectory, bridged, dtype) if whole else None
        probe = torch.zeros(2, *(state.shape if state is not None else (0, 0)), dtype=dtype)
        if state is not None:
            probe = probe.to(state.device).requires_grad_()
            pieces = dict(zip(self.spec.before, shapes.split(state + probe[0]), strict=True))
        else:
            pieces = {}
        out, target = self._called(tree, bound, pieces, dtype)
        result = {"return": out, "self": vars(target)}
        new = [at(result, path) for path in self.spec.after]
        shapes = _Shapes([n for n in new if n is not None], batch)
        joined = shapes.join([n.to(dtype) for n in new if n is not None])
        if state is None:
            probe = torch.zeros(2, *joined.shape, dtype=dtype, device=joined.device, requires_grad=True)
        door, last = _Mark.apply(joined + probe[1])  # type: ignore[no-untyped-call]
        outputs, before = door[None], torch.zeros_like(joined) if state is None else state
        run = Run(
            cell=None,
            inputs=_flat(first, joined).detach()[None],
            states=torch.stack([before, joined]).detach(),
            outputs=outputs,
            final=joined.clone(),
            last=last,
            probe=probe,
            steps=CallSteps(joined, probe),
            given=state if bridged else None,
        )
        trajectory.started = trajectory.started and state is not None
        self.recording.add(trajectory, [run], first, [] if state is None or trajectory.passes else [state])
        self._last, self._handed = last, [piece.to(own) for piece in shapes.split(outputs[0])]
        return self._handed_out(out, new, own)

    def _trajectory(self, given: list[Tensor | None]) -> tuple[Trajectory, bool]:
        if self.current and self._handed and len(given) == len(self._handed):
            if all(a is b for a, b in zip(given, self._handed, strict=True)):
                return self.current, False
            if self.current in self.recording.lineage.of(*given):
                return self.current, True
        self.current = self.recording.begin(
            self.name, (Place("", False),), type(self.module).__name__, has_memory=len(self.spec.after) > 1
        )
        return self.current, False

    def _state(
        self, given: Sequence[Tensor | None], shapes: "_Shapes", trajectory: Trajectory, bridged: bool, dtype: Any
    ) -> Tensor:
        if trajectory.passes and not bridged and self._last is not None:
            return self._last
        return shapes.join([g.to(dtype) for g in given if g is not None])

    def _input(self, tree: dict[str, Any]) -> Tensor | None:
        """The first floating tensor that the call was given beside its state."""
        call = {("call", *path): x for path, x in leaves(tree["call"])}
        rest = (x for path, x in call.items() if path not in self.spec.before and x.is_floating_point())
        return next(rest, None)

    def _called(
        self, tree: dict[str, Any], bound: inspect.BoundArguments, pieces: dict[Path, Tensor], dtype: torch.dtype
    ) -> tuple[Any, nn.Module]:
        """What the cell returns, and the module whose attributes it has set."""

        def change(path: Path, x: Tensor) -> Tensor:
            return pieces.get(path, x.to(dtype) if x.is_floating_point() else x)

        target = self.module if self._twin is None else self._twin
        call = inspect.BoundArguments(self.signature, mapped(tree["call"], change, ("call",)))
        for path, piece in pieces.items():
            if path[0] == "self":
                setattr(target, path[1], piece)
        if self._twin is None:
            return self.original(*call.args, **call.kwargs), target
        return self._twin.forward(*call.args, **call.kwargs), target

    def _handed_out(self, out: Any, new: list[Tensor | None], own: torch.dtype) -> Any:
        """What the cell returned in its own precision, with the new state as it is handed to the model."""
        handed = dict(zip([id(n) for n in new if n is not None], self._handed, strict=True))
        for path, piece in zip(self.spec.after, self._handed, strict=True):
            if path[0] == "self":
                setattr(self.module, path[1], piece)
        return mapped(out, lambda _, x: handed.get(id(x), x.to(own) if x.is_floating_point() else x))

    def _copied(self) -> nn.Module | None:
        try:
            return copy.deepcopy(self.module).to(self.dtype).requires_grad_(False)
        except (RuntimeError, TypeError):  # such as a tensor of the graph kept as an attribute
            return None


class _Shapes:
    """Several state tensors as one (B, S), and back. The batch comes first, or second as in (layers, B, H)."""

    def __init__(self, tensors: Sequence[Tensor], batch: int | None) -> None:
        self.shapes = [x.shape for x in tensors]
        self.second = [x.dim() > 2 and batch is not None and len(x) != batch and x.shape[1] == batch for x in tensors]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        flat = [x.transpose(0, 1) if second else x for x, second in zip(tensors, self.second, strict=True)]
        return torch.cat([x.reshape(1, -1) if x.dim() < 2 else x.flatten(1) for x in flat], -1)

    def split(self, state: Tensor) -> list[Tensor]:
        sizes = [shape.numel() // len(state) for shape in self.shapes]
        pieces = state.split(sizes, -1)  # type: ignore[no-untyped-call]
        return [
            piece.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1) if second else piece.reshape(shape)
            for piece, shape, second in zip(pieces, self.shapes, self.second, strict=True)
        ]


def _flat(x: Tensor | None, like: Tensor) -> Tensor:
    """The input as (B, X), or (B, 0) where there is none of that batch."""
    if x is None or (x.dim() > 1 and len(x) != len(like)):
        return like.new_zeros(len(like), 0)
    return x.reshape(len(like), -1).to(like.dtype)


def _version(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes whenever a weight, or a tensor that is made from one, does."""
    tensors = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        tensors += [x for x in vars(part).values() if isinstance(x, Tensor) and x.grad_fn is not None]
    return tuple((id(x), x._version) for x in tensors)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
