"""The loss in pieces is torch's cross-entropy of all logits at once, and so are its gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from retrograd.bptt.native import softmax, softmax_loss

pytestmark = pytest.mark.usefixtures("instructions")


def drawn(N, H, V, dtype, scale=1.0):
    torch.manual_seed(N + H + V)
    made = torch.randn(N, H), torch.randn(V, H) * scale, torch.randn(V)
    return [x.to(dtype).requires_grad_() for x in made], torch.randint(V, (N,))


def both(tensors, targets):
    h, W, b = tensors
    losses = softmax_loss(h, W, b, targets), F.cross_entropy(F.linear(h, W, b), targets, ignore_index=-100)
    return [(loss, *torch.autograd.grad(loss * 3, tensors)) for loss in losses]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 2), (130, 9, 37), (200, 16, 1000)])
def test_it_is_torchs_loss_and_gradients(monkeypatch, dtype, tolerance, shape):
    N, H, V = shape
    monkeypatch.setattr(softmax, "PIECE", 64 * V)  # several pieces
    tensors, targets = drawn(N, H, V, dtype)
    targets[::3] = -100 if N > 1 else targets[0]
    for found, expected in zip(*both(tensors, targets), strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=10 * tolerance)


def test_logits_far_apart_neither_overflow_nor_lose_the_loss():
    tensors, targets = drawn(20, 4, 50, torch.float32, scale=300.0)
    for found, expected in zip(*both(tensors, targets), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_gives_a_loss_that_is_not(bad):
    (h, W, b), targets = drawn(3, 4, 20, torch.float32)
    with torch.no_grad():
        b[7] = bad
    assert softmax_loss(h, W, b, targets).isnan()


def test_nothing_asked_is_nan_and_no_gradient_as_in_torch():
    tensors, targets = drawn(5, 3, 6, torch.float32)
    for found, expected in zip(*both(tensors, torch.full_like(targets, -100)), strict=True):
        torch.testing.assert_close(found.nan_to_num(7), expected.nan_to_num(7), atol=0, rtol=0, equal_nan=True)


def test_a_target_that_there_is_not_is_named():
    (h, W, b), _ = drawn(2, 3, 6, torch.float32)
    with pytest.raises(IndexError, match="Targets must be from 0 to 5, got 0 to 6"):
        softmax_loss(h, W, b, torch.tensor([0, 6]))
