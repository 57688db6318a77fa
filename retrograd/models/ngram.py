"""The n-gram language model with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999, section 3).

    p(w | u) = max(a(uw) - D(a(uw)), 0) / sum_w a(uw)  +  gamma(u) p(w | u')        u': u without its first word
    gamma(u) = (D1 N1(u) + D2 N2(u) + D3 N3+(u)) / sum_w a(uw)                      N_i(u): types after u with a = i
    D_i = i - (i + 1) Y n_{i+1} / n_i,  Y = n_1 / (n_1 + 2 n_2)                     n_i: n-grams of the order with a = i

a is how often an n-gram of the highest order occurs; of a lower order, after how many different words, and how often
where it begins a text, since nothing stands before it. Below order 1 every type is as likely as another.

Counting is sorting: the n-gram that ends at t is numbered by that of order n - 1 which ends at t - 1, and its own last
word. Axes: N positions of a text, K n-grams of one order, V types.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrograd.errors import DataError, RunError

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Marks: TypeAlias = NDArray[np.bool_]
TABLES = ("keys", "counts", "log_p", "log_backoff")
UNSURE = (0.5, 1.0, 1.5)  # discounts where an order has too few n-grams to estimate them


@dataclass(frozen=True, eq=False)
class Order:
    """The n-grams of one order, sorted by their key: number of the first n - 1 words, times V + 1, plus the last."""

    keys: Ints  # (K,)
    counts: Ints  # (K,): how often each occurs in the training text
    log_p: Floats  # (K,): ln p(last word | the others)
    log_backoff: Floats  # (K,): ln gamma of the n-gram as a history; 0 where nothing followed it
    discounts: tuple[float, float, float]  # D1, D2, D3+

    def find(self, keys: Ints) -> Ints:
        """Their numbers, -1 for those that are not here; a negative key is of none."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class NGram:
    """ln p of each token given those before it. The mark that begins a text is type V, and is never predicted.

    >>> model = NGram.fit(ids, starts, order=5, vocabulary=10_000)
    >>> -model.log_probabilities(ids, starts).mean()
    5.1
    """

    def __init__(self, orders: Sequence[Order], vocabulary: int) -> None:
        self.orders, self.vocabulary = tuple(orders), vocabulary

    @classmethod
    def fit(cls, ids: Ints, starts: Marks, *, order: int, vocabulary: int) -> "NGram":
        """Count a text (N,); `starts` (N,): where a document begins.

        Raises DataError where the text, or every document in it, is too short for the order.
        """
        if len(ids) < order:
            raise DataError(
                f"A model of order {order} needs a text of at least {order} tokens, got {len(ids)}. Give "
                f"a longer text, or a smaller model.order."
            )
        counted = _Counted(_marked(ids, starts, vocabulary), vocabulary, order)
        if not all(map(len, counted.keys)):
            longest = sum(len(keys) > 0 for keys in counted.keys) - 1
            raise DataError(
                f"A model of order {order} needs a document of at least {order - 1} tokens; the longest "
                f"here has {longest}. Try a smaller order."
            )
        orders: list[Order] = []
        for n in range(1, order + 1):
            one, log_gamma = counted.smoothed(n, orders[-1].log_p if orders else None)
            if orders:
                orders[-1] = replace(orders[-1], log_backoff=log_gamma)
            orders.append(one)
        return cls(orders, vocabulary)

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]]) -> "NGram":
        """From what `state` gave. Raises RunError where it is no n-gram model's."""
        try:
            vocabulary, orders = int(tensors["vocabulary"][0]), list[Order]()
            while f"{len(orders) + 1}.keys" in tensors:
                parts = {name: tensors[f"{len(orders) + 1}.{name}"] for name in TABLES}
                orders.append(Order(**parts, discounts=tuple(tensors[f"{len(orders) + 1}.discounts"].tolist())))
            if not orders or len(orders[0].keys) != vocabulary + 1:
                raise ValueError(f"{len(orders)} orders over {vocabulary} types")
            if any(getattr(order, name).shape != order.keys.shape for order in orders for name in TABLES):
                raise ValueError("its tables are of different lengths")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise RunError(f"The tables are no n-gram model's ({error}); train it again.") from None
        return cls(orders, vocabulary)

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        tensors: dict[str, NDArray[Any]] = {"vocabulary": np.array([self.vocabulary])}
        for n, order in enumerate(self.orders, start=1):
            tensors |= {f"{n}.{name}": getattr(order, name) for name in TABLES}
            tensors[f"{n}.discounts"] = np.array(order.discounts)
        return tensors

    @property
    def size(self) -> int:
        """Bytes of the tables."""
        return sum(array.nbytes for array in self.state().values())

    def log_probabilities(self, ids: Ints, starts: Marks) -> Floats:
        """(N,), each token once; the history goes back to the start of its document."""
        text = _marked(ids, starts, self.vocabulary)
        found = self._found(text)
        log_p: Floats = np.zeros(len(text))
        known = np.zeros(len(text), dtype=bool)
        for n in range(len(self.orders), 0, -1):
            here = ~known & (found[n - 1] >= 0)
            log_p[here] += self.orders[n - 1].log_p[found[n - 1][here]]
            known |= here
            if n > 1:
                history = _before(found[n - 2], -1)
                log_p += np.where(~known & (history >= 0), self.orders[n - 2].log_backoff[history], 0.0)
        tokens: Floats = log_p[text != self.vocabulary]
        return tokens

    def unseen(self, ids: Ints, starts: Marks) -> tuple[float, ...]:
        """By order from 1: the share of a text's n-grams that do not occur in the training text."""
        text = _marked(ids, starts, self.vocabulary)
        tokens = whole = text != self.vocabulary
        shares = []
        for order, found in zip(self.orders, self._found(text), strict=True):
            known = (found >= 0) & (order.counts[found] > 0)
            shares.append(float(1 - known[whole].mean()) if whole.any() else math.nan)
            whole = tokens & _before(whole, False)
        return tuple(shares)

    def next(self, history: Sequence[int]) -> Floats:
        """p(. | history) for all types, (V,); an empty history is the start of a text."""
        text = np.array([self.vocabulary, *history], dtype=np.int64)[-max(len(self.orders) - 1, 1) :]
        found = self._found(text)
        p = np.exp(self.orders[0].log_p)
        for n in range(2, min(len(self.orders), len(text) + 1) + 1):
            number = int(found[n - 2][-1])
            if number < 0:
                break
            order, width = self.orders[n - 1], self.vocabulary + 1
            first, last = np.searchsorted(order.keys, [number * width, (number + 1) * width])
            p = p * np.exp(self.orders[n - 2].log_backoff[number])
            p[order.keys[first:last] - number * width] = np.exp(order.log_p[first:last])
        whole: Floats = p[: self.vocabulary]
        return whole

    def words(self, n: int) -> Ints:
        """The n-grams of that order as types, (K, n)."""
        width, columns, numbers = self.vocabulary + 1, [], np.arange(len(self.orders[n - 1].keys))
        for order in reversed(self.orders[:n]):
            numbers, last = np.divmod(order.keys[numbers], width)
            columns.append(last)
        return np.stack(columns[::-1], axis=1)

    def _found(self, text: Ints) -> list[Ints]:
        """By order, the number of the n-gram that ends at each position; -1 where it is not known."""
        found: list[Ints] = []
        for order in self.orders:
            found.append(order.find(_keys(text, _before(found[-1], -1) if found else None, self.vocabulary)))
        return found


