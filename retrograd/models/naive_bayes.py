"""Bag of words with naive Bayes: a text is how often each word stands in it, and where it stands is forgotten.

    argmax_c  P(c) prod_i P(x[i] | c)
    P(c) = N_c / N        P(w | c) = (n[c, w] + a) / (n[c] + a V)         smoothed by a

A word that no training text has says nothing about the class, yet its P(w | c) = a / (n[c] + a V) would favour the
class with the fewest words: whoever numbers the words leaves such a one out, as scikit-learn's vectorizer does.

The multinomial form of McCallum and Nigam (1998). Counting and smoothing are scikit-learn's (an extra); two tables are
all that is kept of it. Axes: N texts, C classes, V types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrograd.errors import DataError, MissingExtra, RunError, ShapeError

Floats: TypeAlias = NDArray[np.float64]
Texts: TypeAlias = Sequence[Sequence[int]]  # token ids of each
TABLES = ("log_prior", "log_likelihood")


@dataclass(frozen=True, eq=False)
class NaiveBayes:
    """ln P(class | words).

    >>> model = NaiveBayes.fit([[0, 1], [0, 2]], [0, 1], vocabulary=3, classes=2)
    >>> np.exp(model.log_probabilities([[1, 1]]))
    array([[0.8, 0.2]])
    """

    log_prior: Floats  # (C,)
    log_likelihood: Floats  # (C, V)

    @classmethod
    def fit(cls, texts: Texts, labels: Sequence[int], *, vocabulary: int, classes: int, smoothing: float = 1.0) -> Self:
        """Count the words of each class; one that labels no text has probability 0.

        Raises DataError where there is no text, ShapeError where the ids are not those of the types and classes.
        """
        if not texts:
            raise DataError("Naive Bayes counts words, and was given no text.")
        if len(texts) != len(labels):
            raise ShapeError(f"Every text needs one label; got {len(texts)} texts and {len(labels)} labels.")
        _check(labels, classes, "labels")
        found = _multinomial()(alpha=smoothing, force_alpha=True)
        found.partial_fit(_counts(texts, vocabulary), np.asarray(labels), classes=np.arange(classes))
        return cls(np.asarray(found.class_log_prior_, float), np.asarray(found.feature_log_prob_, float))

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """From what `state` gave. Raises RunError where it is no naive Bayes model's."""
        try:
            prior, likelihood = (tensors[name] for name in TABLES)
            if prior.ndim != 1 or likelihood.ndim != 2 or len(prior) != len(likelihood) or not likelihood.size:
                raise ValueError(f"of shapes {prior.shape} and {likelihood.shape}")
        except (KeyError, ValueError) as error:
            raise RunError(f"The tables are no naive Bayes model's ({error}); train it again.") from None
        return cls(prior, likelihood)

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in TABLES}

    @property
    def vocabulary(self) -> int:
        return int(self.log_likelihood.shape[1])

    @property
    def classes(self) -> int:
        return len(self.log_prior)

    @property
    def size(self) -> int:
        """Bytes of the tables."""
        return sum(table.nbytes for table in self.state().values())

    def log_probabilities(self, texts: Texts) -> Floats:
        """(N, C), each row normalised; a text without words has the classes' own shares."""
        ids, owners = _flat(texts)
        _check(ids, self.vocabulary, "token ids")
        joint = np.tile(self.log_prior, (len(texts), 1))
        np.add.at(joint, owners, self.log_likelihood.T[ids])
        normal: Floats = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
        return normal


def _multinomial() -> Any:
    try:
        return import_module("sklearn.naive_bayes").MultinomialNB
    except ImportError:
        raise MissingExtra("Naive Bayes", "sklearn") from None


def _counts(texts: Texts, vocabulary: int) -> Any:
    """(N, V), sparse: how often each type stands in each text."""
    ids, owners = _flat(texts)
    _check(ids, vocabulary, "token ids")
    return import_module("scipy.sparse").csr_matrix((np.ones(len(ids)), (owners, ids)), shape=(len(texts), vocabulary))


def _flat(texts: Texts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All token ids end to end, and the text that each is from."""
    ids = np.fromiter((i for text in texts for i in text), dtype=np.int64)
    return ids, np.repeat(np.arange(len(texts)), [len(text) for text in texts])


def _check(ids: Sequence[int] | NDArray[np.int64], size: int, what: str) -> None:
    low, high = (int(np.min(ids)), int(np.max(ids))) if len(ids) else (0, 0)
    if low < 0 or high >= size:
        raise ShapeError(f"The {what} must be from 0 to {size - 1}; got {low if low < 0 else high}.")
