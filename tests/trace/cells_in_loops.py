"""Cells as people write them, and the loop that calls one once a step."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trace.probing import unmarked

X, H, B, T = 3, 4, 2, 6


def inputs(*shape, dtype=torch.float64):
    return torch.randn(*(shape or (T, B, X)), dtype=dtype)


def step_losses(outputs):
    """(T, B), of (T, B, ...): other from step to step, and not linear."""
    flat = outputs.flatten(2)
    return (flat @ torch.linspace(-1, 1, flat.shape[-1], dtype=flat.dtype) - 0.3).square()


class Holder(nn.Module):
    """A model that is more than its cell."""

    def __init__(self, cell, *, head=None, **parts):
        super().__init__()
        self.cell = cell
        self.head = head or nn.Identity()
        for name, part in parts.items():
            setattr(self, name, part)


NORM = nn.LayerNorm(H, elementwise_affine=False)
BETWEEN = {
    "nothing": lambda h, t: h,
    "mask": lambda h, t: h * torch.tensor([1.0, float(t != 3)], dtype=h.dtype)[:, None],
    "clone": lambda h, t: h.clone(),
    "layer norm": lambda h, t: NORM(h),
    "dropout": lambda h, t: F.dropout(h, 0.3),
}


class Plain(nn.Module):
    """(x, h) -> h"""

    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(X, H), nn.Linear(H, H, bias=False)

    def forward(self, x, h):
        return torch.tanh(self.W(x) + self.U(h))


class Peephole(Plain):
    """(x, (h, c)) -> h, (h, c)"""

    def step(self, x, h, c):
        c = torch.sigmoid(self.W(x) + c) * c + torch.tanh(self.U(h))
        return torch.tanh(c) * torch.sigmoid(self.W(x)), c

    def forward(self, x, state):
        h, c = self.step(x, *state)
        return h, (h, c)


class Three(Peephole):
    """(x, h, c) -> (h, c)"""

    def forward(self, x, h, c):
        return self.step(x, h, c)


class ReadOut(Peephole):
    """(x, state) -> out, state: what it puts out is not its state, but made from that and from the state before."""

    def __init__(self, parts=1):
        super().__init__()
        self.out, self.parts, self.mark = nn.Linear(3 * H, 5), parts, unmarked

    def forward(self, x, *state):
        new = self.mark(*self.step(x, *state)) if self.parts > 1 else (self.mark(Plain.forward(self, x, *state)),)
        return torch.sigmoid(self.out(torch.cat([new[0], new[-1], state[0]], -1))), *new


class Keyword(Plain):
    """(x, *, state=h) -> h"""

    def forward(self, x, *, state):
        return super().forward(x, state)


class InDict(Peephole):
    """{"x", "state"} -> {"out", "state"}"""

    def forward(self, given):
        h, c = self.step(given["x"], *given["state"])
        return {"out": h, "state": [h, c]}


class Sums(nn.Linear):
    """All steps at once: no state is to be seen."""

    def forward(self, x):
        return super().forward(x).cumsum(0)


def plain(m, x, state):
    h = m.cell(x, state[0])
    return h, (h,)


def peephole(m, x, state):
    return m.cell(x, state)


def three(m, x, state):
    state = m.cell(x, *state)
    return state[0], state


def read_out(m, x, state):
    out, *state = m.cell(x, *state)
    return out, tuple(state)


def keyword(m, x, state):
    h = m.cell(x=x, state=state[0])
    return h, (h,)


def in_dict(m, x, state):
    found = m.cell({"x": x, "state": list(state)})
    return found["out"], tuple(found["state"])


FORMS = {  # the cell, how it is called, and how many tensors its state is
    "x and h": (Plain, plain, 1),
    "a pair in and out": (Peephole, peephole, 2),
    "three arguments": (Three, three, 2),
    "output and state apart": (ReadOut, read_out, 1),
    "output and two states apart": (lambda: ReadOut(2), read_out, 2),
    "a keyword": (Keyword, keyword, 1),
    "a dictionary": (InDict, in_dict, 2),
}


def from_nothing(x):
    """The losses of a loop that gives its cell no first state."""

    def loss(m, mark=unmarked):
        h, outputs = None, []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    return loss


def looped(step, x, start):
    """The losses of a loop over `step`; what it puts out besides its state is used, and so is the state."""

    def loss(m, mark=unmarked):
        state, outputs = mark(*start), []
        m.cell.mark = mark
        for x_t in x:
            out, state = step(m, x_t, state if isinstance(state, tuple | list) else (state,))
            if not isinstance(m.cell, ReadOut):
                state = mark(*state)
                out = state[0] if isinstance(state, tuple | list) else state
            outputs.append(m.head(out))
        m.cell.mark = unmarked
        return step_losses(torch.stack(outputs))

    return loss


class Residual(nn.Module):
    """Around an nn.GRUCell, whose state it mixes with the one before."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRUCell(X, H)

    def forward(self, x, h):
        return 0.3 * h + 0.7 * self.gru(x, h)


class PassesOn(Residual):
    """Around an nn.GRUCell, whose state it hands on as it is."""

    def forward(self, x, h):
        return self.gru(2 * x, h)


KINDS = {"torch's": lambda: nn.GRUCell(X, H), "own": Plain}
both = pytest.mark.parametrize("cell", KINDS)
START = torch.linspace(-1, 1, B * H).view(B, H).double()


def stepping(x, change=lambda m, h, t: h):
    """The losses of a loop that changes its state h, `change(m, h, t)`, between two steps."""

    def loss(m, mark=unmarked):
        h, outputs = mark(START.to(x.dtype, copy=True)), []
        for t, x_t in enumerate(x):
            h = change(m, mark(m.cell(x_t, h)), t)
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    return loss