class _Counted:
    """A text's n-grams of each order up to the highest, numbered, and how often they occur."""

    def __init__(self, text: Ints, vocabulary: int, order: int) -> None:
        self.width, self.highest = vocabulary + 1, order
        types = np.arange(self.width)  # every type has a number, also one that does not occur
        self.keys, self.counts = [types], [np.bincount(text, minlength=self.width)]
        self.suffix, self.begins = [np.zeros_like(types)], [types == vocabulary]
        at = text  # number of the n-gram that ends at each position
        for _ in range(1, order):
            keys = _keys(text, _before(at, -1), vocabulary)
            whole = keys >= 0
            unique, first, inverse, counts = np.unique(
                keys[whole], return_index=True, return_inverse=True, return_counts=True
            )
            self.keys.append(unique)
            self.counts.append(counts)
            self.suffix.append(at[whole][first])
            self.begins.append(self.begins[-1][unique // self.width])
            at = np.full(len(text), -1)
            at[whole] = inverse

    def adjusted(self, n: int) -> Ints:
        """a of each n-gram of the order."""
        if n == self.highest:
            return self.counts[n - 1]
        different = np.bincount(self.suffix[n], minlength=len(self.keys[n - 1]))
        return np.where(self.begins[n - 1], self.counts[n - 1], different)

    def smoothed(self, n: int, lower: Floats | None) -> tuple[Order, Floats]:
        """The order, and ln gamma of its histories; `lower`: ln p of the order below."""
        histories, last = np.divmod(self.keys[n - 1], self.width)
        a = np.where(last == self.width - 1, 0, self.adjusted(n))  # the mark is never predicted
        discounts = _discounts(a)
        taken = np.array([0.0, *discounts])[np.minimum(a, 3)]
        size = len(self.keys[n - 2]) if n > 1 else 1
        total = np.bincount(histories, weights=a, minlength=size)
        gamma = np.bincount(histories, weights=taken, minlength=size) / np.maximum(total, 1)
        gamma[total == 0] = 1.0
        below = np.full(self.width, 1 / (self.width - 1)) if lower is None else np.exp(lower)[self.suffix[n - 1]]
        p = (a - taken) / np.maximum(total, 1)[histories] + gamma[histories] * below
        p[last == self.width - 1] = 0.0
        with np.errstate(divide="ignore"):
            log_p, log_gamma = np.log(p), np.log(gamma)
        none = np.zeros(len(a))
        return Order(self.keys[n - 1], self.counts[n - 1], log_p, none, discounts), log_gamma


def _discounts(a: Ints) -> tuple[float, float, float]:
    n1, n2, n3, n4 = (int(x) for x in np.bincount(np.minimum(a, 5), minlength=6)[1:5])
    if not min(n1, n2, n3):
        return UNSURE
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d <= i for i, d in enumerate(found, start=1)) else UNSURE


def _marked(ids: Ints, starts: Marks, mark: int) -> Ints:
    """The text with the mark before its first token, and before each document."""
    begins = starts.copy()
    begins[:1] = True
    return np.insert(np.asarray(ids, dtype=np.int64), np.flatnonzero(begins), mark)


def _keys(text: Ints, prefix: Ints | None, mark: int) -> Ints:
    """Of the n-gram that ends at each position, from the number of its first n - 1 words; -1 where there is none."""
    if prefix is None:
        return text
    return np.where((prefix >= 0) & (text != mark), prefix * (mark + 1) + text, -1)


def _before(x: NDArray[Any], first: int) -> NDArray[Any]:
    """What stands one position earlier."""
    return np.concatenate([[first], x[:-1]]).astype(x.dtype)
