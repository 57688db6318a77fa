"""Cells whose state is named by their user: kept in an attribute, or returned where it cannot be told.

Against zeros added by hand. Tolerance: 1e-9 where all is float64; 1e-4 where the model is of float32.
"""

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured, UsageError
from retrograd.trace import record, register
from tests.trace.cells_in_loops import B, H, Holder, Peephole, Plain, T, X, inputs, looped, plain, step_losses
from tests.trace.probing import EXACT, Probes, check, unmarked


class Keeps(Plain):
    """x -> h, kept in self.h"""

    def __init__(self):
        super().__init__()
        self.h = None

    def forward(self, x):
        h = x.new_zeros(len(x), H) if self.h is None else self.h
        self.h = super().forward(x, h)
        return self.h


def kept(x, start=None, name="h"):
    def loss(m, mark=unmarked):
        setattr(m.cell, name, start if start is None else mark(start))
        outputs = []
        for x_t in x:
            m.cell(x_t)
            setattr(m.cell, name, mark(getattr(m.cell, name)))
            outputs.append(getattr(m.cell, name))
        setattr(m.cell, name, None)
        return step_losses(torch.stack(outputs))

    return loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("started", [True, False])
def test_a_registered_cell_keeps_its_state_in_an_attribute(dtype, started):
    register(Keeps, state="h")
    start = inputs(B, H, dtype=dtype) if started else None
    tolerance = EXACT if dtype == torch.float64 else 1e-4
    trace = check(Holder(Keeps()).to(dtype), kept(inputs(dtype=dtype), start), Probes(), tolerance=tolerance)
    assert not trace.notes
    assert trace.layers[0].first == int(not started)


def test_a_registered_cell_may_be_given_integers():
    class Reads(Keeps):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, X)

        def forward(self, token):
            return super().forward(self.embedding(token))

    register(Reads, state="h")
    check(Holder(Reads()).double(), kept(torch.randint(9, (T, B)), inputs(B, H)), Probes())


def test_a_registered_state_may_be_a_buffer_that_is_written_to_in_place():
    class Buffered(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", torch.zeros(B, H))

        def forward(self, x):
            new = super().forward(x, self.h)
            self.h = self.h.clone()
            self.h.mul_(0.5).add_(new)
            return self.h

    def loss(m, mark=unmarked):
        m.cell.h = mark(start)
        outputs = []
        for x_t in x:
            m.cell(x_t)
            m.cell.h = mark(m.cell.h)
            outputs.append(m.cell.h)
        m.cell.h = start
        return step_losses(torch.stack(outputs))

    register(Buffered, state="h")
    x, start = inputs(), inputs(B, H)
    check(Holder(Buffered()).double(), loss, Probes())


def test_a_registered_cell_says_where_it_returns_its_state():
    class Mixed(Peephole):
        """(x, h, c) -> c, something, h, and every state is new each time it is handed on"""

        def forward(self, x, h, c):
            h, c = self.step(x, h, c)
            return c, x.sum(), h

    def mixed(m, x, state):
        c, _, h = m.cell(x, *state)
        return h, (h, c)

    start = inputs(B, H), inputs(B, H)
    register(Mixed, state="h", returns=2)
    register(Mixed, state=("h", "c"), returns=(2, 0))  # the later word holds
    (layer,) = check(Holder(Mixed()).double(), looped(mixed, inputs(), start), Probes()).layers
    assert layer.states.shape == (T + 1, B, 2 * H)

    class Younger(Mixed):
        pass

    (layer,) = check(Holder(Younger()).double(), looped(mixed, inputs(), start), Probes()).layers
    assert layer.kind == "Younger"


def test_a_registered_state_that_is_not_there_is_refused():
    register(Keeps, state="memory")
    with pytest.raises(NotMeasured, match="memory"):
        record(Holder(Keeps()), kept(inputs(dtype=torch.float32)))


def test_a_state_that_is_kept_inside_is_named_or_it_is_not_seen():
    def loss(m):
        m.cell.h = None
        return torch.stack([m.cell(x_t) for x_t in x]).square().sum(-1)

    x = inputs(dtype=torch.float32)
    scalar = Holder(Keeps())
    with pytest.raises(NotMeasured, match=r"rg.register\(MyCell, state=...\)"):
        record(scalar, lambda m: loss(m).sum())
    register(Keeps, state="h")
    assert [layer.name for layer in record(Holder(Keeps()), loss).layers] == ["cell"]


def test_a_place_in_what_is_no_tuple_is_told():
    x = inputs()
    alone = register(type("Alone", (Plain,), {}), state="h", returns=0)  # it returns its state, and no tuple
    with pytest.raises(NotMeasured, match="no tensor of its state is in what it returns"):
        record(Holder(alone()).double(), looped(plain, x, (inputs(B, H),)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((Plain(), {"state": "h"}), "Expected the class of a cell"),
        ((Plain, {"state": ()}), "name of a parameter or an attribute"),
        ((Plain, {"state": "not a name"}), "name of a parameter or an attribute"),
        ((Plain, {"state": ("h", "memory")}), "all of h, memory must be among them"),
        ((Plain, {"state": "h", "returns": (0, 1)}), "1 states need as many places"),
        ((Keeps, {"state": "h", "returns": 0}), "1 states need as many places"),
    ],
)
def test_what_cannot_be_registered_is_refused(arguments, says):
    cell, options = arguments
    with pytest.raises(UsageError, match=says):
        register(cell, **options)
