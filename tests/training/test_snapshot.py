"""What training goes on from comes back bit for bit, or is refused."""

import pytest
import torch
from torch import nn

from retrograd.errors import RunError
from retrograd.training import snapshot
from retrograd.training.optimizers import OPTIMIZERS, make_optimizer

CPU = torch.device("cpu")


def stepped(name: str, model: nn.Module, times: int) -> torch.optim.Optimizer:
    optimizer = make_optimizer(name, model.parameters(), lr=0.1)
    step(optimizer, model, times)
    return optimizer


def step(optimizer, model, times):
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_with_the_same_bits(name):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = stepped(name, model, 3)
    other = nn.Linear(3, 2)
    other.load_state_dict(model.state_dict())
    tensors = snapshot.take(optimizer, None, CPU)
    resumed = make_optimizer(name, other.parameters(), lr=0.1)
    step(optimizer, model, 3)
    snapshot.put_back(tensors, resumed, CPU)
    step(resumed, other, 3)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


def test_more_than_ten_carried_states_keep_their_order():
    optimizer = stepped("sgd", nn.Linear(3, 2), 1)
    state = tuple(torch.full((2, 3), float(i)) for i in range(12))
    back = snapshot.put_back(snapshot.take(optimizer, state, CPU), optimizer, CPU)
    assert [float(s[0, 0]) for s in back] == list(range(12))
    assert snapshot.put_back(snapshot.take(optimizer, None, CPU), optimizer, CPU) is None


def test_the_random_state_comes_back():
    optimizer = stepped("sgd", nn.Linear(3, 2), 1)
    tensors = snapshot.take(optimizer, None, CPU)
    drawn = torch.rand(3)
    snapshot.put_back(tensors, optimizer, CPU)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("random.cpu"),
        lambda t: t.update({"random.cpu": torch.zeros(3)}),
        lambda t: t.update({"optimizer.0.exp_avg": torch.zeros(5, 5)}),
        lambda t: t.update({"optimizer.9.exp_avg": torch.zeros(2, 3)}),
        lambda t: t.update({"optimizer.x.exp_avg": torch.zeros(2, 3)}),
    ],
)
def test_what_does_not_fit_is_refused(change):
    optimizer = stepped("adam", nn.Linear(3, 2), 1)
    tensors = snapshot.take(optimizer, None, CPU)
    change(tensors)
    with pytest.raises(RunError, match="does not fit this model"):
        snapshot.put_back(tensors, optimizer, CPU)
