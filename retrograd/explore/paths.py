"""The ways that lead from W to each loss: backpropagation through time as two sums, term by term.

    dL/dW = sum over t  sum over k <= t  of  dL_t/dh_t  dh_t/dh_k  d+h_k/dW          d+: W's use at step k alone

Loss t is reached by t ways, one for each step k <= t. All terms of one k are the gradient of layer k, where the same
net is unrolled into T layers with weights of their own that start equal: the sum over the layers is BPTT's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.explore.small_net import SmallNet, apart, said, small_net, thinned
from retrograd.explore.triangle import draw_triangle
from retrograd.numerics import log_norm
from retrograd.reports.words import LN10, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Paths:
    """Of one small Elman net with L_t = |h_t - y_t|^2 / 2. Times count from 1; logarithms are natural."""

    steps: int  # T
    size: int  # H
    activation: str
    start: str
    ways: tuple[int, ...]  # to loss t
    log_terms: tuple[tuple[float, ...], ...]  # row t: ln of the norm of each term, k = 1 .. t; -inf: exactly zero
    log_losses: tuple[float, ...]  # ln |dL_t/dW|
    log_layers: tuple[float, ...]  # ln |dL/dW_k|, of layer k of the net with T layers
    difference: float  # of the sum of all terms to autograd's gradient, the largest, as a share of its largest element
    tied_difference: float  # the same of the sum over the layers' gradients


def paths(steps: int = 8, *, size: int = 8, activation: str = "tanh", start: str = "default", seed: int = 0) -> Paths:
    """Every term of the gradient of W_hh, for a small net with inputs and targets drawn from the seed.

    >>> paths(4).ways
    (1, 2, 3, 4)
    """
    net = small_net(steps, size=size, activation=activation, start=start, seed=seed)
    terms, whole, layers = _terms(net), net.whole(), net.layers()
    return Paths(
        steps=steps,
        size=size,
        activation=activation,
        start=start,
        ways=tuple(map(len, terms)),
        log_terms=tuple(tuple(_log(term) for term in row) for row in terms),
        log_losses=tuple(_log(torch.stack(row).sum(0)) for row in terms),
        log_layers=tuple(map(_log, layers)),
        difference=apart(torch.stack([term for row in terms for term in row]).sum(0), whole),
        tied_difference=apart(torch.stack(layers).sum(0), whole),
    )


def _terms(net: SmallNet) -> list[list[Tensor]]:
    """Row t: the terms (H, H) of loss t, k = 1 .. t, from each step's linear map alone."""
    with torch.no_grad():
        states, maps = [net.h0], []
        for p in net.cell.project(net.x):
            maps.append(net.cell.linearize(p, states[-1]))
            states.append(maps[-1].state)
        rows = []
        for t in range(1, len(states)):
            delta, row = states[t] - net.y[t - 1], []
            for k in range(t, 0, -1):
                delta, _, at_a = maps[k - 1].pullback(delta)
                row.append(at_a.mT @ states[k - 1])
            rows.append(row[::-1])
    return rows


def _log(gradient: Tensor) -> float:
    return float(log_norm(gradient.flatten()))


def say(it: Paths) -> str:
    total = sum(it.ways)
    flat = [x for row in it.log_terms for x in row]
    span = f"from {power(min(flat) / LN10)} to {power(max(flat) / LN10)}"
    return (
        f"{total:,} ways lead from W to the {it.steps} losses, t of them to loss t; their terms are {span} in size "
        f"and add up to autograd's gradient to {said(it.difference)}. Unrolled into {it.steps} layers with weights "
        f"of their own, the sum of the layers' gradients is that of BPTT to {said(it.tied_difference)}."
    )


def table(it: Paths) -> Table:
    rows = [
        (
            str(t),
            str(it.ways[t - 1]),
            power(it.log_losses[t - 1] / LN10),
            power(it.log_terms[t - 1][-1] / LN10),
            power(it.log_terms[t - 1][0] / LN10),
            power(it.log_layers[t - 1] / LN10),
        )
        for t in thinned(it.steps)
    ]
    return Table(("t", "ways", "|dL_t/dW|", "its term k = t", "its term k = 1", "layer t, untied"), rows)


def rows(it: Paths) -> Iterator[Row]:
    yield ("what", "loss t", "step k", "ln norm")
    for t, row in enumerate(it.log_terms, start=1):
        for k, x in enumerate(row, start=1):
            yield ("term", t, k, x)
    for t, x in enumerate(it.log_losses, start=1):
        yield ("gradient of a loss", t, None, x)
    for k, x in enumerate(it.log_layers, start=1):
        yield ("gradient of a layer", None, k, x)


def draw(it: Paths, colours: Colours) -> "Figure":
    """The triangle of the terms: rows losses, columns steps; as many cells in a row as there are ways."""
    found = [[math.nan] * it.steps for _ in range(it.steps)]
    for row, terms in zip(found, it.log_terms, strict=True):
        row[: len(terms)] = [x / LN10 for x in terms]
    return draw_triangle(colours, found, across="step k at which W is used", up="loss t", scale="size of the term")


EXPLORATION = Exploration(
    title="The ways from W to each loss",
    about="dL/dW = sum over t, sum over k <= t of dL_t/dh_t (product of Jacobians) d+h_k/dW: the two sums of "
    "backpropagation through time, term by term, and the same gradient from T layers with tied weights.",
    explore=paths,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
