"""Modified Kneser-Ney against a table worked by hand, a plain recursion over dicts, and their sum, which is one."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from retrograd.errors import DataError, RunError
from retrograd.models import NGram


def text(ids, starts=()):
    marks = np.zeros(len(ids), dtype=bool)
    marks[list(starts)] = True
    return np.array(ids), marks


def fitted(ids, order, vocabulary, starts=()):
    return NGram.fit(*text(ids, starts), order=order, vocabulary=vocabulary)


def drawn(n, vocabulary, seed=0):
    """Zipf's law, and each token likely to follow the one before it."""
    rng = np.random.default_rng(seed)
    ids = [0]
    for _ in range(n - 1):
        ids.append(
            min(int(rng.zipf(1.6)) - 1, vocabulary - 1) if rng.random() < 0.6 else (ids[-1] * 3 + 1) % vocabulary
        )
    return ids


def test_a_table_worked_by_hand():
    """a b a b a c a: bigrams <s>a 1, ab 2, ba 2, ac 1, ca 1; too few for discounts, so 0.5, 1 and 1.5.

    Unigrams by how many words stand before them: a after <s>, b, c: 3; b after a: 1; c after a: 1. Sum 5.
    gamma() = (1.5 + 0.5 + 0.5) / 5 = 0.5, shared among three types: p(a) = 1.5/5 + 0.5/3, p(b) = p(c) = 0.5/5 + 0.5/3.
    After a: b 2, c 1, sum 3; gamma(a) = (1 + 0.5) / 3 = 0.5; p(b|a) = (2-1)/3 + 0.5 p(b), p(c|a) = 0.5/3 + 0.5 p(c).
    """
    model = fitted([0, 1, 0, 1, 0, 2, 0], 2, 3)
    a, b, c = 1.5 / 5 + 0.5 / 3, 0.5 / 5 + 0.5 / 3, 0.5 / 5 + 0.5 / 3
    assert model.next([0]) == pytest.approx([0.5 * a, 1 / 3 + 0.5 * b, 0.5 / 3 + 0.5 * c], rel=1e-12)
    assert model.next([]) == pytest.approx([0.5 / 1 + 0.5 * a, 0.5 * b, 0.5 * c], rel=1e-12)


