"""How much one step, and many in a row, can stretch or shrink a gradient: singular values along the data.

    J[t] = ds[t]/ds[t-1]          P_l[t] = J[t] J[t-1] ... J[t-l+1]          so that ds[t]/ds[t-l] = P_l[t]

    sigma_max(P_l[t])  <=  sigma_max(J[t]) ... sigma_max(J[t-l+1])  <=  (gamma sigma_max(W_hh))^l

The last is Elman's alone, gamma = 1/4 for sigmoid and 1 for tanh, ReLU and identity (Pascanu et al., 2013). The
products of a lag follow one another without overlap. Each is kept as a matrix whose largest element is near 1, and the
logarithm of what was taken out. Axes: n steps, b sequences, S state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from retrograd.cells import Cell, Elman
from retrograd.cells.activations import activation_named
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.bootstrap import quantile
from retrograd.measures.products import Product, Products, singular_values
from retrograd.measures.spacing import from_first
from retrograd.measures.step_jacobians import ClosedForm, StepJacobians, steps_of
from retrograd.measures.stretches import Stretches, stretches
from retrograd.numerics import SAFE
from retrograd.trace import LayerTrace, Trace

DENSE = 64  # up to this size all singular values of every step are taken
ITERATIONS = 40  # of Lanczos's, for the largest one of a larger J
TIGHT = 1e-5  # by which what they find may exceed its square, as a share
CHUNK = 4  # steps whose matrices are held together

Spread = tuple[float, float, float]  # the 10 %, 50 % and 90 % quantile


@dataclass(frozen=True)
class LayerJacobians:
    """Of one layer. Spreads are over steps and sequences, or over the products of a lag; logarithms are natural."""

    layer: str
    cell: str  # the class: "LSTM"
    size: int  # S
    sequences: int
    steps: int  # how many J[t] had their singular values taken, evenly along the sequences
    largest: Spread  # sigma_max(J[t])
    median: Spread  # the middle one
    smallest: Spread
    lags: tuple[int, ...]  # l
    products: tuple[int, ...]  # how many P_l
    log_largest: tuple[Spread, ...]  # ln sigma_max(P_l); -inf is an exact zero
    log_volume: tuple[Spread, ...]  # ln |det P_l| / S, the geometric mean of its singular values; -inf: singular
    log_chain: tuple[Spread, ...]  # the bound for every cell: the sum of ln sigma_max(J) over the same steps
    log_bound: tuple[float, ...] | None  # Elman's: l ln(gamma sigma_max(W_hh))


@dataclass(frozen=True)
class Jacobians:
    layers: tuple[LayerJacobians, ...]
    not_measured: tuple[str, ...] = ()  # layers in which no step leads from one state that is seen to the next


def jacobians(
    trace: Trace,
    *,
    sequences: int = 2,
    lags: Sequence[int] | None = None,
    steps: int = 8,
    products: int = 4,
    whole: bool = True,
) -> Jacobians:
    """Singular values of every layer's step Jacobians and of their products over `lags`.

    Measured along the longest unbroken stretches of so many sequences. Left out, the lags are the powers of two; those
    that are longer than every stretch are left out. Of a state of more than 64 numbers, where that is what costs most,
    each sequence has `steps` Jacobians, evenly spread, whose singular values are all taken; of each lag and sequence at
    most `products` are looked at. The sigma_max of the other steps is then from above and at most 5e-6 too high in ln.
    Unless the `whole` stretch is wanted, only its last steps are taken: as many as the products of the longest lag that
    fits into it are made of.

    >>> jacobians(trace).layers[0].log_largest[3]  # over 8 steps
    (-5.1, -4.4, -3.9)
    """
    if lags is not None and (not lags or min(lags) < 1):
        raise UsageError(f"Lags are steps from 1 on, got {list(lags)}.")
    if steps < 1 or products < 1:
        raise UsageError(f"At least one step and one product are needed, got {steps} and {products}.")
    found, unknown = [], []
    for layer in trace.layers:
        try:
            found.append(_of_layer(layer, sequences, lags, steps, products, whole=whole))
        except NotMeasured:
            unknown.append(layer.name)
    return Jacobians(tuple(found), tuple(unknown))


def _of_layer(
    layer: LayerTrace, sequences: int, lags: Sequence[int] | None, steps: int, products: int, *, whole: bool
) -> LayerJacobians:
    along, size = stretches(layer, sequences), layer.states.shape[-1]
    powers = (1 << k for k in range(along.steps.bit_length()))
    shared = sorted({l for l in (powers if lags is None else lags) if l <= along.steps})
    along = along if whole else _full(along, shared)
    gathered = [_Sequence(int(n), shared, int(n) if size <= DENSE else steps, products) for n in along.length]
    inside = along.inside
    for piece in steps_of(layer, along):
        _gather(gathered, piece, size, inside[: len(piece)])
        inside = inside[len(piece) :]
    values = torch.stack([x for one in gathered for x in one.values])
    found = [[x for one in gathered for x in one.found[l]] for l in shared]
    factor = _log_bound(layer.cell)
    return LayerJacobians(
        layer=layer.name,
        cell=layer.kind,
        size=size,
        sequences=len(along),
        steps=len(values),
        largest=_spread(values[:, 0]),
        median=_spread(values[:, size // 2]),
        smallest=_spread(values[:, -1]),
        lags=tuple(shared),
        products=tuple(map(len, found)),
        log_largest=tuple(_spread([x.largest for x in each]) for each in found),
        log_volume=tuple(_spread([x.volume for x in each]) for each in found),
        log_chain=tuple(_spread([x.chain for x in each]) for each in found),
        log_bound=None if factor is None else tuple(l * factor for l in shared),
    )


def _full(along: Stretches, lags: Sequence[int]) -> Stretches:
    """Of each the last steps, as many as products of the longest lag that fits into it are made of."""
    lengths = along.length.tolist()
    rest = torch.tensor([n % max((l for l in lags if l <= n), default=1) for n in lengths])
    return Stretches(along.sequence, along.begin + rest, along.length - rest)


class _Measured(NamedTuple):
    """Of one product."""

    largest: float
    volume: float
    chain: float


class _Sequence:
    """What is gathered along one sequence, step by step."""

    def __init__(self, length: int, lags: Sequence[int], steps: int, products: int) -> None:
        self.values: list[Tensor] = []
        self.found: dict[int, list[_Measured]] = {l: [] for l in lags}
        self._taken, self._sampled = 0, set(from_first(range(length), steps))
        self._products, self._count = Products(lags), dict.fromkeys(lags, 0)
        self._wanted = {l: set(from_first(range(length // l), products)) for l in lags}

    def add(self, J: Tensor, volume: float, bound: float) -> None:
        """The next step; `bound` is on ln sigma_max, or NaN where none is known yet."""
        if self._taken in self._sampled or math.isnan(bound):
            values = singular_values(J)
            bound = float(values[0].log())
            if self._taken in self._sampled:
                self.values.append(values)
        self._taken += 1
        for l, product in self._products.add(Product.of(J, chain=bound, volume=volume)):
            if l in self.found:
                if self._count[l] in self._wanted[l]:
                    largest = bound if l == 1 else product.log_largest
                    self.found[l].append(_Measured(largest, product.volume, product.chain))
                self._count[l] += 1


def _gather(gathered: Sequence[_Sequence], piece: StepJacobians, size: int, inside: Tensor) -> None:
    """The steps of a piece, to the sequences that have them, (n, b)."""
    bounds = torch.full(inside.shape, math.nan)
    if isinstance(piece, ClosedForm) and size > DENSE:
        bounds = log_largest(piece)
    for first in range(0, len(piece), CHUNK):
        J = piece.matrices(first, min(first + CHUNK, len(piece)))
        volumes = piece.log_dets(J) / size
        for j, b in inside[first : first + CHUNK].nonzero().tolist():
            gathered[b].add(J[j, b], float(volumes[j, b]), float(bounds[first + j, b]))


def log_largest(steps: ClosedForm) -> Tensor:
    """ln sigma_max of each step from above, (n, b), by Lanczos's iteration on J^T J; NaN where that is too slow.

    v[i+1] = (J^T J v[i] - alpha[i] v[i] - beta[i] v[i-1]) / beta[i+1]          beta[m] |y_m|: how far off it may be

    with y the leading eigenvector of the tridiagonal matrix of alpha and beta, which is the same in a smaller space.
    NaN also where squares may be out of range.
    """
    *shape, S = steps.shape
    v = torch.randn(*shape, S, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v, before = v / v.norm(dim=-1, keepdim=True), torch.zeros_like(v)
    nothing = steps.push(slice(None), v.unsqueeze(-2) / SAFE).eq(0).all(-1).squeeze(-1)  # no element is so small
    alphas, betas = [], [torch.zeros_like(v[..., :1])]
    for _ in range(min(S, ITERATIONS)):
        w = steps.pull(steps.push(slice(None), v.unsqueeze(-2)).squeeze(-2))
        alphas.append((w * v).sum(-1, keepdim=True))
        w.addcmul_(alphas[-1], v, value=-1).addcmul_(betas[-1], before, value=-1)
        betas.append(w.norm(dim=-1, keepdim=True))
        before, v = v, w.div_(betas[-1].clamp(min=torch.finfo(w.dtype).tiny))
    off = torch.diag_embed(torch.cat(betas[1:-1], -1), 1)
    tridiagonal = torch.diag_embed(torch.cat(alphas, -1)) + off + off.mT
    lost = ~tridiagonal.isfinite().flatten(-2).all(-1)
    values, vectors = torch.linalg.eigh(tridiagonal.masked_fill(lost[..., None, None], 0.0))
    value, rest = values[..., -1], betas[-1].squeeze(-1) * vectors[..., -1, -1].abs()
    sure = ~lost & (value > SAFE) & (value < 1 / SAFE) & (rest < TIGHT * value)
    return torch.where(nothing, -math.inf, torch.where(sure, (value + rest).log() / 2, math.nan))


def _log_bound(cell: Cell | None) -> float | None:
    """ln(gamma sigma_max(W_hh)) of an Elman cell."""
    if type(cell) is not Elman:
        return None
    largest = float(singular_values(cell.weight_hh.detach().double().cpu())[0])
    gamma = activation_named(cell.activation).steepest
    return math.log(gamma * largest) if largest else -math.inf


def _spread(values: Tensor | list[float]) -> Spread:
    low, middle, high = (float(quantile(torch.as_tensor(values, dtype=torch.float64), q)) for q in (0.1, 0.5, 0.9))
    return low, middle, high
