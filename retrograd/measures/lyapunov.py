"""How fast two nearby states grow apart or together: the Lyapunov spectrum along the data, in nats per step.

    Q[t] R[t] = J[t] Q[t-1]          lambda_i = mean over t of ln R[t]_ii, after a transient

Q holds k orthonormal directions, random at first (Benettin et al., 1980; for recurrent nets Engelken et al., 2023).
Above 0 states part, below 0 they are forgotten; all of them together are the mean of ln |det J[t]|.

A stack of layers is one system: S = [s_1, s_2, ...], whose Jacobian is block lower triangular,

    dS[t]_l = J_l[t] dS[t-1]_l + (ds_l[t]/dx_l[t]) dh_{l-1}[t]
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.step_jacobians import StepJacobians, steps_of
from retrograd.measures.stretches import Stretches, averages, check_transient, stretches
from retrograd.trace import LayerTrace, Trace

Push = Callable[[Tensor], Tensor]  # J[t] applied to directions (b, k, S)


@dataclass(frozen=True)
class Exponents:
    """Of one layer or of one stack. -inf: some Jacobian is singular to within what a float64 can tell."""

    name: str  # the layer, "rnn.l0", or the module, "rnn"
    layers: tuple[str, ...]  # those whose states it is of
    cells: tuple[str, ...]  # their classes
    size: int  # S
    exponents: tuple[float, ...]  # the largest first
    low: tuple[float, ...]  # the 95 % interval of each; empty where there is one block of time, which has no spread
    high: tuple[float, ...]
    sequences: int
    steps: int  # of all sequences, without the transients
    transient: int
    blocks: int  # how many stretches of time the interval is from

    @property
    def complete(self) -> bool:
        """Are these all S exponents?"""
        return len(self.exponents) == self.size


@dataclass(frozen=True)
class LyapunovSpectrum:
    layers: tuple[Exponents, ...]
    stacks: tuple[Exponents, ...]  # of modules whose layers feed each other and nothing else comes in between
    not_measured: tuple[str, ...] = ()  # layers in which no step leads from one state that is seen to the next


def lyapunov(
    trace: Trace,
    *,
    first: int = 8,
    transient: int | None = None,
    blocks: int = 10,
    sequences: int | None = 8,
    seed: int = 0,
) -> LyapunovSpectrum:
    """The `first` exponents of each layer, and of each stack of layers that feed each other.

    Measured along the longest unbroken stretches of the sequences, the longest ones first, without a transient of a
    quarter of their steps unless told otherwise. The exponents are those of the layer under its recorded inputs. The
    order in which they are found is that of the limit; here they are sorted. The interval is that of the mean over
    time; it does not know of a transient that is longer than what was left out.

    >>> lyapunov(trace).layers[0].exponents[0]
    -0.21
    """
    if first < 1:
        raise UsageError(f"At least one exponent must be asked for, got {first}.")
    check_transient(trace, transient)
    measured = partial(_spectrum, sequences=sequences, first=first, transient=transient, blocks=blocks, seed=seed)
    found, unknown = [], []
    for layer in trace.layers:
        try:
            found.append(measured(layer.name, [layer]))
        except NotMeasured:
            unknown.append(layer.name)
    stacks = (measured(name, layers) for name, layers in _stacks(trace) if layers[0].name not in unknown)
    return LyapunovSpectrum(tuple(found), tuple(stacks), tuple(unknown))


def _spectrum(
    name: str,
    layers: Sequence[LayerTrace],
    *,
    sequences: int | None,
    first: int,
    transient: int | None,
    blocks: int,
    seed: int,
) -> Exponents:
    along = stretches(layers[0], sequences)
    counted = along.counted(transient)
    size = sum(layer.states.shape[-1] for layer in layers)
    growth = _growth(_pushes(layers, along), size, (len(along), min(first, size)), seed)
    found = averages(growth, counted, blocks=blocks)
    order = found.mean.argsort(descending=True, stable=True)
    return Exponents(
        name=name,
        layers=tuple(layer.name for layer in layers),
        cells=tuple(layer.kind for layer in layers),
        size=size,
        exponents=tuple(found.mean[order].tolist()),
        low=() if found.low is None else tuple(found.low[order].tolist()),
        high=() if found.high is None else tuple(found.high[order].tolist()),
        sequences=found.sequences,
        steps=found.steps,
        transient=int((~counted[:, 0]).sum()),
        blocks=found.blocks,
    )


def _growth(pushes: Iterator[Push], size: int, shape: tuple[int, int], seed: int) -> Tensor:
    """ln |R_ii| of each step, (n, b, k), for `shape` (b, k) directions."""
    frame = torch.randn(*shape, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    directions, _ = _orthonormal(frame)
    growth = []
    for push in pushes:
        directions, logs = _orthonormal(push(directions))
        growth.append(logs)
    return torch.stack(growth)


def _orthonormal(v: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (b, k, S) made orthonormal, and ln |R_ii|, (b, k).

    What is left of a direction is zero where it is no more than rounding beside the largest: the step is singular.
    """
    Q, R = torch.linalg.qr(v.mT)
    left = R.diagonal(dim1=-2, dim2=-1).abs()
    rounding = torch.finfo(v.dtype).eps * v.shape[-1] * v.abs().amax((-2, -1))[..., None]
    return Q.mT, torch.where(left <= rounding, 0.0, left).log()


def _pushes(layers: Sequence[LayerTrace], along: Stretches) -> Iterator[Push]:
    """The joint map of each step."""
    widths = [(layer.states.shape[-1], layer.inputs.shape[-1]) for layer in layers]
    for pieces in zip(*(steps_of(layer, along) for layer in layers), strict=True):
        for j in range(len(pieces[0])):
            yield _joint(pieces, j, widths)


def _joint(pieces: Sequence[StepJacobians], j: int, widths: Sequence[tuple[int, int]]) -> Push:
    def push(v: Tensor) -> Tensor:
        parts = v.split_with_sizes([S for S, _ in widths], -1)
        moved = [pieces[0].push(j, parts[0])]
        for steps, (_, X), part in zip(pieces[1:], widths[1:], parts[1:], strict=True):
            h = moved[-1][..., :X]
            moved.append(steps.push(j, part) + steps.push_input(j, h))
        return torch.cat(moved, -1)

    return push


def _stacks(trace: Trace) -> Iterator[tuple[str, list[LayerTrace]]]:
    """Modules of several layers, one upon the other, with nothing in between."""
    modules: dict[str, list[LayerTrace]] = {}
    for layer in trace.layers:
        modules.setdefault(layer.module, []).append(layer)
    for name, layers in modules.items():
        if len(layers) > 1 and all(_feeds(below, above) for below, above in pairwise(layers)):
            yield name, layers


def _feeds(below: LayerTrace, above: LayerTrace) -> bool:
    """Is what the upper layer reads what the lower one puts out, number by number?"""
    if below.cell is None or any(it.cell is None or it.reverse or it.bridged for it in (below, above)):
        return False
    x, h = above.inputs, below.cell.output(below.states[1:])
    return x.shape == h.shape and torch.equal(x.isnan(), h.isnan()) and torch.allclose(x, h, atol=0, equal_nan=True)
