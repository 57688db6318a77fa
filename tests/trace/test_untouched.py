"""Recording leaves no trace of itself: training goes on as if it had not happened, bit for bit."""

import random

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM
from retrograd.measures import horizon, reach, saturation
from retrograd.trace import record

V, H, B, T = 11, 8, 4, 12


class Model(nn.Module):
    """Everything that could be disturbed: dropout, running means, a kept state, a list that grows, a hook."""

    def __init__(self, recurrent):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(V, H), nn.BatchNorm1d(H)
        self.recurrent, self.head = recurrent, nn.Linear(H, V)
        self.state, self.seen, self.calls = None, [], 0
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x):
        y = F.dropout(self.norm(self.embedding(x).permute(1, 2, 0)).permute(2, 0, 1), 0.2, self.training)
        y, state = self.recurrent(y, self.state)
        self.state = tuple(s.detach() for s in state)
        self.seen.append(len(x))
        self.calls += 1
        self.total += y.detach().sum()
        return self.head(y + random.random() + numpy.random.rand())


RECURRENT = {
    "fused": lambda: nn.LSTM(H, H, num_layers=2, dropout=0.3),
    "stack": lambda: Stack([LSTM(H, H), GRU(H, H)], dropout=0.3),
}


def step_losses(model, x):
    return F.cross_entropy(model(x[:-1]).flatten(0, 1), x[1:].flatten(), reduction="none").view(T - 1, B)


def trained(kind, *, measured):
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    model = Model(RECURRENT[kind]())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randint(V, (T, B))
    for _ in range(3):
        optimizer.zero_grad()
        step_losses(model, x).mean().backward()
        if measured:
            look(model, x)
        optimizer.step()
        if measured:
            look(model, x)
    return model


def look(model, x):
    trace = record(model, lambda m: step_losses(m, x))
    horizon(reach(trace))
    saturation(trace)
    assert trace.layers[0].total.isfinite().all()


def everything(model):
    kept = {f"state {i}": s for i, s in enumerate(model.state)}
    gradients = {f"gradient {name}": p.grad for name, p in model.named_parameters()}
    return {**model.state_dict(), **gradients, **kept}


@pytest.mark.parametrize("kind", RECURRENT)
def test_training_with_measuring_between_the_steps_is_the_same_to_the_last_bit(kind):
    plain, watched = trained(kind, measured=False), trained(kind, measured=True)
    for (name, truth), mine in zip(everything(plain).items(), everything(watched).values(), strict=True):
        assert torch.equal(mine, truth), name
    assert (watched.calls, watched.seen) == (plain.calls, plain.seen) == (3, [T - 1] * 3)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("kind", RECURRENT)
def test_attributes_hooks_mode_and_random_state_are_as_found(kind, raises):
    model, x = trained(kind, measured=False), torch.randint(V, (T, B))
    model.recurrent.eval()
    handle = model.recurrent.register_forward_hook(lambda *_: None)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    inner = {name: dict(module._buffers) for name, module in model.named_modules()}
    values = {name: tensor.clone() for name, tensor in everything(model).items()}
    generators = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()

    def loss(m):
        losses = step_losses(m, x)
        m.train()
        m.extra = torch.rand(3)
        if raises:
            raise KeyError("in the middle")
        return losses

    if raises:
        with pytest.raises(KeyError):
            record(model, loss)
    else:
        record(model, loss)
    for name, module in model.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert all(vars(module)[key] is value for key, value in before[name].items())
        assert all(module._buffers[key] is value for key, value in inner[name].items())
    assert all(torch.equal(tensor, values[name]) for name, tensor in everything(model).items())
    assert len(model.recurrent._forward_hooks) == 1
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert numpy.random.get_state()[1].tolist() == generators[2]
    handle.remove()


def test_a_forward_hook_on_the_module_is_called_as_ever():
    module, calls = nn.GRU(3, 5), []
    module.register_forward_hook(lambda _, inputs, outputs: calls.append(outputs[0].shape))
    record(module, lambda m: m(torch.zeros(6, 2, 3))[0].sum())
    assert calls == [(6, 2, 5)]


def test_the_denormal_mode_of_training_is_restored():
    from retrograd.bptt.denormals import denormals_are_flushed, flush_denormals

    with flush_denormals(True):
        trace = record(nn.GRU(3, 5), lambda m: m(torch.randn(6, 2, 3))[0].sum(-1))
        trace.gradients(6)
        assert denormals_are_flushed()
