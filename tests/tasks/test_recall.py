"""Delayed recall: the symbol lies exactly `gap` steps before the only question."""

import pytest
import torch

from retrograd import config
from retrograd.errors import UnknownName, UsageError
from retrograd.tasks import TASKS, make_task
from retrograd.tasks.recall import NOISE, Recall
from retrograd.tasks.window import IGNORED


def recall(gap=7, symbols=4):
    return Recall(config.make({"task": "recall", "recall": {"gap": gap, "symbols": symbols}}))


def test_the_answer_is_the_symbol_shown_gap_steps_before():
    task = recall()
    w = task.examples(32, torch.Generator().manual_seed(0))
    [asked] = (w.targets != IGNORED).all(1).nonzero().flatten().tolist()
    assert asked == 7
    assert torch.equal(w.targets[asked], w.inputs[asked - task.gap])


def test_nothing_between_tells_the_answer():
    w = recall().examples(500, torch.Generator().manual_seed(0))
    assert bool((w.inputs[0] < 4).all())
    assert bool(((w.inputs[1:-1] >= 4) & (w.inputs[1:-1] < 4 + NOISE)).all())
    assert bool((w.inputs[-1] == 4 + NOISE).all())


def test_examples_are_fresh_in_training_and_fixed_elsewhere():
    task = recall()
    windows = task.training()
    assert not torch.equal(next(windows).inputs, next(windows).inputs)
    assert torch.equal(next(task.testing()).inputs, next(task.testing()).inputs)
    assert not torch.equal(next(task.testing()).inputs, next(task.validation()).inputs)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_gives_windows_that_fit_its_vocabulary(name, tmp_path):
    (tmp_path / "text.txt").write_text("some text to learn from. " * 100)
    data = {"train": [str(tmp_path / "text.txt")]} if name == "language" else {}
    task = make_task(config.make({"task": name, "data": data}))
    for w in (next(task.training()), next(task.validation()), next(task.testing()), task.probe()):
        assert w.inputs.shape == w.targets.shape
        assert int(w.inputs.max()) < task.vocabulary
        assert int(w.targets.max()) < task.vocabulary
    assert len(task.fingerprint) == 64


def test_recall_refuses_a_text_that_it_would_ignore():
    with pytest.raises(UsageError, match="makes its own examples"):
        Recall(config.make({"task": "recall", "data": {"train": ["notes.txt"]}}))


def test_an_unknown_task_is_refused_with_the_list():
    with pytest.raises(UnknownName, match="the nearest is 'recall'"):
        make_task(config.make({"task": "recal"}))
