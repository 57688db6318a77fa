"""Cells called once a step in a Python loop: torch's and somebody's own, against zeros added by hand.

Tolerance: 1e-9 where all is float64; 1e-4 where a float32 model lies around the steps.
"""

import pytest
import torch
from torch import nn

from retrograd.trace import record
from tests.trace.cells_in_loops import (
    BETWEEN,
    FORMS,
    B,
    H,
    Holder,
    PassesOn,
    Peephole,
    Plain,
    ReadOut,
    Residual,
    T,
    X,
    from_nothing,
    inputs,
    looped,
    peephole,
    plain,
    step_losses,
)
from tests.trace.probing import Probes, check, unmarked

CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def stepwise(x, start, between=BETWEEN["nothing"]):
    """The losses of a cell that is given its state, h or (h, c), and the marks of these."""

    def loss(m, mark=unmarked):
        state, outputs = mark(*start), []
        for t, x_t in enumerate(x):
            given = [between(s, t) if t else s for s in (state if len(start) > 1 else (state,))]
            state = m.cell(x_t, unmarked(*given))
            state = mark(*(state if len(start) > 1 else (state,)))
            outputs.append(m.head(state[0] if len(start) > 1 else state))
        return step_losses(torch.stack(outputs))

    return loss


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("between", BETWEEN)
def test_torchs_cells_are_followed_through_what_is_done_to_their_state(kind, between):
    model = Holder(CELLS[kind](X, H), head=nn.Linear(H, 3)).double()
    start = tuple(inputs(B, H) for _ in range(1 + (kind == "lstm")))
    (layer,) = check(model, stepwise(inputs(), start, BETWEEN[between]), Probes()).layers
    assert (layer.name, layer.kind) == ("cell.l0", {"rnn": "Elman", "gru": "GRU", "lstm": "LSTM"}[kind])
    assert layer.cell is not None


def forgetful(model):
    """One whose gradient float32 cannot hold for long."""
    with torch.no_grad():
        for name, p in model.cell.named_parameters():
            p.fill_(-2.0) if "bias" in name else p.mul_(0.05)
    return model


