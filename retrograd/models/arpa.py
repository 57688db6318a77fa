"""An n-gram model as an ARPA file, which kenlm, SRILM and others read (Doug Paul's format, base-10 logarithms).

    \\2-grams:
    log10 p <tab> words <tab> log10 backoff

A text begins with <s>; where it ends is not modelled, so </s> stands there with a probability of zero, as the format
writes it: score with the begin of a sentence and without its end. kenlm reads models of order 2 and more.
"""

from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from retrograd.errors import UsageError
from retrograd.models.ngram import NGram

ZERO = -99.0  # log10 of a probability of zero
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
LN10 = log(10)


def lines(model: NGram, names: Sequence[str]) -> Iterator[str]:
    """The file, line by line; `names` are those of the types, in order.

    Raises UsageError where two types have one name, or one has the name of a mark.
    """
    words = [_visible(name) for name in names]
    read = [UNKNOWN if word.lower() == UNKNOWN else word for word in words]  # as kenlm does, which has one for both
    if len({*read, BEGIN, END}) < len(read) + 2:
        twice = (word for word, name in zip(words, read, strict=True) if [*read, BEGIN, END].count(name) > 1)
        taken = next(twice)
        raise UsageError(f"The type {taken!r} would stand twice in an ARPA file; rename it in the text.")
    words.append(BEGIN)
    yield "\\data\\"
    for n, order in enumerate(model.orders, start=1):
        yield f"ngram {n}={len(order.keys) + (n == 1)}"
    for n, order in enumerate(model.orders, start=1):
        yield ""
        yield f"\\{n}-grams:"
        if n == 1:
            yield f"{ZERO:g}\t{END}"
        log_p = np.where(np.isfinite(order.log_p), order.log_p / LN10, ZERO).tolist()
        backoff = (order.log_backoff / LN10).tolist()
        last = n == len(model.orders)
        for p, b, types in zip(log_p, backoff, model.words(n).tolist(), strict=True):
            text = " ".join([words[i] for i in types])
            yield f"{p:.9g}\t{text}" if last else f"{p:.9g}\t{text}\t{b:.9g}"
    yield ""
    yield "\\end\\"


def _visible(name: str) -> str:
    """A name without white space, which separates words: "\\n" is \\u000a."""
    if name and not any(c.isspace() for c in name):
        return name
    return "".join(f"\\u{ord(c):04x}" if c.isspace() else c for c in name) or "\\empty"
