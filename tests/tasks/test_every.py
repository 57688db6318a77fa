"""What holds for every task: its windows fit its sizes, and it gives the same examples whenever it is asked."""

import math
from functools import cache
from itertools import combinations, islice
from pathlib import Path

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, UnknownName, UsageError
from retrograd.tasks import READ, TASKS, Collected, Drawn, make_task
from retrograd.tasks.window import IGNORED, Window
from tests.tasks.images import mnist

SMALL = {"task": {"examples": 400}, "training": {"batch": 5, "window": 16}, "measure": {"sequences": 3}}
CHANGED = {  # what makes it another task
    "language": {"data": {"test": "other.txt"}},
    "digits": {"task": {"permuted": True}},
    "translation": {"task": {"examples": 300}},
    "captioning": {"task": {"examples": 300}},
    "sentiment": {"task": {"examples": 800}},
}
LONGER = {"task": {"length": 60}}  # ... and of all others

ALL = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The task of that name; made once for the same settings."""
    folder = tmp_path_factory.mktemp("data")
    for file in ("text.txt", "other.txt"):
        (folder / file).write_text(f"some text to learn from, and more: {file}\n" * 100)
    data = {"language": str(folder / "text.txt"), "digits": mnist(folder)}

    def settings(name, changes=None):
        own = {"task": {"name": name}, "data": {"train": [data[name]]} if name in data else {}}
        if "test" in (changes or {}).get("data", {}):
            changes = {"data": {"test": str(folder / changes["data"]["test"])}}
        return config.make(config.merge(config.merge(SMALL, own), changes or {}))

    @cache
    def unchanged(name, seed):
        return make_task(settings(name, {"training": {"seed": seed}}))

    def make(name, changes=None, *, seed=1):
        return make_task(settings(name, changes)) if changes else unchanged(name, seed)

    return make


def some(task):
    """The first windows of every kind."""
    yield from islice(task.training(), 2)
    yield next(iter(task.validation()))
    yield next(iter(task.testing()))
    yield task.probe()
    yield from (next(iter(windows)) for _, windows in task.groups()[1])


def same(ones, others):
    return all(equal(one, other) for one, other in zip(ones, others, strict=True))


def equal(one, other):
    parts = ("inputs", "targets", "starts", "source", "lengths")
    pairs = [(getattr(one, part), getattr(other, part)) for part in parts]
    return all((a is None and b is None) or torch.equal(*map(torch.nan_to_num, (a, b))) for a, b in pairs)


@ALL
def test_inputs_and_targets_fit_the_sizes(name, made):
    task = made(name)
    for w in some(task):
        steps, batch = w.targets.shape
        if task.sizes.numbers:
            assert w.inputs.shape == (steps, batch, task.sizes.inputs)
            assert w.inputs.dtype == torch.float32
            assert bool(w.inputs.isfinite().all())
        else:
            assert w.inputs.shape == (steps, batch)
            assert 0 <= int(w.inputs.min()) <= int(w.inputs.max()) < task.sizes.inputs
        assert bool(w.asked.any())
        answers = w.targets[w.asked]
        if answers.is_floating_point():
            assert task.sizes.outputs == 1
        else:
            assert 0 <= int(answers.min()) <= int(answers.max()) < task.sizes.outputs


@ALL
def test_sources_fit_the_sizes(name, made):
    task = made(name)
    for w in some(task):
        assert (w.source is None) == (task.sizes.source == 0)
        if w.source is None:
            continue
        sizes = task.sizes
        if sizes.height:
            assert w.source.shape == (w.targets.shape[1], sizes.source, sizes.height, sizes.width)
            continue
        assert w.source.shape[1] == w.targets.shape[1]
        told = w.source != IGNORED
        assert bool(told[-1].all())
        assert bool((told[1:] >= told[:-1]).all()), "padding stands before the first token only"
        assert 0 <= int(w.source[told].min()) <= int(w.source.max()) < sizes.source


@ALL
def test_every_sequence_begins_at_a_zero_state_and_asks_nothing_behind_its_end(name, made):
    task = made(name)
    for w in some(task):
        if not task.carries:
            assert w.starts.shape == w.targets.shape
            assert w.starts.dtype == torch.bool
            assert bool(w.starts[0].all())
        if w.lengths is not None:
            behind = torch.arange(len(w.targets))[:, None] >= w.lengths
            assert not bool((w.asked & behind).any())
    assert bool(next(task.training()).starts[0].all())


@ALL
def test_the_same_seed_gives_the_same_examples(name, made):
    one, other = made(name), made(name, {"training": {"seed": 1}})
    assert same(islice(one.training(), 4), islice(other.training(), 4))
    if not one.carries:
        assert not equal(next(one.training()), next(made(name, seed=2).training()))


@ALL
def test_training_goes_on_where_it_is_told_to_start(name, made):
    task = made(name)
    for start in (1, 9):  # 9: in the second pass over a small set
        assert same(islice(task.training(), start, start + 3), islice(task.training(start), 3))
    if isinstance(task, Drawn):
        assert equal(next(task.training()), task.examples(5, torch.Generator().manual_seed(1)))


@ALL
def test_what_is_validated_tested_and_measured_is_the_same_for_every_run(name, made):
    one, other = made(name), made(name, seed=2)
    for task in (one, other):
        list(islice(task.training(), 2))  # which must not move them
    assert same(one.validation(), other.validation())
    assert same(islice(one.testing(), 2), islice(other.testing(), 2))
    assert equal(one.probe(), other.probe())


@ALL
def test_what_is_tested_is_not_what_is_validated(name, made):
    task = made(name)
    assert not equal(next(iter(task.testing())), next(iter(task.validation())))


@ALL
def test_no_example_of_a_set_that_is_generated_is_in_two_splits(name, made):
    task = made(name)
    if not isinstance(task, Collected):
        return
    parts = task.collection.train, task.collection.valid, task.collection.test
    seen = [{tuple(x.numpy().tobytes() for x in (e.inputs, e.source) if x is not None) for e in part} for part in parts]
    for one, other in combinations(seen, 2):
        assert not one & other


def test_of_every_task_it_is_said_which_keys_it_reads():
    assert set(READ) == set(TASKS)
    known = set(config.flat(config.Config().model_dump()))
    assert set().union(*READ.values()) <= known


@ALL
def test_as_many_answers_are_tested_as_it_says(name, made):
    task = made(name)
    assert sum(int(w.asked.sum()) for w in task.testing()) == task.test_tokens


@ALL
def test_making_a_task_and_reading_it_leave_torchs_random_state_alone(name, made):
    before = torch.get_rng_state()
    list(some(made(name, {"training": {"seed": 3}})))
    assert torch.equal(torch.get_rng_state(), before)


@ALL
def test_the_fingerprint_tells_one_task_from_another(name, made):
    one = made(name).fingerprint
    assert len(one) == 64
    assert one == made(name, seed=2).fingerprint
    assert one != made(name, CHANGED.get(name, LONGER)).fingerprint


def test_no_two_tasks_have_one_fingerprint(made):
    assert len({made(name).fingerprint for name in TASKS}) == len(TASKS)


@ALL
def test_it_says_what_lag_it_needs_and_what_guessing_costs(name, made):
    task = made(name)
    assert task.need is None or task.need >= 1
    assert 0 < task.guess < math.inf
    if isinstance(task, Drawn):
        assert task.need < len(task.probe().inputs), "the gradient cannot travel further than a sequence is long"


@ALL
def test_too_short_a_length_is_refused_in_one_sentence(name, made):
    task = made(name)
    if not isinstance(task, Drawn):
        pytest.skip("its length is its data's")
    shortest = task.problem.shortest
    assert isinstance(next(made(name, {"task": {"length": shortest}}).training()), Window)
    if shortest > 1:
        with pytest.raises(
            ConfigError, match=f"^The task {name} needs task.length of {shortest} at least; got"
        ) as raised:
            made(name, {"task": {"length": shortest - 1}})
        assert str(raised.value).count(". ") == 0


@ALL
def test_every_length_by_which_success_is_told_can_be_drawn(name, made):
    task = made(name)
    if not isinstance(task, Drawn):
        pytest.skip("its length is its data's")
    assert all(length >= task.problem.shortest for length in task.problem.lengths)
    _, groups = task.groups()
    found = [(length, len(next(windows).inputs)) for length, windows in groups]
    assert found == sorted(found)
    assert task.problem.length in dict(found)


@ALL
def test_what_makes_its_own_examples_refuses_files_that_it_would_ignore(name, made):
    if not isinstance(made(name), Drawn):
        pytest.skip("it reads files")
    with pytest.raises(UsageError, match="makes its own examples"):
        made(name, {"data": {"train": ["notes.txt"]}})


def test_an_unknown_task_is_refused_with_the_list():
    with pytest.raises(UnknownName, match="the nearest is 'recall'"):
        make_task(config.make({"task": "recal"}))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_settings_of_a_paper_can_be_read_and_name_a_task(path):
    settings = config.make(config.read(path))
    assert settings.task.name in TASKS
    if not settings.data.train and settings.task.name != "language":
        assert make_task(settings).test_tokens > 0
