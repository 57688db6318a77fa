"""From made-up outcomes to the table: means and intervals, who cannot be told apart, what failed, what did not end."""

import math
from pathlib import Path

import pytest

from retrograd import config
from retrograd.experiments.comparing.outcomes import FIGURES
from retrograd.experiments.comparing.plan import Entry, Plan
from retrograd.experiments.comparing.standings import compared
from retrograd.reports.comparison import Middle, Outcome

BY_NAME = {figure.name: figure for figure in FIGURES}
SHARED = config.make({"data": {"train": ["notes.txt"]}, "training": {"steps": 9}})


class Made:
    """Outcomes that nobody trained for: (model, seed) -> values of an Outcome."""

    def __init__(self, figure, given):
        self.figure, self.given = BY_NAME[figure], given

    def of(self, entry: Entry) -> Outcome:
        values = self.given.get((entry.model, entry.seed))
        if values is None:
            return Outcome(entry.name, entry.model, entry.seed, "not begun")
        if not isinstance(values, dict):
            values = {"figure": values}
        return Outcome(entry.name, entry.model, entry.seed, **{"status": "finished", **values})


def table(given, *, figure="perplexity", seeds=None):
    models = tuple(dict.fromkeys(model for model, _ in given))
    plan = Plan(models, seeds or tuple(dict.fromkeys(seed for _, seed in given)), SHARED, "f00")
    return compared(plan, Path("nowhere"), Made(figure, given), workers=1)


def of(model, *figures):
    return {(model, seed): x for seed, x in enumerate(figures, start=1)}


def test_a_perplexity_is_e_to_the_mean_of_the_nats_and_so_is_its_interval():
    found = table(of("rnn", 2.0, 2.2, 2.4))
    (rnn,) = found.standings
    off = 4.3027 * 0.2 / 3**0.5
    assert (rnn.test.value, rnn.test.low, rnn.test.high) == tuple(
        pytest.approx(math.exp(2.2 + d), rel=1e-4) for d in (0, -off, off)
    )


def test_other_figures_are_averaged_as_they_are():
    found = table(of("rnn", 0.5, 0.7), figure="accuracy")
    assert found.standings[0].test.value == pytest.approx(0.6)
    assert found.course == "validation accuracy"


def test_the_best_is_named_with_those_that_cannot_be_told_apart_from_it():
    found = table(of("rnn", 3.0, 3.1, 3.2) | of("gru", 2.0, 2.3, 2.1) | of("lstm", 2.1, 2.2, 2.1))
    assert found.said[0] == "gru has the lowest perplexity, and lstm cannot be told apart from it."
    assert len(found.said) == 2, "three seeds, so that none is told of two"
    assert "Each of the 3 pairs is judged at 95 % by itself" in found.said[1]
    assert [(p.first, p.second, p.apart) for p in found.pairs] == [
        ("rnn", "gru", True),
        ("rnn", "lstm", True),
        ("gru", "lstm", False),
    ]
    assert [s.model for s in found.ranked] == ["gru", "lstm", "rnn"]


def test_the_higher_accuracy_is_the_better_one():
    found = table(of("rnn", 0.5, 0.51) | of("lstm", 0.9, 0.91), figure="accuracy")
    assert found.said == ("lstm has the highest accuracy, told apart from all others.",)


def test_the_best_mean_is_not_told_apart_from_one_that_is_better_seed_by_seed():
    found = table(of("rnn", 2.0, 2.01) | {("rnn", 3): {"status": "failed"}} | of("lstm", 1.9, 1.91, 3.0))
    assert (found.pairs[0].difference.value, found.pairs[0].apart) == (pytest.approx(0.1), True)
    assert found.said[:2] == (
        "rnn has the lowest perplexity, but lstm is better on the seeds that both finished.",
        "The means are of different seeds and cannot be compared directly: rnn of 1 and 2; lstm of 1, 2 and 3.",
    )


def test_of_accuracies_the_higher_one_is_better_seed_by_seed_too():
    lost = {("rnn", 3): {"status": "failed"}}
    found = table(of("rnn", 0.8, 0.81) | lost | of("lstm", 0.9, 0.91, 0.1) | of("gru", 0.0, 0.9), figure="accuracy")
    better = "but lstm is better on the seeds that both finished, and gru cannot be told apart from it."
    assert found.said[0] == f"rnn has the highest accuracy, {better}"


def test_of_means_over_the_same_seeds_nothing_is_said_nor_of_what_counts_once():
    found = table({("ngram", 1): 2.0} | of("rnn", 3.0, 3.1) | of("lstm", 1.0, 3.2), seeds=(1, 2))
    assert not any("different seeds" in sentence for sentence in found.said)


def test_pairs_behind_the_best_are_named_too():
    found = table(of("lstm", 1.0, 1.01) | of("rnn", 2.0, 3.0) | of("irnn", 3.0, 2.0))
    assert found.said[0].startswith("lstm has the lowest perplexity")
    assert "rnn and irnn" in found.said[0] + found.said[1]


