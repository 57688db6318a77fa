"""Which modules are taken for cells, and which are not."""

from collections import namedtuple
from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrograd.trace import cells_of, record
from tests.trace.cells_in_loops import Holder
from tests.trace.probing import Probes, check, unmarked

X, H, B, T = 4, 4, 3, 5  # as many inputs as units: nothing is told by its shape


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.W, self.U, self.act = nn.Linear(X, H), nn.Linear(H, H), nn.Tanh()

    def forward(self, x, h):
        return self.act(self.W(x) + self.U(h))


class Block(nn.Module):
    """What is put between, below or above the steps; it returns what has the shape of a state."""

    def __init__(self, of_two=False):
        super().__init__()
        self.f = nn.Linear(2 * H if of_two else H, H)

    def forward(self, *x):
        return torch.relu(self.f(torch.cat(x, -1)))


class Attention(nn.Module):
    def forward(self, query, memory):
        return torch.einsum("tb,tbh->bh", torch.einsum("tbh,bh->tb", memory, query).softmax(0), memory)


def found(model, loss):
    names = {module: name for name, module in model.named_modules()}
    return sorted(names[module] for module in cells_of(model, loss))


def over(step, *, steps=T):
    """The losses of a loop over `step(m, x, h, hs)`, which gives the next state."""
    x = torch.randn(steps, B, X)

    def loss(m):
        h, hs = torch.zeros(B, H), []
        for x_t in x:
            h = step(m, x_t, h, hs)
            hs.append(h)
        return torch.stack(hs).square().sum(-1)

    return loss


