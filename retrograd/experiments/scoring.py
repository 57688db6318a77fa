"""How good sentences are, beside those that people wrote.

BLEU           geometric mean of the shares of right 1- to 4-grams, times a penalty for brevity     Papineni et al. 2002
exact match    share of sentences that are the reference, to the character, in Unicode's composed form (NFC) and with
               each run of white space one space: a no-break space is a space, and an accent is part of its letter

BLEU is sacrebleu's (Post 2018; an extra), with the signature that says how it was counted: without it two figures
cannot be compared.
"""

import unicodedata
from collections.abc import Sequence

from retrograd.errors import DataError, MissingExtra


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of a corpus, from 0 to 100, and its signature; sentences as they are written, one reference to each."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise MissingExtra("BLEU", "bleu") from None
    _check(hypotheses, references)
    metric = BLEU()
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return float(score.score), str(metric.get_signature())


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    _check(hypotheses, references)
    pairs = zip(map(_normal, hypotheses), map(_normal, references), strict=True)
    return sum(hypothesis == reference for hypothesis, reference in pairs) / len(references)


def _normal(sentence: str) -> str:
    """What is lost on the way through a tokenizer is not asked back."""
    return " ".join(unicodedata.normalize("NFC", sentence).split())


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if not references or len(hypotheses) != len(references):
        raise DataError(
            f"Expected as many sentences as references, and one at least; "
            f"got {len(hypotheses)} sentences and {len(references)} references."
        )
