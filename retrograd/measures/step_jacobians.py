"""The step Jacobians along the data: as matrices, and applied to vectors.

    J[t] = ds[t]/ds[t-1]
    J[t] v = D[t] v + sum over gates g of K_g[t] * (W_g v_h)          K_g, D: diagonal
    J[t] v = [f'(z[t]) * (W_hh r(v)); v without its last H]           of several taps

The second form is that of a cell whose units meet nowhere but in W_hh; its K and D are what `pullback` makes of a
vector of ones. The third is a shift register's. Every other cell, and one without an equation, has its J row by row
from `back`: J^T e_i is row i. Axes: n steps, b sequences, k vectors, M parts of the state (h, or h and c), G gates,
H hidden, S state, which is M H.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from retrograd.cells import GRU, LSTM, Additive, Cell, Elman, Local, MultiTap
from retrograd.measures.stretches import Stretches
from retrograd.numerics import all_finite
from retrograd.trace import LayerTrace

UNITWISE = (Elman, GRU, LSTM, Additive)
AT_ONCE = 512  # maps that are held together: of some steps of all stretches
MOST = 1 << 22  # numbers that go through `back` together, 32 MB


class StepJacobians(ABC):
    """The maps of n consecutive steps of b stretches, in float64 on the CPU."""

    @abstractmethod
    def __len__(self) -> int:
        """n"""

    @abstractmethod
    def matrices(self, first: int, last: int) -> Tensor:
        """J of the steps first .. last - 1, (n, b, S, S)."""

    def log_dets(self, J: Tensor) -> Tensor:
        """ln |det J| of some of the matrices, (n, b)."""
        logs: Tensor = torch.linalg.slogdet(J).logabsdet
        return logs

    @abstractmethod
    def push(self, j: int, v: Tensor) -> Tensor:
        """J v of the j-th step, for k vectors (b, k, S)."""

    @abstractmethod
    def push_input(self, j: int, v: Tensor) -> Tensor:
        """(ds[t]/dx[t]) v of the j-th step, for vectors (b, k, X); not of a cell without an equation."""


def steps_of(layer: LayerTrace, along: Stretches) -> Iterator[StepJacobians]:
    """The steps of these stretches, some of them at a time."""
    cell = layer.cell
    some = max(1, AT_ONCE // len(along))
    for first in range(0, along.steps, some):
        times = along.times(first, min(first + some, along.steps))
        if cell is None or layer.bridged or type(cell) not in (*UNITWISE, MultiTap):
            yield ByRows(layer, times, along.sequence)
        else:
            yield _closed_form(cell, layer, times, along.sequence)


def on_cpu(cell: Cell) -> Cell:
    """A copy in float64 on the CPU."""
    return deepcopy(cell).double().cpu()


def aligned(values: Tensor, rows: Tensor, sequence: Tensor) -> Tensor:
    """Of values (T, B, ...) these rows (n, b) of these sequences (b,), in float64 on the CPU."""
    device = values.device
    return values[rows.to(device), sequence.to(device)].detach().double().cpu()


@dataclass(frozen=True, eq=False)
class ByRows(StepJacobians):
    """Any cell: S pullbacks a step, of all sequences of the batch."""

    layer: LayerTrace
    times: Tensor  # (n, b)
    sequence: Tensor  # (b,)

    def __len__(self) -> int:
        return len(self.times)

    def matrices(self, first: int, last: int) -> Tensor:
        return torch.stack([self._rows(j, self.layer.back) for j in range(first, last)])

    def push(self, j: int, v: Tensor) -> Tensor:
        return v @ self._rows(j, self.layer.back).mT

    def push_input(self, j: int, v: Tensor) -> Tensor:
        return v @ self._rows(j, self._back_to_input).mT

    def _back_to_input(self, t: int, delta: Tensor) -> Tensor:
        assert self.layer.cell is not None
        _, at_p, _ = self.layer.linear[t - 1].pullback(delta)
        return at_p @ self.layer.cell.weight_ih

    def _rows(self, j: int, back: Callable[[int, Tensor], Tensor]) -> Tensor:
        """What `back` makes of each unit vector at the j-th step, (b, S, ...)."""
        states, times = self.layer.states, self.times[j]
        _, batch, size = states.shape
        units = torch.eye(size, dtype=states.dtype, device=states.device)[:, None].expand(-1, batch, -1)
        at_once = max(1, MOST // (batch * size))
        found = {}
        for t in set(times.tolist()):
            pieces = [back(t, units[i : i + at_once]) for i in range(0, size, at_once)]
            found[t] = torch.cat(pieces).detach().double().cpu()  # (S, B, ...)
        return torch.stack([found[t][:, b] for t, b in zip(times.tolist(), self.sequence.tolist(), strict=True)])


class ClosedForm(StepJacobians):
    """Without a matrix, in either direction."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(n, b, S)"""

    @abstractmethod
    def push(self, j: int | slice, v: Tensor) -> Tensor:
        """J v of the j-th step; of a slice of steps for vectors (n, b, k, S)."""

    @abstractmethod
    def pull(self, delta: Tensor) -> Tensor:
        """J^T delta of all steps, for one vector each, (n, b, S)."""

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True, eq=False)
class Unitwise(ClosedForm):
    """The cells whose units meet nowhere but in W_hh."""

    to_p: Tensor  # K for the input's share p, (M, n, b, G, H)
    to_a: Tensor  # K for the state's share a, (M, n, b, G, H)
    direct: Tensor  # D, (M, n, b, M, H)
    weight_ih: Tensor  # (G*H, X)
    weight_hh: Tensor  # (G*H, H)

    @property
    def shape(self) -> tuple[int, int, int]:
        M, n, b, _, H = self.direct.shape
        return n, b, M * H

    def matrices(self, first: int, last: int) -> Tensor:
        M, _, b, _, H = self.direct.shape
        J, W = self.direct.new_zeros(last - first, b, M, H, M, H), self.weight_hh.view(-1, H, H)
        for r, g, K in self._through:
            J[:, :, r, :, 0].addcmul_(K[first:last, ..., None], W[g])
        for r, c, D in self._past:
            J[:, :, r, :, c].diagonal(dim1=-2, dim2=-1).add_(D[first:last])
        return J.view(last - first, b, M * H, M * H)

    def log_dets(self, J: Tensor) -> Tensor:
        """With a memory J = [A B; C F], B and F diagonal, and det J = det F det(A - B F^-1 C)."""
        H = self.direct.shape[-1]
        f = J[..., H:, H:].diagonal(dim1=-2, dim2=-1)
        if len(self.direct) == 1 or (f == 0).any():
            return super().log_dets(J)
        kept = J[..., :H, H:].diagonal(dim1=-2, dim2=-1) / f
        rest = J[..., :H, :H] - kept[..., None] * J[..., H:, :H]
        return super().log_dets(rest) + f.abs().log().sum(-1)

    def push(self, j: int | slice, v: Tensor) -> Tensor:
        M, H = self.direct.shape[0], self.direct.shape[-1]
        a, after = torch.split(F.linear(v[..., :H], self.weight_hh), H, -1), [_Sum() for _ in range(M)]
        for r, c, D in self._past:
            after[r].add(D[j].unsqueeze(-2), v[..., c * H : (c + 1) * H])
        for r, g, K in self._through:
            after[r].add(K[j].unsqueeze(-2), a[g])
        return torch.cat([it.total(v[..., :H]) for it in after], -1)

    def push_input(self, j: int, v: Tensor) -> Tensor:
        p = F.linear(v, self.weight_ih).view(*v.shape[:-1], *self.to_p.shape[-2:])
        return torch.cat([(K[j].unsqueeze(-3) * p).sum(-2) for K in self.to_p], -1)

    def pull(self, delta: Tensor) -> Tensor:
        M, _, _, _, H = self.direct.shape
        parts, gates = torch.split(delta, H, -1), self.to_a.shape[3]
        da, before = [_Sum() for _ in range(gates)], [_Sum() for _ in range(M)]
        for r, g, K in self._through:
            da[g].add(K, parts[r])
        for r, c, D in self._past:
            before[c].add(D, parts[r])
        back = [it.total(parts[0]) for it in before]
        if gates:
            back[0] = back[0] + torch.cat([it.total(parts[0]) for it in da], -1) @ self.weight_hh
        return torch.cat(back, -1)

    @cached_property
    def _through(self) -> list[tuple[int, int, Tensor]]:
        """Each part r of the state, gate g and its K (n, b, H) that is not zero throughout; or W_g is not finite."""
        M, _, _, G, H = self.to_a.shape
        broken = [not all_finite([W]) for W in self.weight_hh.view(G, H, H)]
        each = ((r, g, self.to_a[r, :, :, g]) for r in range(M) for g in range(G))
        return [(r, g, K.contiguous()) for r, g, K in each if broken[g] or K.any()]

    @cached_property
    def _past(self) -> list[tuple[int, int, Tensor]]:
        """Each part r of the state after and c of the one before, and D between them, if it is not zero throughout."""
        M = len(self.direct)
        each = ((r, c, self.direct[r, :, :, c]) for r in range(M) for c in range(M))
        return [(r, c, D.contiguous()) for r, c, D in each if D.any()]


