"""What is scored, beside one token at a time; and what is told of it."""

import json
import math

import numpy as np
import pytest
import torch

from retrograd.bptt import Stack
from retrograd.cells import make_cell
from retrograd.errors import DataError, NonFinite
from retrograd.experiments import minimal_pairs
from retrograd.experiments.minimal_pairs import Judgement, Tally, by_counts, by_network, evaluate_pairs, judge, judged
from retrograd.models import NGram, Recurrent
from retrograd.models.window import WindowLM
from retrograd.tasks.pairs import Encoded, Pair
from retrograd.tasks.tokenizers import Word

TEXT = "the writer of the books is old .\nthe writers of the book are old .\nthe book is here .\n" * 5
WORDS = Word.fit([TEXT], 100)
V, END = WORDS.size, WORDS.first
PAIRS = (
    Pair("the writer of the books", "is", "are", "agreement", 4, 1, True),
    Pair("the writers", "are old .\n", "is old .\n", "agreement", 1, 0, False),
    Pair("", "the book is here .\n", "book the is here .\n", "order"),
    Pair("the book of the writers of the books", "is old", "are", "agreement", 7, 2, True, beyond=True),
    Pair("the writers", "are", "is", "agreement", 1, 0, False, rest="old .\n"),
    Pair("the book", "is", "are", "agreement", 1, 0, False, rest="here"),
    Pair("the books", "are", "is", "agreement", 1, 0, False),
)


def network(name):
    torch.manual_seed(0)
    if name == "window":
        return WindowLM(V, 4, 6, context=3).double()
    return Recurrent(V, Stack([make_cell(name, 4, 6), make_cell(name, 6, 6)])).double()


def asked():
    return [minimal_pairs.minimal.encoded(pair, WORDS) for pair in PAIRS]


def one_at_a_time(model, before, tokens, last):
    """ln P of the last tokens, the whole text read anew for each."""
    total = 0.0
    text = [*before, *tokens]
    for place in range(len(text) - last, len(text)):
        logits, _ = model(torch.tensor(text[:place])[:, None])
        total += float(logits[-1, 0].detach().log_softmax(-1)[text[place]])
    return total


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "window"])
@pytest.mark.parametrize("carry", [False, True])
def test_a_network_is_scored_as_one_token_after_the_other(name, carry):
    model, before = network(name).eval(), [END]
    for pair, scores in zip(asked(), by_network(model, END, carry=carry)(asked()), strict=True):
        for form, score in zip((pair.right, pair.wrong), scores, strict=True):
            wanted = one_at_a_time(model, before, [*pair.prefix, *form], len(form))
            assert score == pytest.approx(wanted, rel=1e-10)
        if carry:
            before += [*pair.prefix, *pair.right, *pair.rest]
            before += [END] if before[-1] != END else []


@pytest.mark.parametrize("tokens", [1, 7, 20, 10_000])
def test_how_many_are_read_at_a_time_changes_nothing(tokens, monkeypatch):
    model = network("lstm").eval()
    whole = by_network(model, END)(asked())
    monkeypatch.setattr(minimal_pairs, "TOKENS", tokens)
    assert np.array(by_network(model, END)(asked())) == pytest.approx(np.array(whole), rel=1e-10)


def test_a_shared_beginning_is_read_once():
    model = network("lstm").eval()
    read = []
    model.register_forward_pre_hook(lambda module, given: read.append(given[0].shape[1]))
    by_network(model, END)([Encoded((3, 4), (5,), (6,))] * 4 + [Encoded((3, 4), (5, 5), (6, 6))])
    assert sum(read) == 3  # 3 4, 3 4 5 and 3 4 6


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_counts_are_scored_as_one_token_after_the_other(carry, anew, order):
    ids = np.array(WORDS.encode(TEXT))
    starts = np.concatenate([[True], ids[:-1] == END]) if anew else np.zeros(len(ids), bool)
    model = NGram.fit(ids, starts, order=order, vocabulary=V)
    first = [] if anew else [END]
    before = first
    for pair, scores in zip(asked(), by_counts(model, END, carry=carry, anew=anew)(asked()), strict=True):
        for form, score in zip((pair.right, pair.wrong), scores, strict=True):
            text = [*before, *pair.prefix, *form]
            wanted = sum(
                math.log(model.next(text[:place])[text[place]]) for place in range(len(text) - len(form), len(text))
            )
            assert score == pytest.approx(wanted, rel=1e-10)
        if carry:
            before = [*before, *pair.prefix, *pair.right, *pair.rest]
            before += first if before[-1:] != first else []


def test_a_model_that_knows_its_subject_and_one_that_knows_the_last_noun():
    pairs = [Pair("p", "is", "are", "agreement", n, n, n > 0, beyond=n > 2) for n in range(5) for _ in range(3)]
    right = judged(lambda asked: [(-1.0, -2.0)] * len(asked), WORDS, pairs)
    assert (right.accuracy, right.syntactic, right.sequential, right.agreeing) == (1, 1, 0, 1)
    recent = judged(lambda asked: [(-2.0, -1.0) if p.misled else (-1.0, -2.0) for p in pairs], WORDS, pairs)
    assert (recent.syntactic, recent.sequential, recent.agreeing) == (0, 1, 1)
    assert recent.accuracy == pytest.approx(3 / 15)
    assert recent.by_attractors() == {n: Tally(3, float(n == 0), float(n > 2)) for n in range(5)}


