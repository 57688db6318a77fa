"""The text that is written and the pairs that ask: neither knows the other's words in full."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks import make_task
from retrograd.tasks.agreement import PAIRS, SEEDS, _passage, lines, pairs
from retrograd.tasks.grammar import Dice
from retrograd.tasks.pairs import coverage, encoded


def agreement(examples=2000, **changes):
    return make_task(config.make(config.merge({"task": {"name": "agreement", "examples": examples}}, changes)))


@pytest.fixture(scope="module")
def task():
    return agreement()


@pytest.fixture(scope="module")
def asked():
    return pairs(40)


def test_no_passage_begins_as_a_pair_does(task):
    assert len({pair.prefix for pair in task.pairs}) == len(task.pairs)
    splits = (task.train, task.valid, task.test)
    text = [f"{line} " for split in splits for line in task.tokenizer.decode(split.ids.tolist()).splitlines()]
    assert len(text) == 2200
    begins = {pair.prefix for pair in task.pairs}
    for line in text:
        words = line.split()
        assert not any(" ".join(words[:n]) in begins for n in range(1, len(words) + 1))
    short = [pair.prefix for pair in task.pairs if pair.distance == 1]  # such as "the old writer": words that are known
    assert short
    assert not any(line.startswith(f"{prefix} ") for line in text for prefix in short)


def test_no_passage_that_tests_or_validates_trains_as_well():
    sizes = {"train": 8000, "valid": 400, "test": 400}
    task, taken = agreement(8000), {pair.prefix for pair in pairs(40)}
    train, valid, test = (
        task.tokenizer.decode(split.ids.tolist()).splitlines(keepends=True)
        for split in (task.train, task.valid, task.test)
    )
    assert [len(train), len(valid), len(test)] == list(sizes.values())
    assert not set(train) & {*test, *valid}
    assert not set(valid) & set(test)
    free = {name: list(lines(size, 40, taken=taken, seed=SEEDS[name])) for name, size in sizes.items()}
    assert set(free["train"]) & {*free["test"], *free["valid"]}  # as they would be, were none passed over
    assert test == free["test"]


def test_what_was_seen_is_passed_over_and_nothing_else_changes():
    free = list(lines(300, 40, taken=set(), seed=5))
    seen = set(free[::3])
    held = list(lines(200, 40, taken=set(), seed=5, seen=seen))
    left = [line for line in free if line not in seen]
    assert held[: len(left)] == left[:200]
    assert seen.isdisjoint(held)


def test_what_is_taken_would_have_been_written():
    free, held = (list(lines(300, 40, taken=taken, seed=5)) for taken in (set(), {"the writer", "the writers"}))
    begins = [line.startswith(("the writer ", "the writers ")) for line in free]
    assert any(begins)
    assert [line for line, begin in zip(free, begins, strict=True) if not begin] == held[: 300 - sum(begins)]


def test_every_word_of_the_pairs_is_in_the_text(task):
    assert coverage([encoded(pair, task.tokenizer) for pair in task.pairs], task.tokenizer) == 1


def test_each_passage_is_a_document_and_a_line(task):
    ends = task.train.ids == task.tokenizer.first
    assert int(ends.sum()) == int(task.train.starts.sum()) == 2000
    assert torch.equal(task.train.starts[1:], ends[:-1])


def test_pairs_grow_beyond_the_text_and_say_so(asked):
    dice = Dice(torch.Generator().manual_seed(9))
    text = [_passage(40, dice) for _ in range(4000)]
    kinds = Counter(p.kind for p in text)
    assert set(kinds) == {"agreement", "pronoun", "name", "return"} == {pair.kind for pair in asked}
    assert kinds["agreement"] == pytest.approx(1200, abs=116)
    for kind in kinds:
        mine, told = [p for p in text if p.kind == kind], [pair for pair in asked if pair.kind == kind]
        longest, most = max(p.distance for p in mine), max(p.attractors for p in mine)
        assert longest == 40 or kind == "agreement"
        assert all(p.attractors <= most for p in told if not p.beyond)
        assert kind == "agreement" or all(p.distance <= longest for p in told if not p.beyond)
        assert any(p.distance > longest for p in told if p.beyond)
        assert {p.beyond for p in told} == {False, True}
    assert max(p.attractors for p in asked if p.kind == "agreement") == 8
    assert max(p.distance for p in asked if p.kind == "return") == 160


def test_a_pair_with_its_rest_is_a_whole_passage(asked):
    assert all(pair.rest.endswith(" .\n") or pair.rest == ".\n" for pair in asked)
    assert all(pair.rest.count(" ") == (pair.kind == "agreement") for pair in asked)


def test_half_of_agreement_is_misled_at_each_length_and_half_is_not(asked):
    mine = [pair for pair in asked if pair.kind == "agreement"]
    assert Counter(pair.attractors for pair in mine) == {0: 9 * PAIRS} | dict.fromkeys(range(1, 9), PAIRS)
    assert all(pair.misled == (pair.attractors > 0) for pair in mine)
    plural = sum(pair.right in {"are", "were", "have", "look", "seem", "need"} for pair in mine)
    assert plural == pytest.approx(len(mine) / 2, abs=4 * (len(mine) / 4) ** 0.5)


def test_long_distances_are_asked_for_too():
    dice = Dice(torch.Generator().manual_seed(2))
    distances = [p.distance for p in (_passage(40, dice) for _ in range(3000)) if p.kind == "return"]
    counts = Counter((distance - 1) // 10 for distance in distances)
    assert all(counts[n] > len(distances) / 10 for n in range(4))
    assert set(counts) == set(range(4))


def test_the_text_is_the_same_whatever_the_seed_and_another_for_another_length(task):
    assert agreement(training={"seed": 7}).fingerprint == task.fingerprint
    assert agreement(task={"length": 20}).fingerprint != task.fingerprint
    assert agreement(training={"seed": 7}).pairs == task.pairs


def test_the_length_is_what_must_be_remembered(task):
    assert task.need == 40
    shorter = agreement(task={"length": 20})
    assert shorter.need == 20
    assert max(pair.distance for pair in shorter.pairs if pair.kind == "return") == 80
    dice = Dice(torch.Generator().manual_seed(0))
    found = [p.distance for p in (_passage(20, dice) for _ in range(2000)) if p.kind != "agreement"]
    assert max(found) == 20


@pytest.mark.parametrize("length", [13, 14, 27, 50])
def test_any_length_from_the_shortest_on_can_be_asked(length):
    told = [pair for pair in pairs(length) if pair.kind == "return"]
    distances = sorted({pair.distance for pair in told})
    assert distances[-1] == pytest.approx(4 * length, abs=3)
    assert all(b > a for a, b in pairwise(distances))
    assert len(list(lines(50, length, taken=set(), seed=0))) == 50


def test_it_is_read_by_words_and_its_config_says_so():
    settings = config.make({"task": "agreement"})
    assert settings.data.level == "word"
    assert config.make({"task": "agreement", **settings.model_dump(exclude={"task"}, exclude_none=True)}) == settings
    assert agreement().tokenizer.level == "word"


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"data": {"train": ["notes.txt"]}}, UsageError, "writes its own text; leave the files out"),
        ({"data": {"level": "char"}}, ConfigError, r"is one of words; data\.level is char"),
        ({"task": {"length": 12}}, ConfigError, r"needs task\.length of 13 at least; got 12"),
        ({"task": {"examples": 3}}, DataError, "fewer than the window"),
    ],
)
def test_what_it_cannot_use_is_refused(changes, error, sentence):
    with pytest.raises(error, match=sentence):
        agreement(**changes)
