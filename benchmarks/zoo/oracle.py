"""The gradient at each recurrent state by brute force, written from the textbook and from nothing in retrograd.

    nn.RNN, nn.GRU, nn.LSTM     a plain loop over layers, directions and steps in the module's place
    a cell in a Python loop     the very tensors that it gives back, or those that it is given, are kept
    no state at all             the input of each step is kept

Everything runs in float64, the model's weights, the data that the loss closes over and the tensors that it makes.
What is kept is a list of states s[0] .. s[T], each a tuple of tensors with the batch first; the truth is autograd's
gradient of one loss after the other at each of them.
"""

import random
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks.zoo.size import Loss, Made

Parts = tuple[Tensor, ...]
State = Parts | None  # None where no tensor can be had
SEED = 3


@dataclass(frozen=True)
class Look:
    """What to keep of a model beside its nn.RNN, nn.GRU and nn.LSTM, by the path of the module."""

    returned: dict[str, Callable[[Any], Any]] = field(default_factory=dict)  # cell: which part of its return is s[t]
    given: tuple[str, ...] = ()  # cells whose state is what they are given: it is changed between the steps
    one_by_one: tuple[str, ...] = ()  # nn.RNN and the like that are called with one step at a time
    inputs: dict[str, int] = field(default_factory=dict)  # layers without a state: the time axis of their input


def seed() -> None:
    torch.manual_seed(SEED)
    random.seed(SEED)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    found = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(found)


@dataclass(frozen=True)
class Truth:
    losses: Tensor
    gradients: dict[str, Tensor]  # dL_t/ds[k] of every layer, (A, T+1, B, S); NaN where no tensor holds the state


def truth(made: Made, look: Look, anchors: Sequence[int] | None) -> Truth:
    """The losses, and the gradients of those at `anchors` (from 1; None for a single loss).

    The model is changed: it must be made for this.
    """
    model, loss = made
    model = getattr(model, "_orig_mod", model)
    _double_everything(model)
    kept: dict[str, list[State]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            vars(module)["forward"] = _unrolled(module, name, kept, one_by_one=name in look.one_by_one)
        elif name in look.returned or name in look.given:
            layer = f"{name}.l0" if isinstance(module, nn.RNNCellBase) else name
            vars(module)["forward"] = _watched(module, kept.setdefault(layer, []), look.returned.get(name))
        elif name in look.inputs:
            vars(module)["forward"] = _fed(module, kept.setdefault(name or _kind(module), []), look.inputs[name])
    seed()
    with default_dtype(torch.float64):
        losses = _in_double(loss)(model)
    each = [losses] if anchors is None else [losses[t - 1].sum() for t in anchors]
    gradients = {name: torch.stack([_gradients(one, states) for one in each]) for name, states in kept.items()}
    return Truth(losses.detach(), gradients)


def _gradients(loss: Tensor, states: list[State]) -> Tensor:
    """(T+1, B, S)"""
    held = [part for state in states for part in state or ()]
    whole = iter(torch.autograd.grad(loss, held, retain_graph=True, materialize_grads=True))
    rows = [None if state is None else _apart(state, [next(whole) for _ in state]) for state in states]
    like = next(row for row in rows if row is not None)
    return torch.stack([torch.full_like(like, torch.nan) if row is None else row for row in rows])


def _apart(state: Parts, whole: list[Tensor]) -> Tensor:
    """The gradient at each part with the others held, (B, S): what c does to h of its own step is not c's but h's."""
    parts = []
    for i, part in enumerate(state):
        others = [(s, g) for j, (s, g) in enumerate(zip(state, whole, strict=True)) if j != i]
        through = [torch.autograd.grad(s, part, g, retain_graph=True, materialize_grads=True)[0] for s, g in others]
        parts.append((whole[i] - sum(through)).flatten(1))
    return torch.cat(parts, dim=1)


def _unrolled(module: nn.RNNBase, name: str, kept: dict[str, list[State]], *, one_by_one: bool) -> Callable[..., Any]:
    def forward(input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        x, lengths = pad_packed_sequence(input) if isinstance(input, PackedSequence) else (input, None)
        if lengths is None and module.batch_first:
            x = x.transpose(0, 1)
        T, B = x.shape[:2]
        live = torch.ones(T, B, 1) > 0 if lengths is None else torch.arange(T)[:, None, None] < lengths[:, None]
        first = _first_states(module, hx, B)
        finals = []
        for layer in range(module.num_layers):
            if layer and module.training:
                x = F.dropout(x, module.dropout)
            directions = []
            for suffix in ("", "_reverse")[: 2 if module.bidirectional else 1]:
                states = _loop(module, f"l{layer}{suffix}", x, first[len(finals)], live)
                _keep(kept, f"{name}.l{layer}{suffix.replace('_', '.')}", states, one_by_one=one_by_one)
                outputs = [state[0] for state in states[1:]]
                directions.append(torch.stack(outputs[::-1] if suffix else outputs))
                finals.append(states[-1])
            x = torch.cat(directions, dim=-1)
        final = tuple(torch.stack(part) for part in zip(*finals, strict=True))
        if lengths is not None:
            return pack_padded_sequence(x, lengths, enforce_sorted=False), final if len(final) > 1 else final[0]
        return x.transpose(0, 1) if module.batch_first else x, final if len(final) > 1 else final[0]

    return forward


def _first_states(module: nn.RNNBase, hx: Any, batch: int) -> list[Parts]:
    """(h,) or (h, c) of each layer and direction."""
    n = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if isinstance(module, nn.LSTM) else 1]
    given = [torch.zeros(n, batch, size) for size in sizes] if hx is None else hx if isinstance(hx, tuple) else [hx]
    return [tuple(part[i].double() for part in given) for i in range(n)]


def _loop(module: nn.RNNBase, place: str, x: Tensor, state: Parts, live: Tensor) -> list[Parts]:
    """The states s[0] .. s[T], in the order in which they are taken; a sequence that has ended keeps its own."""
    weights = {key: getattr(module, f"{key}_{place}") for key in ("weight_ih", "weight_hh")}
    names = [*(["bias_ih", "bias_hh"] if module.bias else []), *(["weight_hr"] if module.proj_size else [])]
    weights |= {key: getattr(module, f"{key}_{place}") for key in names}
    times = range(len(x)) if not place.endswith("reverse") else reversed(range(len(x)))
    state = tuple(s + torch.zeros_like(s).requires_grad_() for s in state)
    states = [state]
    for t in times:
        after = _step(module, weights, x[t].double(), state)
        state = tuple(torch.where(live[t], new, old) for new, old in zip(after, state, strict=True))
        states.append(state)
    return states


def _step(module: nn.RNNBase, w: dict[str, Tensor], x: Tensor, state: Parts) -> Parts:
    h = state[0]
    from_x, from_h = x @ w["weight_ih"].T + w.get("bias_ih", 0), h @ w["weight_hh"].T + w.get("bias_hh", 0)
    if isinstance(module, nn.LSTM):
        i, f, g, o = (from_x + from_h).chunk(4, dim=1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h @ w["weight_hr"].T if module.proj_size else h), c
    if isinstance(module, nn.GRU):
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3, dim=1), from_h.chunk(3, dim=1)
        z = torch.sigmoid(z_x + z_h)
        return ((1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h) + z * h,)
    f = torch.relu if module.nonlinearity == "relu" else torch.tanh
    return (f(from_x + from_h),)


