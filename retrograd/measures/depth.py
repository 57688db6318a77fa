"""How many nonlinear transformations lie between states, and between input and output (Zhang et al., 2016).

    recurrent depth    transformations per step, on the longest way through time
    feedforward depth  transformations from an input to an output, beyond those that the passing time takes anyway
    skip coefficient   steps per transformation, on the shortest way through time

Each cell is a graph of its own nonlinearities; the layers are joined as they read each other. Products with a gate,
sums and W count nothing: what an open gate keeps passes unchanged, so the memory of an LSTM or a GRU has an infinite
skip coefficient. A tap of 4 is one transformation in 4 steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from retrograd.cells import GRU, LSTM, Additive, Cell, Elman, MultiTap, ProjectedLSTM
from retrograd.errors import NotMeasured
from retrograd.measures.feeding import Feed, feeds
from retrograd.measures.graphs import Edge, GraphDepth, graph_depth, takes_time
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True)
class LayerDepth:
    """Of one layer, as if it stood alone."""

    layer: str
    cell: str  # the class: "LSTM"
    recurrent: float
    feedforward: float
    skip: float | None  # infinite where a way through time has no transformation; None: not known
    at_least: bool  # is the equation of its cell not known? Then one transformation a step is counted


@dataclass(frozen=True)
class Depth:
    """Of all recurrent layers together; what the model has before, between and after them is not counted."""

    recurrent: float
    feedforward: float
    skip: float | None  # through the layers whose cells are known; None where there are none
    layers: tuple[LayerDepth, ...]
    feeds: tuple[tuple[str, str], ...]  # (below, above): which layer's outputs are read by which
    joined: bool  # False: what reads what could not be told, and every layer is taken alone
    at_least: bool  # may there be more? Some cell is not known, or what reads what


def depth(trace: Trace) -> Depth:
    """Recurrent and feedforward depth and the skip coefficient of the trace's layers.

    A layer that runs in reverse counts the steps that it takes. A state that is handed to another layer as its first
    is time that goes on, and adds no depth.

    >>> depth(trace).feedforward  # of two stacked LSTM layers
    4.0

    Raises NotMeasured for layers whose state cannot be seen, as of a scan.
    """
    hidden = [layer.name for layer in trace.layers if not layer.has_states]
    if hidden:
        raise NotMeasured(
            f"No state of {', '.join(hidden)} can be seen from step to step, so what lies between cannot be counted."
        )
    own = {layer.name: _graph(layer) for layer in trace.layers}
    known = [layer.name for layer in trace.layers if _cell_graph(layer.cell)]
    found = feeds(trace)
    joined = takes_time(_among(own, own, found))
    links = found if joined else ()
    whole = _depth(_among(own, own, links), own)
    return Depth(
        recurrent=whole.recurrent,
        feedforward=whole.feedforward,
        skip=_depth(_among(known, own, links), known).skip if known else None,
        layers=tuple(_alone(layer, own[layer.name]) for layer in trace.layers),
        feeds=tuple((it.below, it.above) for it in links),
        joined=joined,
        at_least=not joined or len(known) < len(own),
    )


def _cell_graph(cell: Cell | None) -> list[Edge]:
    """The cell's own nonlinearities, from its input x to its output h; nothing where its equation is not known."""
    match cell:
        case Elman(activation=name):
            return _plain(_counted(name))
        case MultiTap(activation=name, taps=taps):
            return _plain(_counted(name), taps)
        case Additive(activation=name):
            return [Edge("x", "h", 0, _counted(name)), Edge("h", "h", 1, 0)]
        case LSTM() | ProjectedLSTM():
            memory = [Edge("c", "c", 1, 0), Edge("c", "h", 0, 1), Edge("o", "h", 0, 0)]
            return [*_gated("ifgo"), *(Edge(gate, "c", 0, 0) for gate in "ifg"), *memory]
        case GRU():
            kept = [Edge("h", "h", 1, 0), Edge("z", "h", 0, 0), Edge("n", "h", 0, 0)]
            return [*_gated("rzn"), Edge("r", "n", 0, 1), *kept]
    return []


def _counted(activation: str) -> int:
    return 0 if activation == "identity" else 1


def _plain(transformations: int, taps: Iterable[int] = (1,)) -> list[Edge]:
    return [Edge("x", "h", 0, transformations), *(Edge("h", "h", d, transformations) for d in taps)]


def _gated(gates: str) -> list[Edge]:
    return [edge for gate in gates for edge in (Edge("x", gate, 0, 1), Edge("h", gate, 1, 1))]


def _graph(layer: LayerTrace) -> list[Edge]:
    """Its cell's graph with the layer's name on every node; one transformation a step where the cell is not known."""
    edges = _cell_graph(layer.cell) or _plain(1)
    return [Edge((layer.name, source), (layer.name, target), *rest) for source, target, *rest in edges]


def _alone(layer: LayerTrace, graph: Sequence[Edge]) -> LayerDepth:
    it, known = _depth(graph, [layer.name]), bool(_cell_graph(layer.cell))
    skip = it.skip if known else None
    return LayerDepth(layer.name, layer.kind, it.recurrent, it.feedforward, skip, at_least=not known)


def _depth(edges: Sequence[Edge], layers: Iterable[str]) -> GraphDepth:
    """Each layer counts as an input and an output of the whole: what goes on through others is only longer."""
    names = list(layers)
    return graph_depth(edges, inputs=[(name, "x") for name in names], outputs=[(name, "h") for name in names])


def _among(layers: Iterable[str], own: Mapping[str, Sequence[Edge]], links: Iterable[Feed]) -> list[Edge]:
    """The graph of these layers: their own edges, and one from each output to the input that reads it."""
    names = set(layers)
    between = [Edge((it.below, "h"), (it.above, "x"), it.delay, 0) for it in links if {it.below, it.above} <= names]
    return [*(edge for name in names for edge in own[name]), *between]
