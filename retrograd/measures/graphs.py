"""Recurrent depth, feedforward depth and skip coefficient of a cyclic graph (Zhang et al., 2016, "Architectural
Complexity Measures of Recurrent Neural Networks").

    recurrent    d_r = max over cycles of  l / s
    feedforward  d_f = max over paths from an input to an output of  l - d_r s
    skip               max over cycles of  s / l

l is the number of nonlinear transformations along the way, s its delay in steps. The unrolled network is this graph
with every node once a step.
"""

import math
from collections.abc import Collection, Hashable, Iterable, Sequence
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from retrograd.errors import NotMeasured, UsageError

Node = Hashable


class Edge(NamedTuple):
    """What `target` reads of `source`, that many steps ago, through that many nonlinear transformations."""

    source: Node
    target: Node
    delay: int
    transformations: int


class GraphDepth(NamedTuple):
    recurrent: float  # transformations per step, on the longest way round
    feedforward: float
    skip: float  # steps per transformation, on the shortest way round; infinite where it has none


def graph_depth(edges: Iterable[Edge], *, inputs: Collection[Node], outputs: Collection[Node]) -> GraphDepth:
    """The three measures, exact but for the last rounding.

    >>> graph_depth([Edge("x", "h", 0, 1), Edge("h", "h", 1, 1)], inputs=["x"], outputs=["h"])
    GraphDepth(recurrent=1.0, feedforward=1.0, skip=1.0)

    Raises UsageError for a cycle that takes no time or a number that is negative, NotMeasured where nothing is
    recurrent or no path leads from an input to an output.
    """
    edges = list(edges)
    if any(edge.delay < 0 or edge.transformations < 0 for edge in edges):
        raise UsageError("Delays and transformations are 0 or more; a layer in reverse counts its own steps.")
    if not takes_time(edges):
        raise UsageError("Every cycle must take at least one step; one of them has no delay at all.")
    longest = _steepest(edges)
    shortest = _steepest([edge._replace(transformations=-edge.transformations) for edge in edges])
    if longest is None or shortest is None:
        raise NotMeasured("The graph has no cycle, so nothing in it is recurrent and it has no recurrent depth.")
    feedforward = _longest_path(edges, longest, inputs, outputs)
    if feedforward is None:
        raise NotMeasured("No path leads from an input to an output, so there is no feedforward depth.")
    return GraphDepth(float(longest), float(feedforward), float(-1 / shortest) if shortest else math.inf)


def takes_time(edges: Iterable[Edge]) -> bool:
    """Does every cycle take at least a step?"""
    at_once: dict[Node, set[Node]] = {}
    for edge in edges:
        if edge.delay == 0:
            at_once.setdefault(edge.target, set()).add(edge.source)
    try:
        TopologicalSorter(at_once).prepare()
    except CycleError:
        return False
    return True


def _steepest(edges: Sequence[Edge]) -> Fraction | None:
    """The greatest l / s of any cycle: from a slope under all of them, up as long as some cycle lies above it."""
    slope, found = Fraction(-1 - sum(abs(edge.transformations) for edge in edges)), None
    while cycle := _cycle_above(edges, slope):
        slope = found = Fraction(sum(e.transformations for e in cycle), sum(e.delay for e in cycle))
    return found


def _cycle_above(edges: Sequence[Edge], slope: Fraction) -> list[Edge]:
    """A cycle with l > slope s, by Bellman and Ford; empty where there is none."""
    nodes = _nodes(edges)
    height: dict[Node, int] = dict.fromkeys(nodes, 0)
    last: dict[Node, Edge] = {}
    for _ in nodes:
        raised = [edge for edge in edges if _raise(height, last, edge, slope)]
        if not raised:
            return []
    at = raised[-1].target
    for _ in nodes:  # back far enough to stand on the cycle
        at = last[at].source
    cycle = [last[at]]
    while cycle[-1].source != at:
        cycle.append(last[cycle[-1].source])
    return cycle


def _raise(height: dict[Node, int], last: dict[Node, Edge], edge: Edge, slope: Fraction) -> bool:
    """Is its target reached from higher up by this edge than by any before?"""
    reached = height[edge.source] + _rise(edge, slope)
    if reached <= height[edge.target]:
        return False
    height[edge.target], last[edge.target] = reached, edge
    return True


def _longest_path(
    edges: Sequence[Edge], slope: Fraction, inputs: Collection[Node], outputs: Collection[Node]
) -> Fraction | None:
    """The greatest l - slope s of the ways from an input to an output; going round makes none of them longer."""
    height: dict[Node, int] = dict.fromkeys(inputs, 0)
    for _ in _nodes(edges):
        for edge in edges:
            if edge.source in height:
                reached = height[edge.source] + _rise(edge, slope)
                height[edge.target] = max(reached, height.get(edge.target, reached))
    ends = [height[name] for name in outputs if name in height]
    return Fraction(max(ends), slope.denominator) if ends else None


def _rise(edge: Edge, slope: Fraction) -> int:
    """l - slope s, in units of which it is a whole number."""
    return edge.transformations * slope.denominator - edge.delay * slope.numerator


def _nodes(edges: Sequence[Edge]) -> set[Node]:
    return {end for edge in edges for end in (edge.source, edge.target)}
