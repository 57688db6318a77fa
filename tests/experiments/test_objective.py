"""The loss and the figures, beside sums written out."""

import math

import pytest
import torch

from retrograd import config
from retrograd.experiments.build import build
from retrograd.experiments.objective import evaluate, figures, losses, objective
from retrograd.tasks.window import IGNORED, Stream, Window, cut

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(config.make({"model": {"hidden": 8, "dropout": 0.0}}), 5)


def window() -> Window:
    draw = torch.Generator().manual_seed(2)
    inputs, targets = torch.randint(5, (2, 6, 3), generator=draw)
    targets[4:, 1] = IGNORED
    return Window(inputs, targets, None, 1.0)


def by_hand(model, w):
    logits, _ = model(w.inputs)
    p = logits.log_softmax(-1)
    return [-p[t, b, w.targets[t, b]].item() for t in range(6) for b in range(3) if w.targets[t, b] != IGNORED]


def test_the_loss_is_the_mean_over_targets_that_are_asked(model):
    w = window()
    loss, _ = objective(model, "token", CPU)(w, None)
    truth = by_hand(model, w)
    assert loss.tokens == len(truth) == 16
    assert loss.nats.item() == pytest.approx(sum(truth) / 16, rel=1e-5)
    assert loss.tensor.item() == pytest.approx(loss.nats.item())


def test_by_sequence_the_loss_is_the_sum_over_steps_averaged_over_the_batch(model):
    loss, _ = objective(model, "sequence", CPU)(window(), None)
    assert loss.tensor.item() == pytest.approx(sum(by_hand(model, window())) / 3, rel=1e-5)


def test_the_losses_of_all_steps_are_zero_where_nothing_is_asked(model):
    each = losses(model, window())
    assert each.shape == (6, 3)
    assert each[4:, 1].tolist() == [0.0, 0.0]
    assert each.sum().item() == pytest.approx(sum(by_hand(model, window())), rel=1e-5)


@pytest.mark.parametrize("length", [1, 7, 50])
def test_evaluation_does_not_depend_on_how_the_text_is_windowed(model, length):
    ids = torch.randint(5, (53,), generator=torch.Generator().manual_seed(1))
    stream = Stream(ids, torch.zeros(53, dtype=torch.bool), 0)
    whole = evaluate(model, cut(stream, batch=1, window=1000, carry=True), CPU)
    parts = evaluate(model, cut(stream, batch=1, window=length, carry=True), CPU)
    assert whole.tokens == parts.tokens == 53
    assert parts.nats == pytest.approx(whole.nats, rel=1e-5)


def test_figures_are_named_by_what_they_are():
    from retrograd.experiments.objective import Evaluation

    named = figures(Evaluation(1.5, 10, 0.3), "character", hits=False)
    assert named == {
        "test nats": 1.5,
        "perplexity": math.exp(1.5),
        "test tokens": 10.0,
        "bits per character": 1.5 / math.log(2),
    }
    assert "bits per word" not in figures(Evaluation(1.5, 10, 0.3), "word", hits=False)
    assert figures(Evaluation(1000.0, 1, 0.0), "answer", hits=True)["perplexity"] == math.inf