def test_a_tie_is_half_right_and_what_is_unknown_is_counted_apart():
    pairs = [Pair("the", "is", "are", ""), Pair("the", "sings", "sing", ""), Pair("the", "are", "is", "")]
    found = judged(lambda asked: [(-1.0, -1.0), (-1.0, -2.0), (-1.0, -2.0)], WORDS, pairs)
    assert found.hits[::2] == (0.5, 1.0)
    assert math.isnan(found.hits[1])
    assert (found.judged, found.accuracy, found.coverage) == (2, 0.75, pytest.approx(7 / 9))
    assert found.figures() == {"pairs": 3, "pairs judged": 2, "pair accuracy": 0.75, "pair coverage": found.coverage}
    assert found.grids() == {}
    apart = [Pair("the", "is", "are", "known"), Pair("the", "sings", "sing", "unknown")]
    assert "pair accuracy, unknown" not in judged(lambda asked: [(-1.0, -2.0)] * 2, WORDS, apart).figures()


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(NonFinite, match="cannot tell which"):
        judged(lambda asked: [(-1.0, math.nan)], WORDS, PAIRS[:1])


def test_figures_and_grids_are_told_by_kind():
    found = Judgement(PAIRS[:4], (1.0, 1.0, 0.0, 0.0), 1.0)
    assert found.figures() == {
        "pairs": 4,
        "pairs judged": 4,
        "pair accuracy": 0.5,
        "pair coverage": 1.0,
        "pair accuracy, agreement": pytest.approx(2 / 3),
        "pair accuracy, order": 0.0,
        "syntactic recency": 0.5,
        "sequential recency": 0.5,
        "accuracy where both agree": 1.0,
    }
    grids = found.grids()
    assert list(grids) == ["Accuracy by attractors: agreement", "Accuracy by distance: agreement"]
    assert grids["Accuracy by attractors: agreement"].rows == ((0, 1, 1, 0), (1, 1, 1, 0), (2, 0, 1, 1))
    heads, rows = grids["Accuracy by distance: agreement"].heads, grids["Accuracy by distance: agreement"].rows
    assert heads == ("words between", "accuracy", "misled", "not misled", "pairs", "longer than trained")
    assert np.array(rows) == pytest.approx(
        np.array([(1, 1, math.nan, 1, 1, 0), (4, 1, 1, math.nan, 1, 0), (7, 0, 0, math.nan, 1, 1)]), nan_ok=True
    )


def test_many_distances_are_told_up_to_powers_of_two():
    pairs = [Pair("p", "is", "are", "x", n, misled=n % 2 == 0) for n in range(1, 40)]
    found = Judgement(tuple(pairs), tuple(float(p.distance > 8) for p in pairs), 1.0)
    assert found.by_distance() == {
        1: Tally(1, 0.0, 0.0),
        2: Tally(1, 0.0, 0.0),
        4: Tally(2, 0.0, 0.0),
        8: Tally(4, 0.0, 0.0),
        16: Tally(8, 1.0, 0.0),
        32: Tally(16, 1.0, 0.0),
        64: Tally(7, 1.0, 0.0),
    }
    assert found.by_distance(misled=True)[64] == Tally(3, 1.0, 0.0)
    few = Judgement(tuple(pairs[:5]), (1.0,) * 5, 1.0)
    assert list(few.by_distance()) == [1, 2, 3, 4, 5]


def test_a_network_is_judged_at_rest_and_left_as_it_was():
    torch.manual_seed(0)
    model = Recurrent(V, Stack([make_cell("lstm", 4, 6)]), dropout=0.5).train()
    drawn = torch.get_rng_state()
    assert judge(model, WORDS, PAIRS).hits == judge(model, WORDS, PAIRS).hits
    assert model.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(p.grad is None for p in model.parameters())


def test_a_run_is_asked_what_a_file_holds(trained, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [("the cat sat on the mat", "the cat sat on thm zzz"), ("the dog sat", "the dog tas")]
    file.write_text(
        "".join(json.dumps({"sentence_good": g, "sentence_bad": b, "UID": "spelling"}) + "\n" for g, b in rows)
    )
    found = evaluate_pairs(trained.run.path, file)
    assert found.kinds == ("spelling",)
    assert len(found.pairs) == 2
    assert found.judged == 1  # z is in no word that was read
    assert 0.9 < found.coverage < 1
    assert evaluate_pairs(trained.run.path, file, carry=True).judged == 1
    file = tmp_path / "pairs.tsv"
    file.write_text("ЖЖ\tЖЖЖ\n")
    with pytest.raises(DataError, match=f"No character of {file} is in the model's vocabulary"):
        evaluate_pairs(trained.run.path, file)
