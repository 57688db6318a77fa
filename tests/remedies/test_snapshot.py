"""A model goes back to what it was: values, objects and attributes."""

import math

import pytest
import torch
from torch import nn

from retrograd.remedies import Snapshot


class Busy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm, self.kept = nn.RNN(2, 3), nn.BatchNorm1d(3), [1, 2]
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)


def test_everything_that_was_changed_is_as_it_was():
    torch.manual_seed(0)
    model = Busy()
    model.rnn(torch.randn(4, 2, 2))[0].sum().backward()
    parts, weights = dict(model.named_modules()), dict(model.named_parameters())
    state, grads = {n: x.clone() for n, x in model.state_dict().items()}, {n: p.grad for n, p in weights.items()}
    values = {n: g.clone() for n, g in grads.items() if g is not None}
    before = Snapshot(model)

    model.rnn.nonlinearity, model.rnn.mode = "relu", "RNN_RELU"
    model.norm(torch.randn(5, 3))
    model.eval()
    model.kept.append(3)
    model.new, model.rnn.flag = nn.Linear(2, 2), True
    model.frozen.requires_grad_(True)
    model.register_forward_hook(lambda *_: None)
    with torch.no_grad():
        model.rnn.weight_hh_l0.zero_()
        model.rnn.weight_hh_l0.grad.mul_(2)
        model.rnn.weight_ih_l0.data = torch.zeros(3, 2)
    model.rnn.bias_ih_l0.grad = None
    model.norm = nn.Identity()

    before.restore()
    assert dict(model.named_modules()) == parts
    assert dict(model.named_parameters()) == weights
    assert all(torch.equal(x, state[n]) for n, x in model.state_dict().items())
    assert all(p.grad is grads[n] for n, p in model.named_parameters())
    assert all(torch.equal(g, grads[n]) for n, g in values.items())
    assert (model.rnn.nonlinearity, model.training, model.kept) == ("tanh", True, [1, 2])
    assert not model.frozen.requires_grad
    assert not hasattr(model, "new")
    assert not hasattr(model.rnn, "flag")
    assert not model._forward_hooks


def test_it_can_go_back_and_forth():
    model = nn.Sequential(nn.RNN(2, 3))
    before, old = Snapshot(model), model[0]
    model[0] = nn.GRU(2, 3)
    after, new = Snapshot(model), model[0]
    for _ in range(2):
        before.restore()
        assert model[0] is old
        after.restore()
        assert model[0] is new


@pytest.mark.parametrize("held", [0.5, math.nan])
def test_what_has_not_changed_is_not_written_to(held):
    """A graph that was built before can still be taken back."""
    model = nn.RNN(2, 3)
    nn.init.constant_(model.weight_hh_l0, held)
    loss = model(torch.randn(4, 2, 2))[0].sum()
    Snapshot(model).restore()
    loss.backward()
