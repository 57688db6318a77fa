"""How much each loss's gradient weighs at each earlier state: the whole triangle, for a picture.

N[t, k] = |dL_t / dS[k]|,  k <= t          S[k] the states of all recurrent layers after step k, joined
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Contributions:
    """ln of the median over the batch of N[t, k]. Rows are losses, columns states; None where k > t."""

    times: tuple[int, ...]  # t, of each row
    states: tuple[int, ...]  # k, of each column
    log_norms: tuple[tuple[float | None, ...], ...]  # -inf is an exact zero
