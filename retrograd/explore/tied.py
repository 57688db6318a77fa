"""Tied weights: backpropagation through time is T layers that start equal and are moved by their summed gradient.

    g_k = dL/dW_k of layer k alone          sum over k of g_k = dL/dW_hh of the recurrent net
    tied     W_k <- W_k - rate sum over j of g_j          the layers stay equal: it is the recurrent net
    untied   W_k <- W_k - rate g_k                        they part: it is a deep net like any other

The share of layer k is <g_k, g> / |g|^2, g the sum: the shares add up to 1, and one that points against the others is
negative.
"""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from retrograd.errors import ConfigError
from retrograd.explore import checks, drawing
from retrograd.explore.exploration import Colours, Exploration, Row, Table
from retrograd.explore.small_net import SmallNet, apart, said, small_net, thinned
from retrograd.numerics import log_norm, unit
from retrograd.reports.plots.frame import Entry, Frame
from retrograd.reports.plots.panels import Axis, Plan, integers, panel, spread_out, unusual
from retrograd.reports.plots.scales import ticks
from retrograd.reports.words import LN10, count, number, power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weights = tuple[Tensor, ...]  # (H, H) of each layer


@dataclass(frozen=True)
class Descent:
    """The layers moved by one rule. Tuples by update, from 0: before the first."""

    losses: tuple[float, ...]
    spread: tuple[float, ...]  # the largest |W_k - W_1| / |W|, W the weights at first
    first_step: tuple[float, ...]  # by layer: |W_k - W_1| / |W| after one update


@dataclass(frozen=True)
class Tied:
    """Of one small net with L = sum over t of |h_t - y_t|^2 / 2. Layers count from 1."""

    steps: int  # T
    size: int  # H
    activation: str
    start: str
    rate: float
    log_layers: tuple[float, ...]  # ln |g_k|; -inf: exactly zero
    shares: tuple[float, ...]
    difference: float  # of the sum of the g_k to autograd's dL/dW_hh: the largest, as a share of its largest element
    tied: Descent
    untied: Descent
    recurrent_difference: float  # of the tied layers, after all updates, to the recurrent net as BPTT moves it


def tied(
    steps: int = 8,
    *,
    size: int = 8,
    activation: str = "tanh",
    start: str = "default",
    rate: float = 0.02,
    updates: int = 30,
    seed: int = 0,
) -> Tied:
    """Each layer's own gradient, their sum, and so many steps of gradient descent with either.

    >>> tied(4).tied.spread[-1]
    0.0
    """
    checks.whole("updates", updates, most=100)
    if not 0 < rate < math.inf:
        raise ConfigError(f"The rate must be a positive number, got {rate:g}.")
    net = small_net(steps, size=size, activation=activation, start=start, seed=seed)
    layers, whole = torch.stack(net.layers()), net.whole()
    summed, last = _descent(net, rate, updates, tie=True)
    own, _ = _descent(net, rate, updates, tie=False)
    return Tied(
        steps=steps,
        size=size,
        activation=activation,
        start=start,
        rate=float(rate),
        log_layers=tuple(log_norm(layers.flatten(1)).tolist()),
        shares=_shares(layers),
        difference=apart(layers.sum(0), whole),
        tied=summed,
        untied=own,
        recurrent_difference=apart(last[0], _through_time(net, rate, updates)),
    )


def _shares(layers: Tensor) -> tuple[float, ...]:
    """Of gradients (T, H, H)."""
    direction, log = unit(layers.sum(0).flatten())
    shares: list[float] = ((layers.flatten(1) @ direction) / log.exp()).tolist()
    return tuple(shares)


def _descent(net: SmallNet, rate: float, updates: int, *, tie: bool) -> tuple[Descent, Weights]:
    """And where it ends."""
    weights: Weights = tuple(net.cell.weight_hh.detach().clone() for _ in net.x)
    losses, distances = [], []
    for update in range(updates + 1):
        losses.append(float(net.unrolled(weights).detach()))
        distances.append(_distances(weights, net.cell.weight_hh))
        if update < updates:
            gradients = net.layers(weights)
            steps = [torch.stack(gradients).sum(0)] * len(weights) if tie else gradients
            weights = tuple(W - rate * g for W, g in zip(weights, steps, strict=True))
    return Descent(tuple(losses), tuple(map(_largest, distances)), distances[1]), weights


def _distances(weights: Weights, at_first: Tensor) -> tuple[float, ...]:
    """|W_k - W_1| / |W| of each layer."""
    size = float(at_first.detach().norm()) or 1.0
    return tuple(float((W - weights[0]).norm()) / size for W in weights)


