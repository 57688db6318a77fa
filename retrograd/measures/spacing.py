"""A few of many steps, spread over all of them."""

from collections.abc import Sequence

import torch


def spaced(longest: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16 ... and the longest."""
    powers = [2**i for i in range(longest.bit_length())]
    return sorted({n for n in (*powers, *(3 * p // 2 for p in powers), longest) if 1 <= n <= longest})


def from_first(items: Sequence[int], n: int) -> list[int]:
    """At most n of the items, evenly, the first among them."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]


def up_to_last(items: Sequence[int], n: int) -> list[int]:
    """At most n of the items, but one at least, evenly, the last among them."""
    n = max(1, min(n, len(items)))
    return [items[len(items) - 1 - len(items) * i // n] for i in reversed(range(n))]


def from_first_to_last(items: Sequence[int], n: int) -> list[int]:
    """At most n of the items, evenly, the first and the last among them; of only one, the last."""
    if n == 1 or len(items) <= n:
        return list(items[-n:])
    return [items[i * (len(items) - 1) // (n - 1)] for i in range(n)]


def drawn(items: Sequence[int], n: int, seed: int) -> list[int]:
    """One of each of n equal stretches of the items, by a private generator."""
    places = (torch.arange(n) + torch.rand(n, generator=torch.Generator().manual_seed(seed))) * len(items) / n
    return [items[place] for place in sorted(set(places.int().tolist()))]