class _Sum:
    """A sum of products, made in place; of none it is zero."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def add(self, a: Tensor, b: Tensor) -> None:
        self._total = a * b if self._total is None else self._total.addcmul_(a, b)

    def total(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if self._total is None else self._total


@dataclass(frozen=True, eq=False)
class Register(ClosedForm):
    """A cell with several taps."""

    cell: MultiTap
    steps: Local  # linearised, (n, b, ...)

    @property
    def shape(self) -> tuple[int, int, int]:
        n, b, S = self.steps.state.shape
        return n, b, S

    def matrices(self, first: int, last: int) -> Tensor:
        slope, H = self._slope[first:last], self.cell.hidden_size
        J = slope.new_zeros(*slope.shape[:2], self.shape[-1], self.shape[-1])
        J[..., H:, :].diagonal(dim1=-2, dim2=-1).fill_(1)
        for d, W in zip(self.cell.taps, self.cell.weight_hh.chunk(len(self.cell.taps), -1), strict=True):
            J[..., :H, (d - 1) * H : d * H] = slope[..., None] * W
        return J

    def log_dets(self, J: Tensor) -> Tensor:
        """But for the sign that of the longest tap's block: all other columns have a 1 of their own."""
        return super().log_dets(J[..., : self.cell.hidden_size, -self.cell.hidden_size :])

    def push(self, j: int | slice, v: Tensor) -> Tensor:
        h = self._slope[j].unsqueeze(-2) * F.linear(self.cell.read(v), self.cell.weight_hh)
        return torch.cat([h, v[..., : v.shape[-1] - self.cell.hidden_size]], -1)

    def push_input(self, j: int, v: Tensor) -> Tensor:
        h = self._slope[j].unsqueeze(-2) * F.linear(v, self.cell.weight_ih)
        return F.pad(h, (0, self.shape[-1] - h.shape[-1]))

    def pull(self, delta: Tensor) -> Tensor:
        return self.steps.pullback(delta)[0]

    @property
    def _slope(self) -> Tensor:
        return self.steps.derivatives["h"]