def _largest(values: Sequence[float]) -> float:
    """NaN where one of them is."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def _through_time(net: SmallNet, rate: float, updates: int) -> Tensor:
    """W_hh of the recurrent net after so many steps with autograd's gradient."""
    trained = replace(net, cell=deepcopy(net.cell))
    for _ in range(updates):
        gradient = trained.whole()
        with torch.no_grad():
            trained.cell.weight_hh.sub_(rate * gradient)
    return trained.cell.weight_hh.detach()


def say(it: Tied) -> str:
    layers, updates = count(it.steps, "layer"), len(it.tied.losses) - 1
    finite = [share for share in it.shares if math.isfinite(share)]
    share = max(finite, default=math.nan)
    most = f"; layer {it.shares.index(share) + 1} has most of it, {_percent(share)}" if finite else ""
    if it.tied.spread[-1] == 0:
        kept = f"leave the layers equal to the last bit, and are those of BPTT to {said(it.recurrent_difference)}"
    else:
        kept = "end in what is no number"
    return (
        f"The own gradients of {layers} that start equal add up to autograd's dL/dW of the recurrent net to "
        f"{said(it.difference)}{most}. {count(updates, 'step')} with the summed gradient {kept}. As many with their "
        f"own gradients put them {_percent(it.untied.spread[-1])} of their size apart."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%" if math.isfinite(share) else number(share)


def table(it: Tied) -> Table:
    rows = [
        (
            str(k),
            power(it.log_layers[k - 1] / LN10),
            _percent(it.shares[k - 1]),
            _percent(sum(it.shares[:k])),
            f"{it.untied.first_step[k - 1]:.3g}",
            f"{it.tied.first_step[k - 1]:.3g}",
        )
        for k in thinned(it.steps)
    ]
    return Table(("layer", "|dL/dW_k|", "share", "so far", "apart: own step", "apart: summed"), rows)


def rows(it: Tied) -> Iterator[Row]:
    yield ("what", "layer k", "update", "summed gradient", "own gradients")
    for k, (log, share) in enumerate(zip(it.log_layers, it.shares, strict=True), start=1):
        yield ("ln norm of the gradient", k, None, None, log)
        yield ("share of the summed gradient", k, None, None, share)
        yield ("apart from layer 1 after one step", k, 1, it.tied.first_step[k - 1], it.untied.first_step[k - 1])
    for what, of in (("loss", "losses"), ("largest distance of two layers", "spread")):
        for i, both in enumerate(zip(getattr(it.tied, of), getattr(it.untied, of), strict=True)):
            yield (what, None, i, *both)


def draw(it: Tied, colours: Colours) -> "Figure":
    """The share of each layer as a bar, and beside it how far apart the layers are after each update."""
    entries = [
        Entry("share of a layer", "muted", "band"),
        Entry("moved by the sum", "end"),
        Entry("each by its own", "other", "dashed"),
    ]
    odd = unusual([*it.shares, *it.untied.spread, *it.tied.spread])
    figure, boxes = spread_out(colours, Plan(2, across=2, tall=1.9), [*entries, *odd])
    ends = 0.4, it.steps + 0.6
    across = Axis(ends, ticks(1, it.steps, most=6, whole=True) if it.steps > 1 else ([1.0], ["1"]), "layer k")
    left = panel(figure, colours, boxes[0], x=across, y=drawing.linear(it.shares, "share of dL/dW", most=1e3))
    _bars(left, it.shares)
    updates = integers(len(it.tied.spread) - 1, "update")
    both = drawing.linear([*it.tied.spread, *it.untied.spread], "|W_k - W_1| / |W|, largest", most=1e3)
    right = panel(figure, colours, boxes[1], x=updates, y=both)
    for style, each in zip(entries[1:], (it.tied, it.untied), strict=True):
        drawing.line(right, range(len(each.spread)), each.spread, style)
    return figure


def _bars(frame: Frame, shares: Sequence[float]) -> None:
    """From zero; what is no number is a mark."""
    frame.across(0.0, "muted", width=0.8)
    for k, share in enumerate(drawing.kept(frame, shares), start=1):
        if math.isfinite(share):
            corners = [(k - 0.38, 0.0), (k - 0.38, share), (k + 0.38, share), (k + 0.38, 0.0)]
            frame.area([frame.at(*corner) for corner in corners], "muted", alpha=0.45)
    frame.marks(range(1, len(shares) + 1), shares)


EXPLORATION = Exploration(
    title="Tied weights",
    about="Backpropagation through time as a feedforward net of T layers with tied weights: the layers start equal and "
    "each has a gradient of its own. A step with their sum keeps them equal, a step with each one's own does not.",
    explore=tied,
    say=say,
    table=table,
    rows=rows,
    draw=draw,
)
