"""What the tests of watching share: models and batches as others write them, and the truth to hold a reach against."""

import math
import random

import torch
from torch import nn
from torch.nn import functional as F

from retrograd.experiments.watching import watch
from retrograd.measures import reach
from retrograd.trace import record

V, H, B, T = 13, 8, 5, 12
ALWAYS = {"every": 1, "share": 1e9}  # measure every step, whatever it takes


def batch(seed=0, *, steps=T, rows=B):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(V, (steps, rows), generator=g), torch.randint(V, (steps, rows), generator=g)


class Model(nn.Module):
    """A language model as others write it, in each of the ways that they hand on and hand out."""

    def __init__(self, *, batch_first=False, flat=False, kind=nn.LSTM, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.recurrent = kind(H, H, num_layers=2, dropout=dropout, batch_first=batch_first)
        self.head = nn.Linear(H, V)
        self.flat = flat

    def forward(self, x, state=None):
        y, state = self.recurrent(self.embedding(x), state)
        y = self.head(y)
        return (y.flatten(0, 1) if self.flat else y), state


def cross_entropy(logits, y, **options):
    return F.cross_entropy(logits.reshape(-1, V), y.reshape(-1), **options)


def apart(logits, y):
    """The loss of each step and sequence, (T, B), which add up to the mean."""
    return cross_entropy(logits, y, reduction="none").view_as(y) / y.numel()


def each(x, y):
    return lambda m: apart(m(x)[0], y)


def step(w, loss):
    loss.backward()
    w.step(loss)


def carried(model, out, watched):
    """Truncated training with a carried state and dropout."""
    torch.manual_seed(1)
    optimizer, state = torch.optim.Adam(model.parameters(), 0.01), None
    w = watch(model, every=2, share=1e9, out=out, clip_norm=0.1, optimizer=optimizer) if watched else None
    for i in range(7):
        x, y = batch(i)
        logits, state = model(x, state)
        state = tuple(s.detach() for s in state)
        loss = cross_entropy(logits, y)
        loss.backward()
        if w:
            w.step(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    if w:
        w.close()
    return [*model.state_dict().values(), *state, torch.get_rng_state(), torch.rand(3)], w


def truth(model, loss, seed):
    """The reach under the true loss of each step, from the random state that the forward had."""

    def seeded(m):
        torch.set_rng_state(seed)
        return loss(m)

    return reach(record(model, seeded))


def same_reach(found, wanted, *, tolerance=1e-5):
    a, b = found.log_norms, wanted.log_norms
    assert a.shape == b.shape
    assert found.anchors == wanted.anchors
    assert torch.equal(a == -math.inf, b == -math.inf)
    some = b > -math.inf
    assert (a[some] - b[some]).abs().max() < tolerance


class Awkward(nn.Module):
    """Keeps its state to itself, has running means, draws from every generator, writes to a buffer."""

    def __init__(self):
        super().__init__()
        self.norm, self.recurrent, self.head = nn.BatchNorm1d(V), nn.GRU(V, H, 2, dropout=0.3), nn.Linear(H, V)
        self.register_buffer("seen", torch.zeros(()))
        self.state, self.calls = None, 0

    def forward(self, x):
        x = self.norm(F.one_hot(x, V).float().transpose(1, 2)).transpose(1, 2)
        y, state = self.recurrent(x, self.state)
        self.state, self.calls = state.detach(), self.calls + 1
        self.seen += 1
        return self.head(F.dropout(y, 0.2, self.training)) * (1 + random.random()) / self.seen


class Last(nn.Module):
    """One answer a sequence, of as many classes as there are steps."""

    def __init__(self, **options):
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(V, H), nn.RNN(H, H, **options), nn.Linear(H, T)

    def forward(self, x):
        return self.head(self.recurrent(self.embedding(x))[0][-1])
