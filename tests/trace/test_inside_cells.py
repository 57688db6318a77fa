"""What a cell of somebody's own does inside: draws numbers, drops weights, keeps things, cannot run in float64, raises.

Against zeros added by hand. Tolerance: 1e-9 where all is float64; 1e-4 where the model is of float32.
"""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrograd.trace import record
from tests.trace.cells_in_loops import B, H, Holder, Plain, Residual, X, inputs, looped, plain, step_losses
from tests.trace.probing import EXACT, Probes, check, ran, unmarked


def test_zoneout_and_dropout_inside_a_cell_are_drawn_as_the_cell_draws_them():
    class Zoneout(Residual):
        def forward(self, x, h):
            new = F.dropout(self.gru(x, h), 0.3, self.training)
            keep = torch.rand_like(h) < 0.3
            return torch.where(keep, h, new)

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        model = Holder(Zoneout()).to(dtype).train()
        check(model, looped(plain, inputs(dtype=dtype), (inputs(B, H, dtype=dtype),)), Probes(), tolerance=tolerance)


def test_noise_is_drawn_as_the_cell_draws_it():
    class Noisy(Plain):
        def forward(self, x, h):
            h = h + 0.3 * torch.randn_like(h) + torch.empty_like(h).uniform_() + torch.rand(len(h), 1)
            keep = torch.empty_like(h).bernoulli_(0.8) * torch.bernoulli(h.sigmoid())
            return super().forward(x, keep * F.dropout(h, 0.2) + torch.normal(torch.zeros_like(h), 1.0))

    x, start = inputs(dtype=torch.float32), (torch.randn(B, H),)
    assert not check(Holder(Noisy()), looped(plain, x, start), Probes(), tolerance=1e-4).notes


def test_noise_that_float64_would_change_is_left_in_the_cells_own_precision_and_it_is_said():
    class Starts(Plain):
        def forward(self, x, h):
            return super().forward(x, h + nn.init.uniform_(torch.empty_like(h)))

    x, start = inputs(dtype=torch.float32), (torch.randn(B, H),)
    trace = check(Holder(Starts()), looped(plain, x, start), Probes(), tolerance=1e-4)
    (note,) = trace.notes
    assert "it draws other random numbers in it" in note


def test_weights_that_are_dropped_anew_at_each_call_are_those_of_that_call():
    class Dropped(Plain):
        """As weight-drop does it: the weight is made from a parameter before each step."""

        def __init__(self):
            super().__init__()
            self.raw = nn.Parameter(self.U.weight.detach().clone())
            del self.U.weight

        def forward(self, x, h):
            self.U.weight = F.dropout(self.raw, 0.3, self.training)
            return super().forward(x, h)

    class Outside(nn.Module):
        """The same on a torch cell, by the model and with the mask of each step."""

        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(X, H), nn.Identity()
            self.raw = nn.Parameter(self.cell.weight_hh.detach().clone())
            del self.cell.weight_hh

    def outside(m, x, state):
        m.cell.weight_hh = F.dropout(m.raw, 0.3)
        return plain(m, x, state)

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        x, start = inputs(dtype=dtype), (inputs(B, H, dtype=dtype),)
        trace = check(Holder(Dropped()).to(dtype).train(), looped(plain, x, start), Probes(), tolerance=tolerance)
        assert not trace.notes
        check(Outside().to(dtype), looped(outside, x, start), Probes(), tolerance=tolerance)


