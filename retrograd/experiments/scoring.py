"""How good sentences are, beside those that people wrote.

BLEU           geometric mean of the shares of right 1- to 4-grams, times a penalty for brevity     Papineni et al. 2002
exact match    share of sentences that are the reference, to the character

BLEU is sacrebleu's (Post 2018; an extra), with the signature that says how it was counted: without it two figures
cannot be compared.
"""

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
    return sum(h == r for h, r in zip(hypotheses, references, strict=True)) / len(references)


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if not references or len(hypotheses) != len(references):
        raise DataError(
            f"Expected as many sentences as references, and one at least; "
            f"got {len(hypotheses)} sentences and {len(references)} references."
        )
