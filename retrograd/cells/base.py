"""One time step of a recurrent layer, forward and back.

    p = W_ih x + b_ih               project   the input's share: needs no state, so all steps at once
    a = W_hh r + b_hh               read      the state's share: r is h, or the h of several earlier steps
    s' = F(p, a, s)                 recur     one step
    J = ds'/ds                      jacobian
    J^T delta                       pullback  a gradient at s' taken back to s, p and a

Axes: B batch, X input, H hidden, G blocks of H rows in the weights (`gates`), S state. The state s is all that
travels from one step to the next: h, or [h; c] side by side for an LSTM, or the last D of h. h always comes first.

Names, shapes and gate order of the parameters are those of one layer of torch's own modules.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.errors import ConfigError, NotMeasured
from retrograd.init import default_

Gradients = tuple[Tensor, Tensor, Tensor]  # at the previous state s, at the input's p, at the state's a


@dataclass(frozen=True, eq=False)
class Local(ABC):
    """A step linearised at one point: where it led, and the linear map J^T that takes gradients back.

    Every tensor but the weights has the leading axes of the state it was made from, (B, ...) or (T, B, ...),
    and `local[t]` is the one at step t.
    """

    state: Tensor  # s', (..., S)

    @property
    @abstractmethod
    def gates(self) -> dict[str, Tensor]:
        """The activation of each of the cell's blocks by name, (..., H)."""

    @property
    @abstractmethod
    def derivatives(self) -> dict[str, Tensor]:
        """The derivative of each non-linearity at its pre-activation, (..., H): saturated near 0."""

    @abstractmethod
    def pullback(self, delta: Tensor) -> Gradients:
        """A gradient at s' taken back: (at s (..., S), at p (..., G*H), at a (..., G*H)).

        `delta` may be a stack (..., B, S) of gradients over one linearised step. Where p and a only ever meet
        as p + a the last two are one and the same tensor. A cell without W_hh has an `a` of width 0.
        """

    def at_state_share(self, delta: Tensor) -> Tensor:
        """A gradient at s' taken back to a alone: the last of what `pullback` gives."""
        return self.pullback(delta)[2]

    @abstractmethod
    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """J^T delta in pieces (..., B, S), one for each way that the gradient takes back over the step, by name.

        They add up to it as vectors: two of them may point against each other.
        """

    def to(self, dtype: torch.dtype) -> Self:
        """In another precision, weights and all."""
        return replace(self, **{name: getattr(self, name).to(dtype) for name in self._tensors})

    def unconnected(self) -> Self:
        """The same without the weights: what comes back to s is what passes from each unit to itself alone."""
        weights = [name for name in self._tensors if name not in self._of_steps]
        return replace(self, **{name: torch.zeros_like(getattr(self, name)) for name in weights})

    def __getitem__(self, t: int | slice | tuple[Tensor, Tensor]) -> Self:
        return replace(self, **{name: getattr(self, name)[t] for name in self._of_steps})

    @staticmethod
    def stacked(steps: Sequence["Local"]) -> "Local":
        """Several of one cell as one, with a leading axis more."""
        first = steps[0]
        return replace(first, **{name: torch.stack([getattr(it, name) for it in steps]) for name in first._of_steps})

    @staticmethod
    def joined(pieces: Sequence["Local"]) -> "Local":
        """Several of one cell, each of many steps, end to end."""
        first = pieces[0]
        if len(pieces) == 1:
            return first
        return replace(first, **{name: torch.cat([getattr(it, name) for it in pieces]) for name in first._of_steps})

    @property
    def _of_steps(self) -> list[str]:
        """The fields that are another at each step."""
        return [name for name in self._tensors if not name.startswith("weight_")]

    @property
    def _tensors(self) -> list[str]:
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), Tensor)]


class Cell(nn.Module, ABC):
    """A recurrent cell: `recur` is the equation, `linearize` its derivative in closed form.

    A cell without a closed form leaves `linearize` out; it then runs on the reference backend only.
    """

    gates: ClassVar[tuple[str, ...]]
    has_memory: ClassVar[bool] = False  # does the state hold a memory c beside h?

    weight_ih: nn.Parameter  # (G*H, X)
    weight_hh: nn.Parameter | None  # (G*H, R), R as wide as what `read` gives: H, or more where there are several taps
    bias_ih: nn.Parameter | None  # (G*H)
    bias_hh: nn.Parameter | None  # (G*H)

    def __init__(self, input_size: int, hidden_size: int, *, reads: int = 1, bias: bool = True) -> None:
        """`reads`: of how many earlier steps W_hh reads the h; with 0 there is no W_hh and no b_hh."""
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ConfigError(f"A cell needs sizes of at least 1, got input {input_size} and hidden {hidden_size}.")
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(self.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, reads * hidden_size)) if reads else None
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias and reads else None
        default_(self)

    @property
    def kind(self) -> str:
        """What it is called in reports: "LSTM"."""
        return type(self).__name__

    @property
    def output_size(self) -> int:
        """The size of h, what the layer above sees."""
        return self.hidden_size

    @property
    def state_size(self) -> int:
        return self.output_size + (self.hidden_size if self.has_memory else 0)

    @property
    def recurrent_blocks(self) -> dict[str, Tensor]:
        """W_hh of each gate by name, (H, H); none for a cell without."""
        if self.weight_hh is None:
            return {}
        return dict(zip(self.gates, self.weight_hh.detach().chunk(len(self.gates)), strict=True))

    def initial_state(self, batch: int) -> Tensor:
        """Zeros (batch, S), of the weights' type and on their device."""
        return self.weight_ih.new_zeros(batch, self.state_size)

    def output(self, s: Tensor) -> Tensor:
        """h, what the layer above sees: the first of the state."""
        return s[..., : self.output_size]

    def read(self, s: Tensor) -> Tensor:
        """What W_hh is multiplied by, (..., R): h."""
        return self.output(s)

    def project(self, x: Tensor) -> Tensor:
        """p = W_ih x + b_ih, (..., G*H)."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    @abstractmethod
    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        """s', one step on in plain differentiable operations."""

    def step(self, x: Tensor, s: Tensor) -> Tensor:
        return self.recur(self.project(x), s)

    def linearize(self, p: Tensor, s: Tensor) -> Local:
        """The step from s linearised; with p and s (T, B, ...), all steps of a known trajectory at once."""
        raise NotMeasured(f"{type(self).__name__} gives no derivative in closed form; use the reference backend.")

    def linearized(self, kept: Sequence[Tensor], s: Tensor, after: Tensor) -> Local:
        """As `linearize`, where the state after the step is known, and what the step `kept` of its gates.

        That is what the way back needs of an Elman cell, a GRU, an LSTM or an additive one beside the states: nothing;
        r, z, n and a_n; i, f, g, o; F(x). Each is (..., H).
        """
        raise NotMeasured(f"It is not known what a step of {type(self).__name__} keeps.")

    def jacobian(self, x: Tensor, s: Tensor) -> Tensor:
        """J = ds'/ds, (B, S, S): row i is the pullback of the i-th unit vector."""
        local = self.linearize(self.project(x), s)
        units = torch.eye(self.state_size, dtype=s.dtype, device=s.device).unsqueeze(1)
        rows, _, _ = local.pullback(units.expand(-1, len(s), -1))
        return rows.transpose(0, 1)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