def test_what_is_set_on_a_cell_before_the_loop_is_what_it_runs_with():
    """A mask for all steps of a sequence, and the outputs of an encoder, whose gradient comes back through them."""

    class Attends(Plain):
        mask, memory = None, None

        def forward(self, x, h):
            scores = torch.einsum("tbh,bh->tb", self.memory[0], h).softmax(0)
            return super().forward(x, h * self.mask + torch.einsum("tb,tbh->bh", scores, self.memory[0]))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.cell = nn.GRU(X, H), Attends()

    def loss(m, encoder=unmarked, mark=unmarked):
        outs, _ = ran(m.encoder, x, inner[None], encoder)
        m.cell.memory = [outs]
        m.cell.mask = F.dropout(torch.ones(B, H, dtype=x.dtype), 0.5)
        h, outputs = mark(start), []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        x, inner, start = inputs(dtype=dtype), inputs(B, H, dtype=dtype), inputs(B, H, dtype=dtype)
        assert not check(Model().to(dtype), loss, Probes(), Probes(), tolerance=tolerance).notes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_a_cell_keeps_from_step_to_step_is_kept_while_it_is_recorded(dtype):
    """A mean that it sets, one that it writes to, what it has seen, and what it makes at its first step."""

    class Remembers(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(H))
            self.slow, self.seen, self.scales, self.steps = torch.zeros(H), [], {"x": torch.ones(1)}, 0

        def forward(self, x, h):
            if self.steps == 0:
                self.made = torch.full((H,), 0.1, dtype=x.dtype)
            self.steps += 1
            new = super().forward(self.scales["x"] * x, h + self.slow + self.mean + self.made)
            self.slow = (0.5 * self.slow + 0.1 * new.mean(0)).to(x.dtype)
            self.mean.mul_(0.5).add_(new.detach().mean(0))
            self.seen.append(new)
            self.scales["x"] = self.scales["x"] * 0.9
            return new + 0.1 * self.seen[0] + 0.01 * self.steps

    x, start = inputs(dtype=dtype), (inputs(B, H, dtype=dtype),)
    model = Holder(Remembers()).to(dtype)
    model.cell.slow, model.cell.scales["x"] = model.cell.slow.to(dtype), model.cell.scales["x"].to(dtype)
    seen, scales, mean = model.cell.seen, model.cell.scales, model.cell.mean
    trace = record(model, looped(plain, x, start))
    assert (model.cell.seen, model.cell.steps, "made" in vars(model.cell)) == ([], 0, False)
    assert model.cell.seen is seen
    assert model.cell.scales is scales
    assert model.cell.mean is mean
    assert scales["x"].item() == 1
    assert not mean.any()
    own = looped(plain, x, start)(model)
    torch.testing.assert_close(trace.losses, own, rtol=EXACT if dtype == torch.float64 else 1e-4, atol=1e-5)
    assert not trace.notes


def test_a_cell_that_cannot_run_in_float64_runs_in_its_own_precision_and_it_is_said():
    class Single(Plain):
        def forward(self, x, h):
            x = F.dropout(x, 0.2)  # drawn before it fails
            h = torch.from_numpy(h.detach().numpy().astype("float32") * 0 + 1) * h
            assert h.dtype is torch.float32, "compiled for float32"
            return super().forward(x, h)

    for start in ((torch.randn(B, H),), (torch.zeros(B, H),)):
        model = Holder(Single())
        trace = check(model, looped(plain, inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
        (note,) = trace.notes
        assert note.startswith("cell does not run in float64 (compiled for float32)")
        assert "its own precision" in note


def test_a_cell_that_raises_raises_what_it_raises():
    class Raises(Plain):
        def forward(self, x, h):
            if x is not None and getattr(self, "calls", 0) > 2:
                raise KeyError("half-way")
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x, h)

    model = Holder(Raises())
    forward = nn.LSTM.forward
    with pytest.raises(KeyError, match="half-way"):
        record(model, looped(plain, inputs(dtype=torch.float32), (torch.randn(B, H),)))
    assert nn.LSTM.forward is forward
    assert "calls" not in vars(model.cell)
    assert "forward" not in vars(model.cell)


def test_a_recording_lets_go_of_the_model():

    model = Holder(Plain()).double()
    trace = record(model, looped(plain, inputs(), (inputs(B, H),)))
    seen = weakref.ref(model.cell)
    del trace, model
    gc.collect()
    assert seen() is None