def _keep(kept: dict[str, list[State]], name: str, states: Sequence[State], *, one_by_one: bool) -> None:
    if one_by_one and name in kept:
        kept[name] += states[1:]
        return
    number = 1 + sum(other.split(" (")[0] == name for other in kept)
    kept[name if number == 1 else f"{name} ({number})"] = list(states)


def _watched(module: nn.Module, states: list[State], part: Callable[[Any], Any] | None) -> Callable[..., Any]:
    """The cell's own forward; its state is the last argument, and of the first call a copy of it is given.

    `part` picks the new state from what the cell returns; without it the state is what the next call is given.
    """
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        arguments = [*args, *kwargs.values()]
        if not states:
            arguments[-1], state = _copied(arguments[-1])
            states.append(state)
        elif part is None:
            states[-1] = _parts(arguments[-1])
        gave = own(*arguments[: len(args)], **dict(zip(kwargs, arguments[len(args) :], strict=True)))
        states.append(None if part is None else _parts(part(gave)))
        return gave

    return forward


def _copied(state: Any) -> tuple[Any, State]:
    if state is None:
        return None, None
    parts = tuple(part + torch.zeros_like(part).requires_grad_() for part in _parts(state))
    return (parts[0] if isinstance(state, Tensor) else parts), parts


def _parts(state: Any) -> Parts:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _fed(module: nn.Module, states: list[State], axis: int) -> Callable[..., Any]:
    """The inputs x[1] .. x[T] in the place of the states; there is no s[0]."""
    own = module.forward

    def forward(x: Tensor) -> Any:
        steps = [step + torch.zeros_like(step).requires_grad_() for step in x.unbind(axis)]
        states.extend([None, *((step,) for step in steps)])
        return own(torch.stack(steps, dim=axis))

    return forward


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _double_everything(model: nn.Module) -> None:
    model.double()
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("_") and name not in ("training", "forward"):
                setattr(module, name, _doubled(value))


def _doubled(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _doubled(x) for key, x in value.items()}
    return type(value)(map(_doubled, value)) if type(value) in (list, tuple) else value


def _in_double(loss: Loss) -> Loss:
    """The same function over the same data in float64."""
    cells = tuple(types.CellType(_doubled(cell.cell_contents)) for cell in loss.__closure__ or ())
    return types.FunctionType(loss.__code__, loss.__globals__, loss.__name__, loss.__defaults__, cells)
