"""What enters a layer at many steps, taken back together over the steps of one trajectory.

    J[t] v = D[t] v + sum over gates g of K_g[t] * (W_g v_h)

Axes: E entries, T steps, B batch, M parts of the state (h, or h and c), G gates, H hidden, S state, which is M H.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from retrograd.bptt.native.library import Sweep, address, loaded


class Maps(NamedTuple):
    """Of all steps, in float32 or float64 on the CPU."""

    to_a: Tensor  # K, (T, B, M, G, H)
    direct: Tensor  # D, (T, B, M, M, H): from part m to part c
    weight: Tensor  # (G*H, H)


def swept(maps: Maps, at: Tensor, units: Tensor, logs: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
    """ln |.| of each entry at every state (E, T+1, B), and the sum of all entries there (T+1, B, S).

    What enters at the states `at` (E,), rising from 1 on, is `entering` (E, B, S), e^logs (E, B) times `units` of
    length 1.
    """
    to_a, direct, weight, units, entering = (x.contiguous() for x in (*maps, units, entering))
    at, logs = at.contiguous(), logs.double().contiguous()
    steps, batch, parts, gates, hidden = to_a.shape
    log_norms = torch.full((len(at), steps + 1, batch), -torch.inf, dtype=torch.float64)
    total = units.new_zeros(steps + 1, *units.shape[1:])
    sizes = steps, batch, hidden, parts, gates, len(at)
    assert units.dtype == entering.dtype == weight.dtype == to_a.dtype == direct.dtype
    if not log_norms.numel():
        return log_norms, total
    given = at, weight, to_a, direct, units, logs, entering, log_norms, total
    loaded().sweep(Sweep(units.dtype == torch.float64, torch.get_num_threads(), *sizes, *map(address, given)))
    return log_norms, total