def test_two_seeds_are_said_to_tell_little_where_they_tell_nothing():
    found = table(of("rnn", 2.0, 2.5) | of("lstm", 1.9, 2.6))
    assert found.said[1].startswith("Two seeds tell little")


def test_a_figure_beyond_every_number_is_said_and_takes_no_part():
    found = table(of("additive", 2000.0, 1000.0) | of("rnn", 2.0, 2.01) | of("lstm", 1.0, 1.01))
    assert found.standings[0].test.value == math.inf
    assert found.said[0] == "lstm has the lowest perplexity, told apart from all others."
    assert "The perplexity of additive is beyond every number: 1,500 nats on average." in found.said


def test_one_seed_tells_nothing():
    found = table(of("rnn", 2.0) | of("lstm", 1.0))
    assert found.said == ("With one seed nothing can be told apart.",)
    assert not any(p.apart for p in found.pairs)


def test_two_models_without_a_seed_in_common_are_not_told_apart():
    found = table({("rnn", 1): 1.0, ("lstm", 2): 9.0, ("gru", 1): 3.0, ("gru", 2): 3.01}, seeds=(1, 2))
    assert "and gru and lstm cannot be told apart from it" in found.said[0]


def test_what_counts_has_one_run_and_is_held_against_every_seed():
    found = table({("ngram", 1): 2.0} | of("rnn", 3.0, 3.1) | of("window", 1.0, 3.2), seeds=(1, 2))
    pairs = {(p.first, p.second): p for p in found.pairs}
    assert pairs["ngram", "rnn"].apart
    assert pairs["ngram", "rnn"].seeds == 2
    assert pairs["ngram", "rnn"].difference.value == pytest.approx(-1.05)
    assert not pairs["ngram", "window"].apart
    assert found.planned == 5
    assert (found.standings[0].test.low, found.standings[0].unit) == (None, "n-grams")


def test_two_that_count_differ_exactly_or_not_at_all():
    found = table({("ngram", 1): 2.0, ("naive-bayes", 1): 2.0}, seeds=(1, 2))
    assert not found.pairs[0].apart
    found = table({("ngram", 1): 2.0, ("naive-bayes", 1): 2.5}, seeds=(1, 2))
    assert found.pairs[0].apart
    assert found.said == ("ngram has the lowest perplexity, told apart from all others.",)


def test_a_run_that_failed_leaves_its_model_with_the_others_and_is_said():
    lost = {"status": "failed", "reason": "The loss stopped being finite.", "not_finite": 31}
    found = table({("irnn", 1): lost, ("irnn", 2): 2.0} | of("lstm", 1.0, 1.1) | {("rnn", 1): lost, ("rnn", 2): lost})
    irnn, lstm, rnn = found.standings
    assert (irnn.finished, irnn.not_finite, irnn.test.value) == (1, 31, pytest.approx(math.exp(2)))
    assert lstm.not_finite is None
    assert rnn.test is None
    assert "1 of 2 runs of irnn failed; its figures are those of the others." in found.said
    assert "2 of 2 runs of rnn failed; it has no figure." in found.said
    assert found.ranked[-1].model == "rnn"
    assert (found.finished, found.planned) == (3, 6)


def test_horizons_are_those_of_the_middle_seed_with_their_range():
    given = {("lstm", i): {"start": start, "end": end} for i, (start, end) in enumerate([("9", "30"), ("7", ">64")], 1)}
    (lstm,) = table(given).standings
    assert lstm.start == Middle(7, 7, 9)
    assert lstm.end == Middle(30, 30, 64, highest_beyond=True)
    (lstm,) = table(given | {("lstm", 3): {"start": "8", "end": ">64"}}).standings
    assert lstm.end == Middle(64, 30, 64, beyond=True, highest_beyond=True)


def test_a_horizon_that_is_no_number_is_left_out():
    (rnn,) = table({("rnn", 1): {"start": "NaN", "end": "NaN"}, ("rnn", 2): {"start": "5"}}).standings
    assert rnn.start == Middle(5, 5, 5)
    assert rnn.end is None


def test_a_context_that_was_not_measured_is_said():
    why = {"steps": None, "more": False, "why": "What went before cannot be taken from it."}
    given = {("gru", 1): {"figure": 1.0, "context": {"steps": 12, "more": True, "why": ""}}}
    found = table(given | {("rnn", 1): {"figure": 2.0, "context": why}})
    assert found.standings[0].context == Middle(12, 12, 12, beyond=True, highest_beyond=True)
    assert found.standings[1].context is None
    assert found.said[-1] == "The context of rnn was not measured: What went before cannot be taken from it."


def test_before_a_run_has_finished_there_is_a_table_too():
    found = table({("rnn", 1): {"status": "running", "start": "5", "speed": 7.0}, ("lstm", 1): {"status": "not begun"}})
    assert (found.finished, found.planned, found.said, found.pairs) == (0, 2, (), ())
    assert found.standings[0].speed == 7.0