def _closed_form(cell: Cell, layer: LayerTrace, times: Tensor, sequence: Tensor) -> ClosedForm:
    x, s = (aligned(values, times - 1, sequence) for values in (layer.inputs, layer.states))
    cell = on_cpu(cell).requires_grad_(False)
    with torch.no_grad():
        local = cell.linearize(cell.project(x), s)
        return Register(cell, local) if isinstance(cell, MultiTap) else unitwise(cell, local)


def unitwise(cell: Cell, local: Local) -> Unitwise:
    """The maps of a cell's steps, linearised, (n, b, ...); in their precision."""
    W_ih, W = (None if W is None else W.detach().to(local.state) for W in (cell.weight_ih, cell.weight_hh))
    assert W_ih is not None
    W = local.state.new_zeros(0, cell.hidden_size) if W is None else W
    alone = local.unconnected()  # what comes back to s is D; less K W it would be rounded away beside large weights
    direct, to_p, to_a, H = [], [], [], cell.hidden_size
    for begin in range(0, local.state.shape[-1], H):
        ones = torch.zeros_like(local.state)
        ones[..., begin : begin + H] = 1
        at_s, at_p, at_a = alone.pullback(ones)
        direct.append(at_s)
        to_p.append(at_p)
        to_a.append(at_a)
    return Unitwise(_blocks(to_p, H), _blocks(to_a, H), _blocks(direct, H), W_ih, W)


def _blocks(parts: list[Tensor], H: int) -> Tensor:
    """M of (n, b, G*H) as (M, n, b, G, H)."""
    x = torch.stack(parts)
    return x.view(*x.shape[:-1], x.shape[-1] // H, H)
