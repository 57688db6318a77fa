"""The loss and the figures, beside sums written out."""

import math
from dataclasses import replace

import pytest
import torch

from retrograd import config
from retrograd.experiments.build import build
from retrograd.experiments.objective import answers, evaluate, figures, losses, objective
from retrograd.tasks.window import IGNORED, Sizes, Stream, Window, cut

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(config.make({"model": {"hidden": 8, "dropout": 0.0}}), Sizes(5, 5))


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
    assert loss.mean.item() == pytest.approx(sum(truth) / 16, rel=1e-5)
    assert loss.tensor.item() == pytest.approx(loss.mean.item())


def test_by_sequence_the_loss_is_the_sum_over_steps_averaged_over_the_batch(model):
    loss, _ = objective(model, "sequence", CPU)(window(), None)
    assert loss.tensor.item() == pytest.approx(sum(by_hand(model, window())) / 3, rel=1e-5)


NETWORKS = {  # task and settings of the model, sizes, and what its answers are made from beside the inputs
    "recurrent": ("language", {}, {}, {}),
    "window": ("language", {"kind": "window"}, {}, {}),
    "both ways": ("tagging", {"bidirectional": True}, {}, {"lengths": torch.tensor([6, 4, 6])}),
    "encoder and decoder": ("translation", {}, {"source": 7}, {"source": torch.randint(7, (4, 3))}),
    "attention": ("translation", {"attention": True}, {"source": 7}, {"source": torch.randint(7, (4, 3))}),
    "captions": ("captioning", {}, {"source": 3, "height": 8, "width": 8}, {"source": torch.rand(3, 3, 8, 8).double()}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_trained_by_the_cross_entropy_of_its_answers(name):
    task, settings, sizes, others = NETWORKS[name]
    torch.manual_seed(0)
    settings = config.make({"task": task, "model": {"hidden": 8, "dropout": 0.0} | settings})
    network = build(settings, Sizes(5, 5, **sizes)).double()
    w = replace(window(), **others)
    loss, _ = objective(network, "token", CPU)(w, None)
    logits, _ = answers(network, w)
    truth = torch.nn.functional.cross_entropy(logits.flatten(0, 1), w.targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(loss.tensor, truth, atol=1e-12, rtol=0)
    found, expected = (torch.autograd.grad(x, list(network.parameters())) for x in (loss.tensor, truth))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


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
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


def test_figures_are_named_by_what_they_are():
    from retrograd.experiments.objective import Evaluation

    named = figures(Evaluation(1.5, 10, 0.3), "character")
    assert named == {
        "test nats": 1.5,
        "perplexity": math.exp(1.5),
        "test tokens": 10.0,
        "bits per character": 1.5 / math.log(2),
    }
    assert "bits per word" not in figures(Evaluation(1.5, 10, 0.3), "word")
    assert figures(Evaluation(1000.0, 1, 0.0), "word")["perplexity"] == math.inf
    assert figures(Evaluation(0.2, 7, 0.5), "answer", measure="squared error", hits=True) == {
        "test squared error": 0.2,
        "test tokens": 7.0,
        "accuracy": 0.5,
    }


def numbers() -> Window:
    """Answers that are numbers, asked of two steps of three."""
    draw = torch.Generator().manual_seed(5)
    targets = torch.full((6, 3), math.nan)
    targets[2], targets[5] = torch.rand(2, 3, generator=draw)
    return Window(torch.randn(6, 3, 2, generator=draw), targets, None, 1.0)


@pytest.fixture
def adder():
    torch.manual_seed(1)
    return build(config.make({"task": "adding", "model": {"hidden": 8}}), Sizes(2, 1, numbers=True))


def test_the_loss_of_numbers_is_the_mean_squared_error_of_those_that_are_asked(adder):
    w = numbers()
    answers = adder(w.inputs)[0][..., 0]
    truth = [(answers[t, b] - w.targets[t, b]).item() ** 2 for t in (2, 5) for b in range(3)]
    loss, _ = objective(adder, "token", CPU)(w, None)
    assert (loss.mean.item(), loss.tokens) == (pytest.approx(sum(truth) / 6), 6)
    found = evaluate(adder, [w], CPU)
    assert (found.loss, found.tokens) == (pytest.approx(sum(truth) / 6), 6)
    each = losses(adder, w)
    each.sum().backward()
    assert each[[0, 1, 3, 4]].abs().sum() == 0
    assert all(p.grad.isfinite().all() for p in adder.parameters())


def test_an_answer_near_the_number_is_right_and_a_sequence_where_all_are():
    w = numbers()
    off = torch.zeros(6, 3)
    off[2, 0], off[5, 1] = 0.05, -0.03

    class Oracle(torch.nn.Module):
        def forward(self, inputs, state, starts):
            return (w.targets.nan_to_num() + off)[..., None], ()

    found = evaluate(Oracle(), [w], CPU)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.whole == pytest.approx(2 / 3)


def test_nothing_is_carried_into_a_window_in_which_all_begin_anew(adder):
    w = numbers()
    anew = torch.zeros(6, 3, dtype=torch.bool)
    anew[0] = True
    other = tuple(torch.ones_like(s) for s in adder(w.inputs)[1])
    fresh, _ = answers(adder, replace(w, starts=anew), other)
    assert torch.equal(fresh, adder(w.inputs)[0])
    anew[0, 1] = False
    assert not torch.equal(answers(adder, replace(w, starts=anew), other)[0], fresh)


def test_a_remedy_beside_each_step_gives_the_gradient_of_both_terms():
    from retrograd.remedies import remedy_in
    from retrograd.training.loop import tbptt
    from retrograd.training.schedules import Budget, constant

    torch.manual_seed(3)
    settings = config.make({"task": "adding", "model": {"cell": "elman", "hidden": 5}})
    model = build(settings, Sizes(2, 1, numbers=True))
    w, patch = numbers(), remedy_in("norm-preserving=2")
    course = patch[0].apply(model, lambda m: losses(m, w), *patch[1])
    with course.step(model):
        objective(model, "token", CPU)(w, None)[0].tensor.backward()
    wanted = {name: p.detach() - 0.1 * p.grad for name, p in model.named_parameters()}
    plain = objective(model, "token", CPU)(w, None)[0].tensor
    [alone] = torch.autograd.grad(plain, [model.stack.layers[0].weight_hh])
    assert not torch.allclose(alone, model.stack.layers[0].weight_hh.grad)
    steps = tbptt(
        objective(model, "token", CPU),
        [w],
        torch.optim.SGD(model.parameters(), 0.1),
        schedule=constant,
        budget=Budget(steps=1),
        beside=lambda: course.step(model),
    )
    assert len(list(steps)) == 1
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, wanted[name])
