"""BLEU beside its definition, counted one n-gram at a time."""

import builtins
import math
from collections import Counter

import pytest

from retrograd.errors import DataError, MissingExtra
from retrograd.experiments.scoring import bleu, exact_match
from retrograd.tasks.sentences import joined, split

HYPOTHESES = ["the cat sat on the mat", "a dog is in the big garden now", "we go home"]
REFERENCES = ["the cat sat on a mat", "the dog is in the big garden", "we all go home today"]


def by_hand(hypotheses, references):
    """Papineni et al. 2002, with words between spaces."""
    logs, lengths = 0.0, (sum(len(x.split()) for x in each) for each in (hypotheses, references))
    for n in range(1, 5):
        right = total = 0
        for h, r in zip(hypotheses, references, strict=True):
            ours, theirs = (Counter(tuple(x.split()[i : i + n]) for i in range(len(x.split()) - n + 1)) for x in (h, r))
            right += sum(min(count, theirs[gram]) for gram, count in ours.items())
            total += sum(ours.values())
        logs += math.log(right / total) / 4
    c, r = lengths
    return 100 * math.exp(min(0.0, 1 - r / c) + logs)


@pytest.mark.extra
def test_bleu_is_its_definition():
    score, signature = bleu(HYPOTHESES, REFERENCES)
    assert score == pytest.approx(by_hand(HYPOTHESES, REFERENCES), abs=1e-9)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.extra
def test_bleu_is_a_hundred_for_the_references_and_nothing_for_other_words():
    assert bleu(REFERENCES, REFERENCES)[0] == pytest.approx(100)
    assert bleu(["nothing of it is right here"] * 3, ["but these are the words wanted"] * 3)[0] < 5


@pytest.mark.extra
@pytest.mark.parametrize(("hypotheses", "references"), [([], []), (["a"], ["a", "b"])])
def test_sentences_without_their_references_are_refused(hypotheses, references):
    with pytest.raises(DataError, match="as many sentences as references"):
        bleu(hypotheses, references)


def test_exact_match_is_to_the_character():
    assert exact_match(["a b.", "a B", "c", "e"], ["a b.", "a b", "c.", "\u00e9"]) == pytest.approx(1 / 4)
    with pytest.raises(DataError, match="got 0 sentences and 0 references"):
        exact_match([], [])


@pytest.mark.parametrize("reference", ["Caf\u00e9\u00a0!", "Caf\u00e9\u202f!", "Cafe\u0301 !", " Caf\u00e9 \t !\n"])
def test_no_kind_of_white_space_and_no_form_of_an_accent_keeps_a_match_away(reference):
    assert exact_match(["Caf\u00e9 !"], [reference]) == exact_match([reference], ["Caf\u00e9 !"]) == 1
    assert exact_match(["Caf\u00e9!", "Cafe !"], [reference] * 2) == 0


def test_every_sentence_that_a_tokenizer_gives_back_can_match():
    for text in ("Il a dit :\u00a0\u00ab\u202fnon\u202f\u00bb.", "E\u0301te\u0301 1\u202f234"):
        assert exact_match([joined(split(text))], [text]) == 1


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "sacrebleu":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'retrograd\[bleu\]'"):
        bleu(HYPOTHESES, REFERENCES)