def test_discounts_are_chen_and_goodmans():
    """Six types that occur once, three twice, two three times, one four times: Y = 6 / 12 = 1/2,
    D1 = 1 - 2 Y 3/6 = 1/2, D2 = 2 - 3 Y 2/3 = 1, D3+ = 3 - 4 Y 1/2 = 2."""
    counts = [1] * 6 + [2] * 3 + [3] * 2 + [4]
    ids = [i for i, n in enumerate(counts) for _ in range(n)]
    assert fitted(ids, 1, len(counts)).orders[0].discounts == pytest.approx((0.5, 1.0, 2.0), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_every_history_sums_to_one(order):
    ids = drawn(4000, 40)
    model = fitted(ids, order, 41, starts=[0, 900, 2500])  # type 40 never occurs
    histories = [[], [40], [3], [3, 40, 1], ids[:2], ids[100:110], ids[-order:], [40] * 8]
    for history in histories:
        p = model.next(history)
        assert p.sum() == pytest.approx(1.0, abs=1e-9)
        assert p.min() > 0


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_the_plain_recursion(order):
    ids, starts = drawn(1500, 25), [0, 400, 401, 1000]
    model, plain = fitted(ids, order, 25, starts), Plain(ids, starts, order, 25)
    other, begins = drawn(300, 25, seed=1), [0, 120]
    mine = model.log_probabilities(*text(other, begins))
    truth = [math.log(plain.p(word, history)) for word, history in walked(other, begins, order)]
    assert mine == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_reading_and_writing_know_the_same_probabilities(order):
    ids = drawn(2000, 30)
    model = fitted(ids, order, 30)
    other = drawn(60, 30, seed=2)
    read = model.log_probabilities(*text(other))
    assert read == pytest.approx([math.log(model.next(other[:t])[other[t]]) for t in range(len(other))], rel=1e-10)


def test_a_document_begins_without_a_past():
    ids = drawn(2000, 30)
    model = fitted(ids, 4, 30, starts=[0, 500])
    both = model.log_probabilities(*text([7, 8, 9, 7, 8, 9], starts=[0, 3]))
    assert both[:3] == pytest.approx(both[3:], rel=1e-12)


def test_what_was_not_seen_is_counted_by_order():
    model = fitted([0, 1, 0, 1, 2], 3, 5)
    seen = model.unseen(*text([0, 1, 0, 3]))  # new are 3, 0 3 and 1 0 3
    assert seen == pytest.approx((1 / 4, 1 / 3, 1 / 2))
    assert model.unseen(*text([4])) == pytest.approx((1.0, math.nan, math.nan), nan_ok=True)


def test_the_words_of_each_order_are_those_of_the_text():
    ids = [0, 1, 0, 1, 2]
    model = fitted(ids, 3, 3)
    mark = 3
    assert sorted(map(tuple, model.words(3).tolist())) == [(0, 1, 0), (0, 1, 2), (1, 0, 1), (mark, 0, 1)]
    assert [int(n) for n in model.orders[2].counts] == [1, 1, 1, 1]
    assert [tuple(w) for w in model.words(1).tolist()] == [(0,), (1,), (2,), (mark,)]


def test_what_was_stored_is_the_same_model():
    model = fitted(drawn(500, 20), 3, 20)
    again = NGram.restore(model.state())
    other = text(drawn(50, 20, seed=4))
    assert again.log_probabilities(*other).tolist() == model.log_probabilities(*other).tolist()
    assert again.orders[1].discounts == model.orders[1].discounts
    assert again.size == model.size > 0


@pytest.mark.parametrize(
    "spoil", [{"1.keys": None}, {"vocabulary": None}, {"vocabulary": np.array([7])}, {"2.log_p": np.zeros(3)}]
)
def test_tables_of_something_else_are_refused(spoil):
    tensors = fitted(drawn(500, 20), 3, 20).state() | spoil
    with pytest.raises(RunError, match="no n-gram model's"):
        NGram.restore({name: table for name, table in tensors.items() if table is not None})


def test_a_text_shorter_than_the_order_is_refused():
    with pytest.raises(DataError, match="order 5 needs a text of at least 5 tokens, got 4"):
        fitted([0, 1, 0, 1], 5, 2)
    with pytest.raises(DataError, match="a document of at least 4 tokens; the longest here has 2"):
        fitted([0, 1] * 10, 5, 2, starts=range(0, 20, 2))


def walked(ids, starts, order):
    """Each token with its history, the mark <s> in front."""
    history = []
    for t, word in enumerate(ids):
        history = ["<s>"] if t == 0 or t in starts else history
        yield word, tuple(history[-(order - 1) :]) if order > 1 else ()
        history = [*history, word]


class Plain:
    """The formulas word for word, over dicts of tuples."""

    def __init__(self, ids, starts, order, vocabulary):
        self.vocabulary = vocabulary
        raw = [Counter() for _ in range(order + 1)]
        for word, history in walked(ids, starts, order):
            for n in range(1, min(order, len(history) + 1) + 1):
                raw[n][(*history[len(history) - n + 1 :], word)] += 1
        self.a = [None, *({} for _ in range(order))]
        for n in range(1, order + 1):
            before = defaultdict(set)
            for gram in raw[n + 1] if n < order else ():
                before[gram[1:]].add(gram[0])
            for gram, count in raw[n].items():
                self.a[n][gram] = count if n == order or gram[0] == "<s>" else len(before[gram])
        self.after = [None, *(defaultdict(dict) for _ in range(order))]
        for n in range(1, order + 1):
            for gram, a in self.a[n].items():
                self.after[n][gram[:-1]][gram[-1]] = a
        self.d = [None, *(self.discounts(self.a[n].values()) for n in range(1, order + 1))]

    @staticmethod
    def discounts(values):
        n = Counter(values)
        if not (n[1] and n[2] and n[3]):
            return 0, 0.5, 1, 1.5
        y = n[1] / (n[1] + 2 * n[2])
        d = [0, *(i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))]
        return d if all(0 < d[i] <= i for i in (1, 2, 3)) else (0, 0.5, 1, 1.5)

    def p(self, word, history):
        n = len(history) + 1
        after, d = self.after[n].get(history, {}), self.d[n]
        lower = self.p(word, history[1:]) if history else 1 / self.vocabulary
        if not after:
            return lower
        total = sum(after.values())
        gamma = sum(d[min(a, 3)] for a in after.values()) / total
        a = after.get(word, 0)
        return (a - d[min(a, 3)]) / total + gamma * lower
