"""Which recorded runs a tensor comes from: autograd's graph, read back to the nearest of them.

    lineage.add(outputs, owner)          lineage.of(x)  ->  the owners that x depends on and that lie nearest to it

A run is one node of the graph, so that the search ends there. It tells a layer that stands on another (its inputs
come from it) from one that follows another in time (its first state does).
"""

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor


class Lineage:
    """The nodes of all runs of one recording."""

    def __init__(self) -> None:
        self._owners: dict[Any, Hashable] = {}
        self._barren: set[Any] = set()  # nodes that come from no run

    def add(self, output: Tensor, owner: Hashable) -> None:
        if output.grad_fn is not None:
            self._owners[output.grad_fn] = owner

    def of(self, *tensors: Tensor | None) -> set[Any]:
        """The owners of the nearest runs; of none, the empty set."""
        return self.behind(x.grad_fn for x in tensors if x is not None)

    def behind(self, nodes: Iterable[Any]) -> set[Any]:
        """The same of what came by these nodes of the graph."""
        todo, seen = list(nodes), set()
        found: set[Any] = set()
        while todo:
            node = todo.pop()
            if node is None or node in seen or node in self._barren:
                continue
            seen.add(node)
            if node in self._owners:
                found.add(self._owners[node])
            else:
                todo += [below for below, _ in node.next_functions]
        if not found:
            self._barren |= seen
        return found
