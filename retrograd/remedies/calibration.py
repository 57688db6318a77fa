"""Recurrent weights at the edge between vanishing and exploding, found on the user's own data.

    W_hh = g Q for each gate's block, Q orthogonal          g such that lambda(g) = 0
    lambda = mean over t of ln ( |J[t]^T delta[t]| / |delta[t]| )       delta[t-1] = J[t]^T delta[t], random at T

lambda is the leading Lyapunov exponent, taken along the way that a gradient goes: nats per step. An activation's slope
is under 1 and depends on the inputs, so that an orthogonal matrix alone still vanishes, and how much larger it has to
be only a measurement can tell. Layers are set in the order in which they run, since each feeds the next.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrograd.cells import Cell
from retrograd.errors import NotMeasured
from retrograd.init import Recurrence, orthogonal_, recurrences
from retrograd.numerics import log_norm
from retrograd.remedies.patch import Course, Loss, Plain
from retrograd.trace import LayerTrace, record

WIDEST = 64.0  # the largest gain that is tried, and one over the smallest
NEAR = 5e-4  # nats per step: over 200 steps a factor of 1.1
GUESSES = 20
SEQUENCES = 4  # the exponent is an average over time already


def calibrated(model: nn.Module, loss: Loss) -> Course:
    """Orthogonal blocks times the gain at which the leading exponent is about zero, layer by layer.

    A layer's inputs are taken as they come: where a model feeds its outputs back to itself they will be others.
    """
    orthogonal_(model)
    ran = record(model, loss).layers
    for layer in recurrences(model):
        at = [i for i, it in enumerate(ran) if _is_of(it, layer)]
        if at:  # what does not run needs no gain
            _calibrate(layer, record(model, loss).layers[at[0]])
    return Plain()


@torch.no_grad()
def leading(cell: Cell, inputs: Tensor, state: Tensor, real: Tensor) -> float:
    """lambda: the growth of a random gradient per step back, over the last three quarters of its way, in nats.

    Along inputs (T, B, X) from `state` (B, S); a step that is not `real` (T, B) leads nowhere and is not counted.
    """
    steps, s = [], state
    for p, here in zip(cell.project(inputs), real, strict=True):
        steps.append(cell.linearize(p, s))
        s = torch.where(here[:, None], steps[-1].state, s)
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(state.shape, dtype=torch.float64, generator=generator).to(state)
    logs = []
    for step, here in zip(reversed(steps), real.flip(0), strict=True):
        before = step.pullback(delta)[0]
        log = log_norm(before)
        logs.append(log - log_norm(delta))
        told = (here & log.isfinite())[:, None]
        delta = torch.where(told, before * (-log).exp()[:, None].to(before.dtype), delta)
    first = len(steps) // 4
    return float(torch.stack(logs)[first:][real.flip(0)[first:]].mean())


def _calibrate(layer: Recurrence, ran: LayerTrace) -> None:
    assert ran.cell is not None
    assert layer.weight_hh is not None
    cell, Q = copy.deepcopy(ran.cell), layer.weight_hh.detach()
    real = torch.ones(ran.inputs.shape[:2], dtype=torch.bool, device=Q.device) if ran.live is None else ran.live
    longest = real.sum(0).argsort(descending=True, stable=True)[:SEQUENCES]
    along = ran.inputs[:, longest], ran.states[0, longest], real[:, longest]

    def exponent(log_gain: float) -> float:
        assert cell.weight_hh is not None
        with torch.no_grad():
            cell.weight_hh.copy_(math.exp(log_gain) * Q)
        return leading(cell, *along)

    log_gain = root(exponent, widest=math.log(WIDEST), near=NEAR)
    if log_gain is None:
        raise NotMeasured(
            f"No gain from {1 / WIDEST:g} to {WIDEST:g} brings the leading exponent of {layer.name} to zero on this "
            "data. Try orthogonal, or a forget bias where there is a gate that keeps."
        )
    with torch.no_grad():
        layer.weight_hh.copy_(math.exp(log_gain) * Q)


def root(f: Callable[[float], float], *, widest: float, near: float) -> float | None:
    """Where |f| <= near, outwards from 0 and then between two signs; None where no sign changes within +-widest.

    f rises about as its argument does, so the next guess is on the line between the last two (the Illinois rule).
    """
    x, y = 0.0, f(0.0)
    a, at_a = x, y
    while abs(y) > near and (at_a < 0) == (y < 0):
        if abs(x) >= widest:
            return None
        a, at_a = x, y
        x = max(-widest, min(widest, x - math.copysign(max(2 * abs(y), 0.05), y)))
        y = f(x)
    for _ in range(GUESSES):
        if math.isnan(y):
            return None
        if abs(y) <= near:
            break
        guess = (a * y - x * at_a) / (y - at_a)
        value = f(guess)
        if (value < 0) == (y < 0):
            at_a /= 2  # else the far end would stay for ever
        else:
            a, at_a = x, y
        x, y = guess, value
    return x


def _is_of(it: LayerTrace, layer: Recurrence) -> bool:
    """Did this layer run on these weights?"""
    weight: Tensor | None = getattr(it.cell, "weight_hh", None)
    mine = layer.weight_hh
    if weight is None or mine is None or weight.shape != mine.shape:
        return False
    return torch.equal(weight, mine.detach().to(weight.dtype))
