"""All states of a layer from its projections, and the total gradient at each of them: what measuring asks for.

s[t] = F(p[t], s[t-1])        total[t] = entering[t] + J[t+1]^T total[t+1]

Axes: T time, B batch, S state, P of p.
"""

import torch
from torch import Tensor

from retrograd.bptt.native.backend import kind_of, no_native, weights_of
from retrograd.bptt.native.operation import ELMAN, GRU, KEPT, LSTM, Inputs, Run, at_gates, full, states
from retrograd.cells import Cell


class Whole:
    """A pass over p (T, B, P), as `cell.project` gives it, from s0 (B, S). `cell` is one that `no_native` lets pass.

    p is used up: what the cell keeps stands in its place.
    """

    def __init__(self, cell: Cell, p: Tensor, s0: Tensor) -> None:
        self.steps, self.batch, _ = p.shape
        s0 = s0.contiguous()
        self._inputs = Inputs(kind_of(cell), full(self.steps, self.batch), p[:0], s0, weights_of(cell))
        self._run = states(self._inputs, self._arranged(p.detach().flatten(0, 1)))
        self.states = s0.new_empty(self.steps + 1, *s0.shape)  # (T+1, B, S)
        self.states[0] = s0
        H = self._run.h.shape[1]
        self.states[1:, :, :H] = self._run.h.view(self.steps, self.batch, H)
        if self._inputs.kind.cell == LSTM:
            self.states[1:, :, H:] = self._run.c.view(self.steps, self.batch, H)

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """What each step keeps, (T, B, H) each, as `cell.linearized` takes it."""
        cell = self._inputs.kind.cell
        shape = self.steps, self.batch, KEPT[cell] * self._run.h.shape[1]
        blocks = () if cell == ELMAN else self._run.kept.view(*shape).chunk(KEPT[cell], -1)
        if cell != GRU:
            return blocks
        n, r, z, a_n = blocks
        return r, z, n, a_n

    def back(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """What enters at the first states (t+1, b, S) becomes the total there, in place, but at the very first.

        Of all sequences, or of the first b. What enters at a memory is read at the last of these states alone. Gives
        what comes to the first state (b, S), and the gradient at p (t, b, P).
        """
        steps, batch, H = len(total) - 1, total.shape[1], self._run.h.shape[1]
        parts = (part[: steps * self.batch] for part in (self._run.h, self._run.kept, self._run.c))
        if batch < self.batch:
            parts = (_of_first(batch, part, of=self.batch) for part in parts)
        h, kept, c = parts
        run = Run(h, self._run.last[:batch], kept, c)
        inputs = self._inputs._replace(rows=full(steps, batch), first=self._inputs.first[:batch])
        last = torch.cat([torch.zeros_like(total[-1, :, :H]), total[-1, :, H:]], -1)
        d_h = total[1:, :, :H].clone(memory_format=torch.contiguous_format).flatten(0, 1)
        states = total[1:].contiguous()  # the very tensor, where all sequences are asked for
        d, first = at_gates(inputs, run, d_h, last, states=states)
        if not total.is_contiguous():
            total[1:] = states
        at_p = torch.cat([d[:, H : 3 * H], d[:, :H]], -1) if self._inputs.kind.cell == GRU else d
        return first, at_p.view(steps, batch, at_p.shape[1])

    def _arranged(self, p: Tensor) -> Tensor:
        """As the kernels want it: with b_hh, and of a GRU n, r, z, room for a_n."""
        kind, bias = self._inputs.kind, self._inputs.weights.bias_hh
        if kind.cell != GRU:
            return (p if bias is None else p.add_(bias)).contiguous()
        H = p.shape[1] // 3
        gates = p[:, : 2 * H] if bias is None else p[:, : 2 * H] + bias[: 2 * H]
        return torch.cat([p[:, 2 * H :], gates, torch.empty_like(p[:, :H])], -1)


def _of_first(sequences: int, rows: Tensor, *, of: int) -> Tensor:
    """Of the rows (N, ...) of all steps those of the first sequences."""
    if not len(rows):
        return rows
    return rows.view(-1, of, rows.shape[-1])[:, :sequences].reshape(-1, rows.shape[-1]).contiguous()


def whole(cell: Cell, p: Tensor, s0: Tensor) -> Whole | None:
    """None where the kernels do not take this cell."""
    return None if no_native(cell) else Whole(cell, p, s0)
