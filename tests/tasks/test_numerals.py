"""All the dates and numbers that there are, and a sentence for those who ask for more."""

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError
from retrograd.tasks import make_task, numerals


def pairs(count):
    return numerals.pairs(count, torch.Generator().manual_seed(0))


def test_the_most_is_every_date_once_and_as_many_numbers(monkeypatch):
    monkeypatch.setattr(numerals, "_date", lambda i: ("date", i))
    monkeypatch.setattr(numerals, "_number", lambda n: ("number", n))
    made = pairs(numerals.MOST)
    assert len(set(made)) == len(made) == 739_200
    assert sorted(i for sort, i in made if sort == "date") == list(range(1100 * 12 * 28))
    assert pairs(numerals.MOST - 1) == made[:-1]


@pytest.mark.parametrize("count", [numerals.MOST + 1, 10**12])
def test_more_than_there_are_is_refused(count):
    with pytest.raises(ConfigError, match=f"There are 739,200 dates and numbers at most, .* ask for {count:,}, make"):
        pairs(count)


def test_the_task_refuses_too_many_examples_in_one_sentence():
    settings = config.make({"task": {"name": "translation", "examples": 760_000}})
    with pytest.raises(ConfigError, match=r"739,200 .*; task\.examples and task\.held_out ask for 761,000"):
        make_task(settings)