@pytest.mark.parametrize("kind", CELLS)
def test_torchs_cells_in_float32_go_on_in_float64(kind):
    model = Holder(CELLS[kind](X, H))
    start = tuple(inputs(B, H, dtype=torch.float32) for _ in range(1 + (kind == "lstm")))
    check(model, stepwise(inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
    trace = record(forgetful(model), stepwise(inputs(60, B, X, dtype=torch.float32), start))
    assert 0 < trace.gradients(60)[0][0].abs().max() < 1e-45


def test_torchs_cells_take_one_sequence_without_a_batch():
    def loss(m, mark=unmarked):
        state, losses = mark(torch.zeros(H).double(), torch.ones(H).double()), []
        for x_t in x:
            state = mark(*m.cell(x_t, state))
            losses.append(state[0].square().sum())
        return torch.stack(losses)

    x = inputs(T, X)
    check(Holder(nn.LSTMCell(X, H)).double(), loss, Probes(batch=None))


def test_a_cell_without_a_first_state_starts_from_zeros():
    check(Holder(nn.GRUCell(X, H)).double(), from_nothing(inputs()), Probes())


# ----------------------------------------------------------------------------------------------- somebody's own


@pytest.mark.parametrize("form", FORMS)
def test_ones_own_cell_is_found_and_followed(form):
    cell, step, parts = FORMS[form]
    start = tuple(inputs(B, H) for _ in range(parts))
    (layer,) = check(Holder(cell()).double(), looped(step, inputs(), start), Probes()).layers
    assert (layer.name, layer.kind, layer.cell, layer.first) == ("cell", type(cell()).__name__, None, 0)
    assert layer.has_memory == (parts > 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", ["mask", "layer norm"])
def test_ones_own_cell_is_followed_through_what_is_done_to_its_state(form, between):
    cell, step, parts = FORMS[form]
    start, clock = tuple(inputs(B, H) for _ in range(parts)), {}

    def changed(m, x, state):
        t = clock["t"] = (clock.get("t", -1) + 1) % T
        return step(m, x, tuple(BETWEEN[between](s, t) if t else s for s in state))

    check(Holder(cell()).double(), looped(changed, inputs(), start), Probes())


@pytest.mark.parametrize("form", ["x and h", "a pair in and out", "output and two states apart"])
def test_ones_own_cell_in_float32_goes_on_in_float64(form):
    cell, step, parts = FORMS[form]
    start = tuple(torch.randn(B, H) for _ in range(parts))
    model = Holder(cell())
    check(model, looped(step, inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
    trace = record(forgetful(model), looped(step, inputs(60, B, X, dtype=torch.float32), start))
    assert not trace.notes
    assert 0 < trace.gradients(60)[0][0].abs().max() < 1e-45


def test_two_cells_above_one_another_are_two_layers_on_one_clock():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = ReadOut(), Peephole()
            self.mix = nn.Linear(5, X)

    def loss(m, below=unmarked, above=unmarked):
        h, s, outputs = below(start[0]), above(*start[1:]), []
        m.below.mark = below
        for x_t in x:
            out, h = m.below(x_t, h)
            out, s = m.above(m.mix(out), s)
            s = above(*s)
            outputs.append(s[0])
        return step_losses(torch.stack(outputs))

    x, start = inputs(), [inputs(B, H) for _ in range(3)]
    trace = check(Two().double(), loss, Probes(), Probes())
    assert [(layer.name, layer.begins) for layer in trace.layers] == [("below", 0), ("above", 0)]


def test_of_a_cell_within_a_cell_the_outer_is_taken_where_the_state_is_its_own():
    (layer,) = check(Holder(Residual()).double(), looped(plain, inputs(), (inputs(B, H),)), Probes()).layers
    assert (layer.name, layer.kind) == ("cell", "Residual")


def test_of_a_cell_within_a_cell_the_inner_is_taken_where_the_outer_hands_its_state_on():
    (layer,) = check(Holder(PassesOn()).double(), looped(plain, inputs(), (inputs(B, H),)), Probes()).layers
    assert (layer.name, layer.kind) == ("cell.gru.l0", "GRU")


def test_a_model_that_is_itself_a_cell_is_found():
    def loss(m, mark=unmarked):
        h, outputs = mark(start), []
        for x_t in x:
            h = mark(m(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    x, start = inputs(), inputs(B, H)
    (layer,) = check(Plain().double(), loss, Probes()).layers
    assert (layer.name, layer.kind) == ("plain", "Plain")
    (layer,) = check(Residual().double(), loss, Probes()).layers
    assert (layer.name, layer.kind) == ("residual", "Residual")


def test_one_sequence_without_a_batch_is_followed():
    def loss(m, mark=unmarked):
        h, losses = mark(start), []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            losses.append(h.square().sum())
        return torch.stack(losses)

    x, start = inputs(T, X), inputs(H)
    (layer,) = check(Holder(Plain()).double(), loss, Probes(batch=None)).layers
    assert layer.states.shape == (T + 1, 1, H)


def test_frozen_weights_change_nothing():
    model, x, start = Holder(Peephole()).double(), inputs(), (inputs(B, H), inputs(B, H))
    free = record(model, looped(peephole, x, start)).layers[0].total
    frozen = check(model.requires_grad_(False), looped(peephole, x, start), Probes()).layers[0].total
    assert torch.equal(free, frozen)


@pytest.mark.parametrize("cell", [Plain, lambda: nn.GRUCell(X, H)])
@pytest.mark.parametrize("in_turn", [False, True])
def test_one_cell_on_two_sequences_is_two_trajectories(cell, in_turn):
    def loss(m, one=unmarked, other=unmarked):
        outputs = []
        if in_turn:
            h, g = one(start[0]), other(start[1])
            for x_t in x:
                h = one(m.cell(x_t, h))
                g = other(m.cell(2 * x_t, g))
                outputs.append(h * g)
        else:
            for mark, scale, s in ((one, 1, start[0]), (other, 2, start[1])):
                h, hs = mark(s), []
                for x_t in x:
                    h = mark(m.cell(scale * x_t, h))
                    hs.append(h)
                outputs.append(torch.stack(hs))
            outputs = outputs[0] * outputs[1]
        return step_losses(torch.stack(list(outputs)))

    x, start = inputs(), [inputs(B, H), inputs(B, H)]
    trace = check(Holder(cell()).double(), loss, Probes(), Probes())
    assert [(layer.name[-3:], len(layer), layer.begins) for layer in trace.layers][1] == ("(2)", T, 0)


@pytest.mark.parametrize("cell", [Plain, lambda: nn.GRUCell(X, H)])
def test_attention_over_all_outputs_so_far_is_followed(cell):
    def loss(m, mark=unmarked):
        h, outputs, read = mark(start), [], 0
        for x_t in x:
            if outputs:
                past = torch.stack(outputs, 1)
                context = torch.einsum("bth,bh->bt", past, h).softmax(1)
                read = m.head(torch.einsum("bt,bth->bh", context, past))
            h = mark(m.cell(x_t + read, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    x, start = inputs(), inputs(B, H)
    model = Holder(cell(), head=nn.Linear(H, X)).double()
    check(model, loss, Probes(), jacobians=False)  # the state also goes through the input: that is no step of the cell


def test_bridged_states_in_float32_are_said_to_be():
    model, start = Holder(nn.GRUCell(X, H)), (torch.randn(B, H),)
    x = inputs(dtype=torch.float32)
    trace = check(model, stepwise(x, start, BETWEEN["mask"]), Probes(), tolerance=1e-4)
    assert any("float32" in note for note in trace.notes)
    assert not record(model, stepwise(x, start)).notes
    twin = Holder(nn.GRUCell(X, H)).double()
    twin.load_state_dict(model.state_dict())
    exact = record(twin, stepwise(x.double(), (start[0].double(),), BETWEEN["mask"]))
    torch.testing.assert_close(trace.layers[0].total, exact.layers[0].total, rtol=1e-4, atol=1e-6)
