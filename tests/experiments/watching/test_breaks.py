"""The first number of a training that is not finite, found where it was planted."""

import math

import pytest
import torch
from torch import nn

from retrograd.experiments.watching import watch
from tests.experiments.watching.loops import B, H, Last, Model, T, V, batch, cross_entropy, step


class Divides(nn.Module):
    def forward(self, x):
        return x / x.abs().amax(-1, keepdim=True)


class Breakable(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.safe = nn.Embedding(V, H), Divides()
        self.recurrent, self.head = nn.LSTM(H, H, 2), nn.Linear(H, V)
        self.scale = 1.0

    def forward(self, x, extra=0.0):
        return self.head(self.recurrent(self.safe(self.embedding(x)) + extra)[0]) * self.scale


def argument(model, x):
    extra = torch.zeros(T, B, 1)
    extra[6, 2] = math.nan
    return model(x, extra=extra)


def gate(model, x):
    with torch.no_grad():
        model.recurrent.weight_hh_l1[H + 3, 0] = math.inf
        model.recurrent.bias_ih_l1[:H] = 50.0
    return model(x)


def module(model, x):
    with torch.no_grad():
        model.embedding.weight[x[4, 1]] = 0.0  # 0 / 0
    return model(x)


def head(model, x):
    with torch.no_grad():
        model.head.bias[7] = math.inf
    return model(x)


def derivative(model, x):
    y = model(x)
    y = y.clone()
    y[8, 3, 1] = (y[8, 3, 1] - y[8, 3, 1].detach()).abs().sqrt()
    return y


def logarithm(model, x):
    y = model(x)
    return y.index_put((torch.tensor(3), torch.tensor(4)), torch.tensor(math.inf), accumulate=True)


PLACES = {
    argument: ("argument", "Breakable (extra)", 7, 2, None),
    gate: ("gate", "recurrent.l1", 1, 0, "f"),
    module: ("output", "safe", 5, 1, None),
    head: ("output", "head", 1, 0, None),
    derivative: ("loss", None, 9, 3, None),
    logarithm: ("loss", None, 4, 4, None),
}


def break_at(model, how, w, *, at=3):
    for i in range(at):
        x, y = batch(i, steps=T)
        if how is module:
            x = torch.arange(T * B).view(T, B) % 3 + 1
            x[4, 1] = 9
        logits = how(model, x) if i == at - 1 else model(x)
        step(w, cross_entropy(logits, y))
        model.zero_grad()


@pytest.mark.parametrize("how", PLACES)
def test_the_first_number_that_is_not_finite_is_found_where_it_was_planted(how):
    torch.manual_seed(0)
    model = Breakable()
    with watch(model, every=100) as w:
        break_at(model, how, w)
        break_at(model, how, w, at=1)  # a later one is not the first
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.sequence, place.gate) == PLACES[how]
    assert w.broken.step == 3
    assert w.broken.what == ("gradient" if how is derivative else "loss")
    [finding] = [f for f in w.report.findings if f.code == "non-finite"]
    assert (finding.evidence["training step"], finding.evidence["time"]) == (3, place.step)
    assert [h.details["step"] for h in w.report.happenings if h.name == "not finite"] == [3]
    if how is gate:
        assert w.broken.weights == ("recurrent.weight_hh_l1",)
        assert "not finite before the step: recurrent.weight_hh_l1" in str(w.broken)


def test_where_batch_comes_first_the_time_is_told_all_the_same():
    torch.manual_seed(0)
    model = Model(batch_first=True)
    model.embedding = nn.Sequential(model.embedding, Divides())
    x = torch.arange(T * B).view(B, T) % 3 + 1
    x[3, 7] = 9
    with torch.no_grad():
        model.embedding[0].weight[9] = 0.0
    with watch(model, every=100) as w:
        step(w, cross_entropy(model(x)[0], x))
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.sequence) == ("output", "embedding.1", 8, 3)


def test_what_overflows_in_the_models_own_precision_is_found_at_its_step():
    torch.manual_seed(0)
    model = Last(nonlinearity="relu")
    with torch.no_grad():
        model.recurrent.weight_hh_l0.copy_(1e9 * torch.eye(H))
        model.recurrent.weight_ih_l0.fill_(1.0)
        model.embedding.weight.fill_(1.0)
    with watch(model) as w:
        step(w, model(batch()[0]).square().mean())
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.value) == ("state", "recurrent.l0", 6, math.inf)  # 8e9^5 > 3e38
