"""Cells that somebody wrote: found by what they do, or registered by their class.

    a module that is called again and again, and is given what it itself returned before, carries a state

What it is given may be the very tensor, or one of the same shape that was made from it (h * mask). Beside it, it must
be given something else each time: a block that is applied again to what it returned is deep, not recurrent. One plain
call of the loss shows it all; nothing is guessed from names.
"""

import inspect
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.bptt.stack import Stack
from retrograd.errors import UsageError
from retrograd.trace.loops import Spec
from retrograd.trace.origins import Origins
from retrograd.trace.trees import Path, leaves

KNOWN = (nn.RNNBase, nn.RNNCellBase, Stack)
REGISTERED: dict[type[nn.Module], Spec] = {}
SEQUENCES = 8  # that one cell may run on in turn


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
    """Is there a module that somebody wrote and that may be given a state? Or nothing that is known to be recurrent?"""
    if any(kind in REGISTERED for module in model.modules() for kind in type(module).__mro__):
        return True
    if not any(isinstance(module, KNOWN) for module in model.modules()):
        return True
    within = [module for module in model.modules() if module is not model]
    return any(map(_may_be_a_cell, within)) or (_may_be_a_cell(model) and len(_parameters(model)) > 1)


def discover(model: nn.Module, loss: Callable[[nn.Module], Any]) -> tuple[dict[nn.Module, Spec], Any]:
    """The cells that are found or registered, and what the loss returned. Its hooks are for the caller to take off."""
    search, here = _Search(), threading.get_ident()

    def entered(module: nn.Module, args: Any, kwargs: Any) -> None:  # functions: a copy of the model does not copy them
        if threading.get_ident() == here:
            search.enters(module, args, kwargs)

    def left(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == here:
            search.leaves(module, output)

    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        module.register_forward_pre_hook(entered, with_kwargs=True)
        module.register_forward_hook(left)
    value = loss(model)
    return search.found(), value


@dataclass
class _Watched:
    """One module during the search."""

    calls: int = 0
    returned: deque[list[tuple[Path, Tensor]]] = field(default_factory=lambda: deque(maxlen=SEQUENCES))
    matches: Counter[tuple[tuple[Path, Path], ...]] = field(default_factory=Counter)
    beside: dict[Path, Tensor] = field(default_factory=dict)  # what it was last given beside its state
    fed: bool = False  # was that another thing than the time before? A block that is applied again and again is not fed
    far: int = 0  # nodes between what it returned and what it was given next, of all matches
    through: set[nn.Module] = field(default_factory=set)  # modules that the shortest ways between led through
    inner: set[nn.Module] = field(default_factory=set)  # modules that ran inside it
    lenders: set[nn.Module] | None = None  # those of them that returned every state that it handed on

    @property
    def way(self) -> float:
        """The mean of these nodes for a state."""
        return self.far / max(1, sum(len(pairs) * count for pairs, count in self.matches.items()))


class _Search:
    def __init__(self) -> None:
        self.watched: dict[nn.Module, _Watched] = {}
        self.active: list[nn.Module] = []
        self.origins = Origins()

    def enters(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for outer in self.active:
            self.watched[outer].inner.add(module)
        self.active.append(module)
        it = self.watched.setdefault(module, _Watched())
        it.calls += 1
        if not _may_be_a_cell(module):
            return
        given = list(leaves(_bound(module, args, kwargs), ("call",)))
        found = self.origins.matched(module, it.returned, given)
        if found:
            it.matches[tuple((match.before, match.after) for match in found)] += 1
            it.far += sum(match.far for match in found)
            it.through.update(*(match.through for match in found))
            lenders = set.intersection(*(self.origins.returned_by(match.old) & it.inner for match in found))
            it.lenders = lenders if it.lenders is None else it.lenders & lenders
        state = {match.before for match in found}
        beside = {path: x for path, x in given if path not in state}
        it.fed |= bool(found) and any(not _same(x, it.beside.get(path)) for path, x in beside.items())
        it.beside = beside

    def leaves(self, module: nn.Module, output: Any) -> None:
        while self.active and self.active.pop() is not module:  # one that raised has not left
            pass
        if isinstance(module, KNOWN) or _may_be_a_cell(module):
            floating = [(path, x) for path, x in leaves(output, ("return",)) if x.is_floating_point() and x.dim()]
            self.watched[module].returned.append(floating)
            self.origins.add(module, [x for _, x in floating])

    def found(self) -> dict[nn.Module, Spec]:
        cells = {module: spec for module, it in self.watched.items() if (spec := self._spec(module, it)) is not None}
        cells = {cell: spec for cell, spec in cells.items() if _asked(cell) or self._is_the_nearest(cell, cells)}
        inside = {inner for cell in cells for inner in self.watched[cell].inner}
        return {cell: spec for cell, spec in cells.items() if cell not in inside}

    def _is_the_nearest(self, cell: nn.Module, cells: Mapping[nn.Module, Spec]) -> bool:
        """Not one that hands on the state of a cell within it; of several in one circle that with the shortest way."""
        it, order = self.watched[cell], list(self.watched)
        if any(isinstance(inner, KNOWN) or inner in cells for inner in it.lenders or ()):
            return False
        return not any(
            isinstance(other, KNOWN)
            or (other in cells and (self.watched[other].way, order.index(other)) < (it.way, order.index(cell)))
            for other in it.through - it.inner
        )

    def _spec(self, module: nn.Module, it: _Watched) -> Spec | None:
        asked = _asked(module)
        if asked is not None:
            returned = it.returned[-1] if it.returned else []
            return asked if asked.after else Spec(asked.before, _returned_last(returned, len(asked.before)))
        matched, count = next(iter(it.matches.most_common(1)), ((), 0))
        if not matched or 2 * count < it.calls - 1 or not it.fed:
            return None
        return Spec(tuple(before for before, _ in matched), tuple(after for _, after in matched))


def _asked(module: nn.Module) -> Spec | None:
    """What was said of its class."""
    return next((REGISTERED[kind] for kind in type(module).__mro__ if kind in REGISTERED), None)


def _same(x: Tensor, y: Tensor | None) -> bool:
    """The same numbers in the same place?"""
    return x is y or (
        y is not None
        and (x.data_ptr(), x.shape, x.stride(), x._version) == (y.data_ptr(), y.shape, y.stride(), y._version)
    )


def _may_be_a_cell(module: nn.Module) -> bool:
    """Torch's own modules are none: a Linear in a loop sees a part of the state, and not the state."""
    return type(module).__module__.split(".")[0] not in ("torch", "retrograd") and not isinstance(module, KNOWN)


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {}


def _returned_last(returned: list[tuple[Path, Tensor]], count: int) -> tuple[Path, ...]:
    """The last `count` tensors of what a cell returned."""
    return tuple(path for path, _ in returned[-count:])
