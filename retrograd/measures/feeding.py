"""Which recurrent layer reads the outputs of which, as the recorded forward pass has it.

Autograd's graph leads from the inputs of every run down to the runs that they were computed from, through whatever the
model does in between. What only hands its last state on as a first state is not read; of somebody's own cell, whose
equation is not known, that cannot be told apart.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from retrograd.trace import LayerTrace, Trace
from retrograd.trace.lineage import Lineage
from retrograd.trace.replay import Run


class Feed(NamedTuple):
    """`above` reads what `below` put out so many steps ago on the trace's clock; 0 where that is not in the past."""

    below: str
    above: str
    delay: int


class _Place(NamedTuple):
    """A run: its layer, the steps of the clock before it and up to its end, and what it was computed from."""

    layer: str
    begin: int
    end: int
    inputs: tuple[Any, ...]  # nodes
    known: bool  # is the cell's equation? Otherwise its state is among the inputs


def feeds(trace: Trace) -> tuple[Feed, ...]:
    """Every pair of layers of which one reads the other directly, each at its shortest delay.

    A layer that is called step by step, and whose own output comes back as its input, is such a pair with itself.
    """
    lineage, places = Lineage(), [it for layer in trace.layers for it in _runs(layer)]
    for run, place in places:
        lineage.add(run.last, place)
    found: dict[tuple[str, str], int] = {}
    for _, above in places:
        for below in lineage.behind(above.inputs):
            pair, delay = (below.layer, above.layer), max(above.begin - below.end + 1, 0)
            if above.known or below.layer != above.layer:
                found[pair] = min(delay, found.get(pair, delay))
    order = [layer.name for layer in trace.layers]
    pairs = sorted(found, key=lambda pair: [order.index(name) for name in pair])
    return tuple(Feed(*pair, found[pair]) for pair in pairs)


def _runs(layer: LayerTrace) -> Iterator[tuple[Run, _Place]]:
    """Each run with its place in time."""
    begin = layer.begins
    for run in layer.runs:
        node: Any = run.last.grad_fn
        end, below = begin + len(run.inputs), [deeper for deeper, _ in node.next_functions]
        inputs = below if run.cell is None else below[:1]
        yield run, _Place(layer.name, begin, end, tuple(inputs), run.cell is not None)
        begin = end
