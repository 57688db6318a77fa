"""What of the past a model uses, against nets whose answer lies at a known lag."""

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured, UsageError
from retrograd.measures import context
from retrograd.trace import record
from tests.measures.subjects import register

T, B, D = 60, 5, 7


class Loop(nn.Module):
    """The same in a Python loop, by torch's own cell or one of its own."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.cell = Shift(D) if own else nn.RNNCell(1, D, nonlinearity="relu")
        if not own:
            (twin,) = register(D).layers
            self.cell.load_state_dict(twin.state_dict())

    def forward(self, x):
        h, states = torch.zeros(x.shape[1], D), []
        for x_t in x:
            h = self.cell(x_t, h)
            states.append(h)
        return (torch.stack(states),)


class Shift(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.new = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.new.weight)

    def forward(self, x, h):
        return torch.cat([self.new(x), h[:, :-1]], 1)


def recall(lag: int, x: torch.Tensor):
    """The error of naming the input that many steps ago, of which the state's own is the first."""
    return lambda m: (m(x)[0][:, :, lag - 1] - x[:, :, 0].roll(lag - 1, 0)).square()


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(1, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.gru(x)[0].detach())


@pytest.mark.parametrize("model", [register(D), Loop(own=False), Loop(own=True)], ids=["stack", "cell", "own"])
def test_the_answer_at_a_known_lag_is_found_there(model):
    torch.manual_seed(0)
    x = torch.rand(T, B, 1) + 0.5
    found = context(model, recall(D, x), resets=5)
    assert found.lengths == (1, 2, 3, 4, 6, 8, 12, 16, 24, 30)
    assert found.used == 8, "the first of these lengths that holds all seven"
    assert found.excess[5:] == (0.0,) * 5
    assert (found.resets, found.sequences) == (5, B)


def test_the_excess_is_the_loss_of_the_same_targets_without_their_past():
    torch.manual_seed(0)
    x = torch.rand(T, B, 1)
    found = context(register(D), recall(D, x), resets=2, longest=10)
    for n, excess in zip(found.lengths[:5], found.excess, strict=False):
        lost = [k + n - D for k in (1, T - 10)]  # where the answer was; before the beginning there was none to lose
        truth = [x[i].square().mean().item() if i >= 0 else 0.0 for i in lost]
        assert excess == pytest.approx(sum(truth) / 2, abs=1e-6)


def test_a_model_that_looks_at_nothing_but_the_input_uses_one_step():
    torch.manual_seed(0)
    x = torch.rand(T, B, 1)
    found = context(register(D), recall(1, x))
    assert found.used == 1
    assert found.low[0] == found.high[0] == 0.0


def test_a_record_that_there_is_spares_a_pass_and_is_that_of_the_loss():
    torch.manual_seed(0)
    model, x, calls = register(D), torch.rand(T, B, 1), []

    def loss(m):
        calls.append(m)
        return recall(D, x)(m)

    without = context(model, loss, resets=3)
    trace, before = record(model, loss), len(calls)
    assert context(model, loss, trace=trace, resets=3) == without
    assert len(calls) - before == 3
    with pytest.raises(UsageError, match=rf"this very loss, \({T}, {B}\); its losses are \({T}, 1\)"):
        context(model, loss, trace=record(model, recall(D, x[:, :1])), resets=3)
    for other, said in ((nn.Linear(1, 1), "there is no state"), (Detached(), "carries no gradient to gru")):
        with pytest.raises(NotMeasured, match=said):
            context(other, lambda m: m(x).square().sum(-1), trace=trace)


def test_what_cannot_be_forgotten_is_said():
    x = torch.rand(T, B, 1)
    both = nn.GRU(1, 3, bidirectional=True)
    with pytest.raises(NotMeasured, match=r"cannot be taken from gru.l0.reverse"):
        context(both, lambda m: m(x)[0].square().sum(-1))
    with pytest.raises(NotMeasured, match="one number"):
        context(nn.GRU(1, 3), lambda m: m(x)[0].square().mean())
    with pytest.raises(UsageError, match="from 1 to 59 steps, got 60"):
        context(nn.GRU(1, 3), lambda m: m(x)[0].square().sum(-1), longest=60)
