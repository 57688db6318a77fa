"""Cells that somebody wrote: found by what they do, or registered by their class.

    a module that is called again and again, and is given what it itself returned before, carries a state

What it is given may be the very tensor, or one of the same shape that was made from it (h * mask). One plain call of
the loss shows it all; nothing is guessed from names.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from retrograd.bptt.stack import Stack
from retrograd.errors import UsageError
from retrograd.trace.loops import Spec
from retrograd.trace.trees import Path, leaves

KNOWN = (nn.RNNBase, nn.RNNCellBase, Stack)
REGISTERED: dict[type[nn.Module], Spec] = {}
NEAR = 200  # nodes of the graph that may lie between what a cell returned and what it is given next


def register(
    cell: type[nn.Module], *, state: str | Sequence[str], returns: int | Sequence[int] | None = None
) -> type[nn.Module]:
    """Say where a cell keeps its state, where that cannot be seen from outside.

    `state` names the parameters of `forward` that carry it, or the attributes that the cell keeps it in. `returns` is
    the place of each among what `forward` returns; left out, they come in the order of `state`: alone, as the last
    of what is returned, or all of it. Registering a class again replaces what was said before.

    >>> rg.register(MyCell, state=("h", "c"), returns=(1, 2))
    >>> rg.register(Reservoir, state="activity")          # self.activity

    Raises UsageError where the class has no such parameter and cannot be told from one with such an attribute.
    """
    if not (isinstance(cell, type) and issubclass(cell, nn.Module)):
        raise UsageError(f"Expected the class of a cell, a subclass of nn.Module; got {cell!r}.")
    names = (state,) if isinstance(state, str) else tuple(state)
    places = (returns,) if isinstance(returns, int) else None if returns is None else tuple(returns)
    if not names or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise UsageError(f"The state is the name of a parameter or an attribute, or several; got {state!r}.")
    parameters = inspect.signature(cell.forward).parameters
    within = [name in parameters for name in names]
    if any(within) and not all(within):
        raise UsageError(
            f"{cell.__name__}.forward takes {', '.join(list(parameters)[1:])}; all of {', '.join(names)} must be "
            "among them, or none, where they are attributes."
        )
    if places is not None and (len(places) != len(names) or not any(within)):
        raise UsageError(f"{len(names)} states need as many places among what forward returns; got {returns!r}.")
    if any(within):
        before = tuple(("call", name) for name in names)
        REGISTERED[cell] = Spec(before, tuple(("return", i) for i in places) if places is not None else ())
    else:
        kept = tuple(("self", name) for name in names)
        REGISTERED[cell] = Spec(kept, kept)
    return cell


def may_hold_a_cell(model: nn.Module) -> bool:
    """Is there a module, beside the model itself, that somebody wrote? Or nothing that is known to be recurrent?"""
    if any(kind in REGISTERED for module in model.modules() for kind in type(module).__mro__):
        return True
    if not any(isinstance(module, KNOWN) for module in model.modules()):
        return True
    return any(_may_be_a_cell(module) for module in model.modules() if module is not model)


def discover(model: nn.Module, loss: Callable[[nn.Module], Any]) -> tuple[dict[nn.Module, Spec], Any]:
    """The cells that are found or registered, and what the loss returned. Its hooks are for the caller to take off."""
    search = _Search()
    for module in model.modules():
        module.register_forward_pre_hook(search.enters, with_kwargs=True)
        module.register_forward_hook(search.leaves)
    value = loss(model)
    return search.found(), value


@dataclass
class _Watched:
    """One module during the search."""

    calls: int = 0
    returned: list[tuple[Path, Tensor]] = field(default_factory=list)
    matches: Counter[tuple[tuple[Path, Path], ...]] = field(default_factory=Counter)
    inner: set[nn.Module] = field(default_factory=set)  # modules that ran inside it
    borrowed: bool = True  # has every state that it handed on been what a module inside returned?


class _Search:
    def __init__(self) -> None:
        self.watched: dict[nn.Module, _Watched] = {}
        self.active: list[nn.Module] = []

    def enters(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for outer in self.active:
            self.watched[outer].inner.add(module)
        self.active.append(module)
        it = self.watched.setdefault(module, _Watched())
        it.calls += 1
        if _may_be_a_cell(module) and it.returned:
            matched = _matched(it.returned, list(leaves(_bound(module, args, kwargs), ("call",))))
            it.matches[matched] += 1
            states = {after for _, after in matched}
            theirs = {id(x) for inner in it.inner for _, x in self.watched[inner].returned}
            it.borrowed &= all(id(x) in theirs for path, x in it.returned if path in states)

    def leaves(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        while self.active and self.active.pop() is not module:  # one that raised has not left
            pass
        floating = [(path, x) for path, x in leaves(output, ("return",)) if x.is_floating_point() and x.dim()]
        self.watched[module].returned = floating

    def found(self) -> dict[nn.Module, Spec]:
        cells = {module: spec for module, it in self.watched.items() if (spec := self._spec(module, it)) is not None}
        inside = {inner for cell in cells for inner in self.watched[cell].inner}
        return {cell: spec for cell, spec in cells.items() if cell not in inside}

    def _spec(self, module: nn.Module, it: _Watched) -> Spec | None:
        asked = next((REGISTERED[kind] for kind in type(module).__mro__ if kind in REGISTERED), None)
        if asked is not None:
            return asked if asked.after else Spec(asked.before, _returned_last(it.returned, len(asked.before)))
        matched, count = next(iter(it.matches.most_common(1)), ((), 0))
        if not matched or 2 * count < it.calls - 1 or it.borrowed:
            return None
        return Spec(tuple(before for before, _ in matched), tuple(after for _, after in matched))


def _may_be_a_cell(module: nn.Module) -> bool:
    """Torch's own modules are none: a Linear in a loop sees a part of the state, and not the state."""
    return type(module).__module__.split(".")[0] not in ("torch", "retrograd") and not isinstance(module, KNOWN)


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {}


def _returned_last(returned: list[tuple[Path, Tensor]], count: int) -> tuple[Path, ...]:
    """The last `count` tensors of what a cell returned."""
    return tuple(path for path, _ in returned[-count:])


def _matched(returned: list[tuple[Path, Tensor]], given: list[tuple[Path, Tensor]]) -> tuple[tuple[Path, Path], ...]:
    """Pairs (where it was given, where it was returned), of the same tensor or else of one that was made from it."""
    pairs: dict[Path, Path] = {}
    for exact in (True, False):
        for after, old in returned:
            if after in pairs.values() or (exact is False and any(old is x for _, x in given)):
                continue
            near = [
                (distance, before)
                for before, new in given
                if before not in pairs and (distance := _distance(new, old, exact=exact)) is not None
            ]
            if near:
                pairs[min(near, key=lambda one: one[0])[1]] = after
    return tuple(sorted(pairs.items(), key=str))


def _distance(new: Tensor, old: Tensor, *, exact: bool) -> int | None:
    """How many nodes of the graph lie between: 0 for the same tensor, None where it does not come from it."""
    if new is old:
        return 0
    if exact or new.shape != old.shape or old.grad_fn is None or new.grad_fn is None:
        return None
    earliest = old.grad_fn._sequence_nr()
    layer, seen = [new.grad_fn], set()
    for depth in range(1, NEAR):
        if any(node is old.grad_fn for node in layer):
            return depth
        below = {node for one in layer for node, _ in one.next_functions if node is not None}
        layer = [node for node in below if node not in seen and node._sequence_nr() >= earliest]
        seen.update(layer)
        if not layer:
            return None
    return None