MEMORY = torch.randn(7, B, H)
LOOPS = {  # the parts beside the cell, and the step
    "nothing": ({}, lambda m, x, h, hs: m.cell(x, h)),
    "a block below": ({"block": Block()}, lambda m, x, h, hs: m.cell(m.block(x), h)),
    "a block above": ({"block": Block()}, lambda m, x, h, hs: hs.append(m.block(h)) or m.cell(x, h)),
    "a block between": ({"block": Block()}, lambda m, x, h, hs: m.cell(x, m.block(h))),
    "a block that gates": ({"block": Block(True)}, lambda m, x, h, hs: m.block(m.cell(x, h), x)),
    "a sequential": ({"block": nn.Sequential(Block(), Block())}, lambda m, x, h, hs: m.cell(x, m.block(h))),
    "a residual": ({"block": Block()}, lambda m, x, h, hs: h + m.block(m.cell(x, h))),
    "attention to an encoder": (
        {"attention": Attention()},
        lambda m, x, h, hs: m.cell(x + m.attention(h, MEMORY), h),
    ),
    "attention to all before": (
        {"attention": Attention()},
        lambda m, x, h, hs: m.cell(x + m.attention(h, torch.stack([*hs, h])), h),
    ),
    "attention, and a mask": (
        {"attention": Attention()},
        lambda m, x, h, hs: m.cell(x + m.attention(h, torch.stack([*hs, h])), h * (x[:, :1] > 0)),
    ),
    "its own output as input": ({"block": Block()}, lambda m, x, h, hs: m.cell(m.block(h), h)),
    "a norm of somebody's own": ({"block": Block()}, lambda m, x, h, hs: m.cell(x, m.block(h) * 0.5 + 0.5 * h)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_of_what_goes_round_in_a_loop_the_cell_alone_is_found(name):
    parts, step = LOOPS[name]
    assert found(Holder(Cell(), **parts), over(step)) == ["cell"]
    torchs = Holder(nn.GRUCell(X, H), **parts)
    assert found(torchs, over(step)) == []
    assert {layer.name for layer in record(torchs, over(step)).layers} == {"cell.l0"}


def deep(m, x):
    for _ in range(T):
        x = m.block(x)
    return x


def constant(m, x):
    h = torch.zeros(B, H)
    for _ in range(T):
        h = m.block(x[0], h)
    return h[None]


def each(m, x):
    return torch.stack([m.block(x_t) for x_t in x])


def each_of_two(m, x):
    return torch.stack([m.block(x_t, y_t) for x_t, y_t in zip(x, x.flip(0), strict=True)])


def twice(m, x):
    return m.block(torch.tanh(m.block(x, x)), x)


NO_LOOPS = {
    "a block applied in depth": (Block(), deep),
    "a block applied again to the same": (Block(True), constant),
    "a block at each step": (Block(), each),
    "a block of two at each step": (Block(True), each_of_two),
    "a block above itself": (Block(True), twice),
}


@pytest.mark.parametrize("name", NO_LOOPS)
def test_what_is_called_again_and_again_without_a_state_is_no_cell(name):
    block, called = NO_LOOPS[name]
    model, x = Holder(nn.GRU(X, H), block=block), torch.randn(T, B, X)
    assert found(model, lambda m: called(m, m.cell(x)[0]).square().sum()) == []


def test_a_cell_that_ends_in_a_module_of_torchs_is_a_cell():
    class Normed(Cell):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(H)

        def forward(self, x, h):
            return self.norm(super().forward(x, h))

    for cell in (Cell(), Normed()):
        assert found(Holder(cell), over(lambda m, x, h, hs: m.cell(x, h))) == ["cell"]


@dataclass
class State:
    h: torch.Tensor
    c: torch.Tensor
    steps: int = 0


Named = namedtuple("Named", ["h", "c"])


@pytest.mark.parametrize("kind", [State, Named, lambda h, c: [h, c], lambda h, c: {"h": h, "c": c}])
def test_a_state_may_be_in_any_container(kind):
    class Pair(Cell):
        def forward(self, x, s):
            h, c = s.values() if isinstance(s, dict) else (s.h, s.c) if not isinstance(s, list) else s
            return kind(super().forward(x, h) + 0.1 * c, 0.5 * c + h)

    def loss(m, mark=unmarked):
        s, outputs = kind(*mark(*start)), []
        for x_t in x:
            s = m.cell(x_t, s)
            h, c = s.values() if isinstance(s, dict) else (s.h, s.c) if not isinstance(s, list) else s
            if mark is not unmarked:
                h, c = mark(h, c)
                s = kind(h, c)
            outputs.append(h)
        return torch.stack(outputs).square().sum(-1)

    x, start = torch.randn(T, B, X).double(), (torch.randn(B, H).double(), torch.randn(B, H).double())
    (layer,) = check(Holder(Pair()).double(), loss, Probes()).layers
    assert layer.states.shape == (T + 1, B, 2 * H)


def test_a_cell_that_is_called_by_a_cell_is_part_of_it():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = Cell(), nn.GRUCell(H, H)

        def forward(self, x, state):
            h = self.below(x, state[0])
            return torch.stack([h, self.above(h, state[1])])

    def loss(m):
        state, outputs = torch.zeros(2, B, H), []
        for x_t in x:
            state = m.cell(x_t, state)
            outputs.append(state[1])
        return torch.stack(outputs).square().sum(-1)

    x = torch.randn(T, B, X)
    model = Holder(Outer())
    assert found(model, loss) == ["cell"]
    assert [layer.name for layer in record(model, loss).layers] == ["cell"]


def test_a_stateful_head_does_not_hide_a_cell():
    """A module that counts its calls, and one that raises the first time."""

    class Head(nn.Module):
        calls = 0

        def forward(self, h):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("not yet")
            return F.relu(h)

    def step(m, x, h, hs):
        with suppress(ValueError):
            m.head(h)
        return m.cell(x, h)

    assert found(Holder(Cell(), head=Head()), over(step)) == ["cell"]


def test_a_model_that_only_wraps_torchs_modules_is_not_called_once_more():
    class Wraps(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(X, H)

        def forward(self, x):
            return self.rnn(x)[0]

    calls = []
    x = torch.randn(T, B, X)
    record(Wraps(), lambda m: calls.append(1) or m(x).square().sum(-1))
    assert len(calls) == 1
