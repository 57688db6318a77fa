"""An additive path through time around an Elman cell (FastRNN: Kusupati et al., 2018).

    h' = h + a f(z)          z = W_ih x + b_ih + W_hh h + b_hh,  a > 0 small
    J  = I + a diag(f'(z)) W_hh

Each of T steps changes a gradient's length by a factor from 1 - a s to 1 + a s at most, s the largest singular value of
W_hh: with a = 1 / T what it loses or gains on the way is no more than exp(s).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from retrograd.bptt.stack import Stack
from retrograd.cells import Cell, Elman, Local
from retrograd.cells.activations import activation_named
from retrograd.cells.base import Gradients
from retrograd.errors import NotMeasured


@dataclass(frozen=True, eq=False)
class ResidualLocal(Local):
    update: Tensor  # f(z)
    slope: Tensor  # f'(z)
    share: Tensor  # a, as a number of the state's own kind for each sequence, (..., 1)
    weight_hh: Tensor

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"h": self.update}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        return {"h": self.slope}

    def pullback(self, delta: Tensor) -> Gradients:
        dz = self.share * self.slope * delta
        return delta + dz @ self.weight_hh, dz, dz

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """Straight on, and through the activation and W_hh."""
        return {"keep": delta, "recurrence": (self.share * self.slope * delta) @ self.weight_hh}


class Residual(Cell):
    """An Elman cell whose step is added to the state; on the very parameters of `cell`."""

    gates = ("h",)
    weight_hh: nn.Parameter

    def __init__(self, cell: Elman, share: float) -> None:
        with torch.device("meta"):  # draws nothing; the parameters are those of the cell
            super().__init__(cell.input_size, cell.hidden_size, bias=cell.bias_ih is not None)
        for name, parameter in cell.named_parameters():
            setattr(self, name, parameter)
        self.activation, self.share = cell.activation, share
        self._f = activation_named(cell.activation)
        self.train(cell.training)

    def _update(self, p: Tensor, s: Tensor) -> Tensor:
        return self._f.function(p + F.linear(s, self.weight_hh, self.bias_hh))

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return s + self.share * self._update(p, s)

    def linearize(self, p: Tensor, s: Tensor) -> ResidualLocal:
        y = self._update(p, s)
        share = torch.full_like(y[..., :1], self.share)
        return ResidualLocal(s + self.share * y, y, self._f.derivative(y), share, self.weight_hh)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}, share={self.share:g}"


class ResidualRNN(nn.Module):
    """In place of an nn.RNN in one direction: the same weights, arguments and results; no PackedSequence."""

    def __init__(self, module: nn.RNN, cells: list[Residual]) -> None:
        super().__init__()
        self.input_size, self.hidden_size = module.input_size, module.hidden_size
        self.num_layers, self.batch_first, self.bias = module.num_layers, module.batch_first, module.bias
        self.bidirectional, self.proj_size, self.dropout = False, 0, float(module.dropout)
        self.stack = Stack(cells, dropout=self.dropout)
        self.train(module.training)

    def flatten_parameters(self) -> None:
        """There is nothing to flatten; an nn.RNN has it."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if isinstance(input, PackedSequence):
            raise NotMeasured("An additive path takes padded sequences, and was given a PackedSequence.")
        alone = input.dim() == 2
        x = input.unsqueeze(1) if alone else input.transpose(0, 1) if self.batch_first else input
        given = hx.unsqueeze(1) if alone and hx is not None else hx
        outputs, last = self.stack(x, None if given is None else tuple(given))
        h_n = torch.stack(last)
        if alone:
            return outputs.squeeze(1), h_n.squeeze(1)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), h_n

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
