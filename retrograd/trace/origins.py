"""What a module is given, traced to what it returned before: by identity, or by autograd's graph.

Of a module A in a circle A -> ... -> B -> ... -> A both A and B are given what was made from their own output; how far
it is, and through whose output the way leads, tells which of them holds the state.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from retrograd.trace.trees import Path

NEAR = 200  # nodes of the graph that may lie between what a cell returned and what it is given next
Returned = Sequence[Sequence[tuple[Path, Tensor]]]  # of the last calls
Edge = tuple[Any, int]  # a node, and which of its outputs


class Match(NamedTuple):
    """A tensor that a module is given, and the one that it was made from."""

    before: Path
    after: Path
    old: Tensor
    far: int  # nodes of the graph between; 0 where it is the very tensor
    through: frozenset[nn.Module]  # whose outputs lie between


class Origins:
    """Which module returned which tensor."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []  # so that no other tensor takes an id over
        self._tensors: dict[int, set[nn.Module]] = {}
        self._nodes: dict[Any, set[nn.Module]] = {}

    def add(self, module: nn.Module, tensors: Sequence[Tensor]) -> None:
        self._kept += tensors
        for x in tensors:
            self._tensors.setdefault(id(x), set()).add(module)
            self._nodes.setdefault(x.grad_fn, set()).add(module)

    def returned_by(self, x: Tensor) -> set[nn.Module]:
        return self._tensors.get(id(x), set())

    def matched(self, module: nn.Module, returned: Returned, given: Sequence[tuple[Path, Tensor]]) -> list[Match]:
        """In the order of what is given; each tensor of either side at most once, the nearest pairs first."""
        found = [match for path, new in given for match in self._matches(module, returned, path, new)]
        chosen: dict[Path, Match] = {}
        for match in sorted(found, key=lambda match: match.far):
            if match.before not in chosen and match.after not in {other.after for other in chosen.values()}:
                chosen[match.before] = match
        return [chosen[path] for path, _ in given if path in chosen]

    def _matches(self, module: nn.Module, returned: Returned, path: Path, new: Tensor) -> list[Match]:
        """What `new` may have been made from."""
        calls = list(reversed(returned))
        same = [Match(path, after, old, 0, frozenset()) for call in calls for after, old in call if _is(old, new)]
        if same or new.grad_fn is None:
            return same[:1]
        targets: dict[Edge, tuple[Path, Tensor]] = {}
        for call in calls:
            for after, old in call:
                if old.shape == new.shape and old.grad_fn is not None:
                    targets.setdefault((old.grad_fn, old.output_nr), (after, old))
        ways = _ways(new, set(targets))
        return [
            Match(path, *targets[way[-1]], len(way), frozenset(self._on(way[:-1]) - {module})) for way in ways if way
        ]

    def _on(self, way: Sequence[Edge]) -> set[nn.Module]:
        return set().union(*(self._nodes.get(node, set()) for node, _ in way))


def _is(old: Tensor, new: Tensor) -> bool:
    """The very tensor, or that detached."""
    return old is new or (new.grad_fn is None and (old.data_ptr(), old.shape) == (new.data_ptr(), new.shape))


def _ways(new: Tensor, targets: set[Edge]) -> list[list[Edge]]:
    """The shortest way down the graph to each of the targets that is reached, as edges; those nearest first."""
    if not targets:
        return []
    earliest = min(node._sequence_nr() for node, _ in targets)
    start: Edge = (new.grad_fn, new.output_nr)
    above: dict[Edge, Edge | None] = {start: None}
    layer, found = [start], []
    for _ in range(NEAR):
        found += [_way(edge, above) for edge in layer if edge in targets]
        below = []
        for edge in layer:
            for deeper in edge[0].next_functions if edge not in targets else ():
                if deeper[0] is not None and deeper not in above and deeper[0]._sequence_nr() >= earliest:
                    above[deeper] = edge
                    below.append(deeper)
        layer = below
        if not layer:
            break
    return found


def _way(edge: Edge, above: dict[Edge, Edge | None]) -> list[Edge]:
    way = [edge]
    while (higher := above[way[-1]]) is not None:
        way.append(higher)
    return way[::-1]
