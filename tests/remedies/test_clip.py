"""Clipping after and during the way back, and truncation: each against a plain loop in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.errors import ConfigError, NotMeasured
from retrograd.remedies import REMEDIES

T, B, X, H = 9, 3, 2, 4


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def example(gain=3.0):
    """An exploding net, its input, and its loss on the last step."""
    model = nn.RNN(X, H, dtype=torch.float64)
    with torch.no_grad():
        model.weight_hh_l0.mul_(gain)
    x = 0.1 * torch.randn(T, B, X, dtype=torch.float64)
    return model, x, lambda m: m(x)[0][-1].sum()


def gradients(model, course, loss):
    model.zero_grad()
    with course.step(model):
        loss(model).backward()
    return [p.grad.clone() for p in model.parameters()]


def by_hand(model, x, limit=math.inf, window=None):
    """dL/dW_ih, dL/dW_hh and biases of the sum of h[T], the gradient at each state held or cut: a plain loop."""
    W, U, b, d = (p.detach() for p in model.parameters())
    states = [torch.zeros(B, H, dtype=torch.float64)]
    for t in range(T):
        states.append(torch.tanh(x[t] @ W.T + b + states[-1] @ U.T + d))
    grads, clipped, delta = [torch.zeros_like(p) for p in (W, U, b, d)], 0, torch.ones(B, H, dtype=torch.float64)
    for t in range(T, 0, -1):
        if window and t < T and t % window == 0:
            delta = torch.zeros_like(delta)
        for i in range(B):
            n = float(delta[i].norm())
            if n > limit:
                delta[i] *= limit / n
                clipped += 1
        dz = delta * (1 - states[t] ** 2)
        pieces = (dz.T @ x[t - 1], dz.T @ states[t - 1], dz.sum(0), dz.sum(0))
        grads = [g + piece for g, piece in zip(grads, pieces, strict=True)]
        delta = dz @ U
    return grads, clipped / (T * B)


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.5, 10.0])
def test_clipping_in_time_is_the_plain_loop_with_each_states_gradient_held(limit):
    model, x, loss = example()
    course = REMEDIES["clip_in_time"].apply(model, loss, limit)
    expected, share = by_hand(model, x, limit)
    torch.testing.assert_close(gradients(model, course, loss), expected, atol=1e-12, rtol=1e-12)
    assert course.statistics["clipped"] == pytest.approx(share)
    assert course.statistics["states"] == T * B


def test_a_limit_that_nothing_reaches_changes_nothing():
    model, _, loss = example()
    course = REMEDIES["clip_in_time"].apply(model, loss, 1e9)
    plain = torch.autograd.grad(loss(model), list(model.parameters()))
    torch.testing.assert_close(gradients(model, course, loss), list(plain), atol=1e-13, rtol=1e-13)
    assert course.statistics["clipped"] == 0


def test_what_was_clipped_is_told_by_how_much():
    model, _, loss = example()
    course = REMEDIES["clip_in_time"].apply(model, loss, 0.5)
    with course.step(model):
        (4 * loss(model)).backward()
    # the gradient at h[T] is 4 in each of H = 4 units, of norm 8: 16 times the limit, and the most there is at first
    assert course.statistics["largest factor"] == pytest.approx(16)
    assert 1 < course.statistics["mean factor"] < 16


def test_padded_steps_are_not_counted():
    model = nn.GRU(X, H)
    packed = pack_padded_sequence(torch.randn(T, B, X), [9, 4, 2])
    course = REMEDIES["clip_in_time"].apply(model, lambda m: m(packed)[1].sum(), 1e-3)
    with course.step(model):
        model(packed)[1].sum().backward()
    assert course.statistics["states"] == 15


def test_a_gradient_that_is_not_finite_is_left_as_it_is_and_counted():
    model, x, _ = example()

    def loss(m):
        return (m(x)[0][-1] * torch.tensor([[math.inf], [1.0], [1.0]])).sum()

    course = REMEDIES["clip_in_time"].apply(model, loss, 1.0)
    assert not all(g.isfinite().all() for g in gradients(model, course, loss))
    assert 1 <= course.statistics["not finite"] <= T


@pytest.mark.parametrize("window", [1, 2, 4, 9, 20])
def test_a_window_is_the_plain_loop_cut_at_its_edges(window):
    model, x, loss = example()
    course = REMEDIES["window"].apply(model, loss, window)
    torch.testing.assert_close(gradients(model, course, loss), by_hand(model, x, window=window)[0], atol=1e-12, rtol=0)
    assert course.statistics["cuts"] == (T - 1) // window


@pytest.mark.parametrize("norm", [0.01, 1e4])
def test_clipping_by_norm_is_torchs(norm):
    model, _, loss = example()
    course = REMEDIES["clip_norm"].apply(model, loss, norm)
    found = gradients(model, course, loss)
    model.zero_grad()
    loss(model).backward()
    nn.utils.clip_grad_norm_(model.parameters(), norm)
    torch.testing.assert_close(found, [p.grad for p in model.parameters()], atol=1e-9, rtol=1e-5)
    assert course.statistics["clipped"] == (norm < 1)


def test_huge_gradients_are_clipped_and_infinite_ones_counted():
    model = nn.RNN(X, H)
    course = REMEDIES["clip_norm"].apply(model, lambda m: m(torch.ones(1, 1, X))[0].sum(), 1.0)
    for value in (1e30, math.inf):
        with course.step(model):
            for p in model.parameters():
                p.grad = torch.full_like(p, value)
        if value < math.inf:
            assert sum(float(p.grad.double().square().sum()) for p in model.parameters()) == pytest.approx(1, rel=1e-5)
    assert course.statistics["not finite"] == 1


def test_without_a_number_the_threshold_is_what_is_usual_for_the_model():
    model, _, loss = example()
    plain = torch.autograd.grad(loss(model), list(model.parameters()))
    total = math.sqrt(sum(float(g.square().sum()) for g in plain))
    assert REMEDIES["clip_norm"].apply(model, loss).statistics["norm"] == pytest.approx(total)
    # what enters from above: 1 in each of H = 4 units, at the last step
    assert REMEDIES["clip_in_time"].apply(model, loss).statistics["norm"] == pytest.approx(2)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "numbers", "error", "sentence"),
    [
        ("clip_norm", (0,), ConfigError, "must be positive, got 0"),
        ("clip_in_time", (-1,), ConfigError, "must be positive, got -1"),
        ("window", (0,), ConfigError, "at least 1; got 0"),
        ("window", (2.5,), ConfigError, "whole number of steps"),
        ("window", (), ConfigError, r"takes 1 number \(steps\), got none"),
    ],
)
def test_a_threshold_that_is_none_is_refused(name, numbers, error, sentence):
    model, _, loss = example()
    with pytest.raises(error, match=sentence):
        REMEDIES[name].apply(model, loss, *numbers)


def test_no_threshold_comes_from_a_gradient_that_is_not_finite():
    model, _, loss = example()
    with pytest.raises(NotMeasured, match="Name one: clip_norm=1"):
        REMEDIES["clip_norm"].apply(model, lambda m: loss(m) * math.nan)
