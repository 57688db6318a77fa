"""Guessing costs the entropy of the answers, whatever they are."""

import math

import pytest
import torch

from retrograd.tasks.guess import entropy


@pytest.mark.parametrize("answers", [[7, 7, 1, 7], ["b", "b", "a", "b"], [True, True, False, True]])
def test_it_is_the_mean_cost_of_each_answer_at_its_share(answers):
    by_hand = -sum(math.log(answers.count(answer) / len(answers)) for answer in answers) / len(answers)
    assert entropy(iter(answers)) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.562335, abs=1e-6)


def test_it_is_the_loss_of_the_best_constant_answer():
    answers = torch.randint(5, (400,), generator=torch.Generator().manual_seed(0)) ** 2 % 5
    logits = (answers.bincount().double() / len(answers)).log().expand(len(answers), -1)
    assert entropy(answers.tolist()) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, answers)), abs=1e-9
    )


def test_equal_shares_cost_the_logarithm_of_their_number_and_one_answer_nothing():
    assert entropy(range(10)) == pytest.approx(math.log(10), abs=1e-12)
    assert entropy("aaa") == 0
