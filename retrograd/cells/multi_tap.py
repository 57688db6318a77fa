"""A recurrence with several taps: each step also reads what the layer put out several steps ago (Lin et al., 1996).

    h(t) = f(z)        z = W_ih x + b_ih + b_hh + sum over taps d of W_hh^(d) h(t-d)
    s(t) = [h(t); h(t-1); ...; h(t-D+1)]          D the longest tap: a shift register, h first

    J(t) = [ f'(z) W^(1)  ...  f'(z) W^(D) ]      W^(d) = 0 where there is no tap d
           [ I                             ]
           [      ...         I          0 ]

On the way back, tap d takes a gradient d steps for one application of f' and W; the register only passes it on, so that
what waits in it keeps its length. W_hh = [W^(d1) W^(d2) ...] side by side, one square block a tap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrograd.cells.activations import activation_named
from retrograd.cells.base import Cell, Gradients, Local
from retrograd.errors import ConfigError

LONGEST = 1024  # steps: the state holds every h up to the longest tap


@dataclass(frozen=True, eq=False)
class MultiTapLocal(Local):
    slope: Tensor  # f'(z)
    weight_hh: Tensor  # (H, n*H)
    taps: tuple[int, ...]

    @property
    def gates(self) -> dict[str, Tensor]:
        return {"h": self.state[..., : len(self.weight_hh)]}

    @property
    def derivatives(self) -> dict[str, Tensor]:
        return {"h": self.slope}

    def pullback(self, delta: Tensor) -> Gradients:
        dz, H = self.at_state_share(delta), len(self.weight_hh)
        ds = self._shifted(delta)
        for d, piece in zip(self.taps, (dz @ self.weight_hh).chunk(len(self.taps), -1), strict=True):
            ds[..., (d - 1) * H : d * H] += piece
        return ds, dz, dz

    def at_state_share(self, delta: Tensor) -> Tensor:
        return self.slope * delta[..., : len(self.weight_hh)]

    def paths(self, delta: Tensor) -> dict[str, Tensor]:
        """Through the activation and each tap's block of W_hh, and along the register, which only passes it on.

        Of a single tap one alone: what waits in its register is on no other way.
        """
        if len(self.taps) == 1:
            return {f"tap {self.taps[0]}": self.pullback(delta)[0]}
        dz, H = self.at_state_share(delta), len(self.weight_hh)
        through = {}
        for d, piece in zip(self.taps, (dz @ self.weight_hh).chunk(len(self.taps), -1), strict=True):
            through[f"tap {d}"] = F.pad(piece, ((d - 1) * H, delta.shape[-1] - d * H))
        return through | {"shift": self._shifted(delta)}

    def _shifted(self, delta: Tensor) -> Tensor:
        """What was at place d + 1 after the step was at place d before it; the last place falls out."""
        return F.pad(delta[..., len(self.weight_hh) :], (0, len(self.weight_hh)))


class MultiTap(Cell):
    """An Elman cell that reads h of 1, 4, ... steps ago; the state is the last D of h, (B, D*H), D the longest tap.

    >>> MultiTap(8, 16, taps=(1, 4)).step(torch.randn(2, 8), torch.zeros(2, 64)).shape
    torch.Size([2, 64])

    With taps=(1,) it is `nn.RNN`'s cell. The taps are kept in rising order.
    """

    gates = ("h",)
    weight_hh: nn.Parameter  # (H, n*H)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        taps: Sequence[int] = (1, 4),
        activation: str = "tanh",
        bias: bool = True,
    ) -> None:
        found = _checked(taps)
        super().__init__(input_size, hidden_size, reads=len(found), bias=bias)
        self.taps, self.activation = found, activation
        self._f = activation_named(activation)

    @property
    def state_size(self) -> int:
        return self.taps[-1] * self.hidden_size

    @property
    def recurrent_blocks(self) -> dict[str, Tensor]:
        """W_hh of each tap, (H, H): what it does, it does once in as many steps as the tap is long."""
        blocks = self.weight_hh.detach().chunk(len(self.taps), -1)
        return {f"tap {d}": W for d, W in zip(self.taps, blocks, strict=True)}

    def read(self, s: Tensor) -> Tensor:
        """h of each tap's steps ago, side by side."""
        H = self.hidden_size
        return torch.cat([s[..., (d - 1) * H : d * H] for d in self.taps], -1)

    def recur(self, p: Tensor, s: Tensor) -> Tensor:
        return self._pushed(self._put_out(p, s), s)

    def linearize(self, p: Tensor, s: Tensor) -> MultiTapLocal:
        h = self._put_out(p, s)
        return MultiTapLocal(self._pushed(h, s), self._f.derivative(h), self.weight_hh, self.taps)

    def _put_out(self, p: Tensor, s: Tensor) -> Tensor:
        return self._f.function(p + F.linear(self.read(s), self.weight_hh, self.bias_hh))

    def _pushed(self, h: Tensor, s: Tensor) -> Tensor:
        """The register one step on, with h at its head."""
        return torch.cat([h, s[..., : s.shape[-1] - self.hidden_size]], -1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, taps={self.taps}, activation={self.activation!r}"


def _checked(taps: Sequence[int]) -> tuple[int, ...]:
    """In rising order. Raises ConfigError where they are no taps."""
    found = tuple(taps)
    whole = all(isinstance(d, int) and not isinstance(d, bool) and 1 <= d <= LONGEST for d in found)
    if not found or not whole or len(set(found)) < len(found):
        raise ConfigError(
            f"The taps are different whole numbers of steps from 1 to {LONGEST:,}, such as (1, 4); got {found}."
        )
    return tuple(sorted(found))
