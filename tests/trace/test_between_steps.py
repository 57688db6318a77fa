"""What a model may do to a state between two steps: the numbers are right, or a sentence says why not.

Against zeros added by hand in float64; tolerance 1e-9.
"""

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured
from retrograd.measures import carry, reach
from retrograd.trace import record
from tests.trace.cells_in_loops import KINDS, START, B, H, Holder, T, X, both, step_losses, stepping
from tests.trace.probing import EXACT, Probes, check, ran, same, unmarked

# ------------------------------------------------------------------------------------------------- states in place


def zeroed(m, h, t):
    h = h.clone() if isinstance(h, nn.Parameter) else h
    h[torch.tensor([False, t == 2])] = 0
    return h


def masked(m, h, t):
    h *= torch.tensor([1.0, float(t != 3)]).to(h.dtype)[:, None]
    return h


def quietly_masked(m, h, t):
    """Autograd does not see it, and takes it for nothing."""
    with torch.no_grad():
        h.mul_(0.5)
    return h


def data_masked(m, h, t):
    h.data.mul_(0.5)
    return h


def a_column(m, h, t):
    """The numbers stay as they are; the gradient does not."""
    h[:, 1] = h[:, 1].detach()
    return h


IN_PLACE = {"h[mask] = 0": zeroed, "h *= mask": masked, "no_grad": quietly_masked, "h[:, 1].detach()": a_column}


@both
@pytest.mark.parametrize(("change", "dtype"), [*((c, torch.float64) for c in IN_PLACE), ("h *= mask", torch.float32)])
def test_a_state_that_the_model_writes_to_is_seen_to_be_another(cell, change, dtype, x):
    tolerance = EXACT if dtype == torch.float64 else 1e-4
    check(Holder(KINDS[cell]()).to(dtype), stepping(x.to(dtype), IN_PLACE[change]), Probes(), tolerance=tolerance)


@both
def test_a_state_whose_data_is_written_to_is_seen_to_be_another(cell, x):
    """A version that does not change; torch's cells would compute with the old and the new at once."""
    model = Holder(KINDS[cell]()).double()
    plain = stepping(x, data_masked)(model)
    torch.testing.assert_close(record(model, stepping(x, data_masked)).losses, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_a_module_puts_out_may_be_written_to(kind, batch, x):
    x = x[:, :batch]

    def loss(m, mark=unmarked):
        y, last = ran(m, x[:3], None, mark)
        y[0, :, 1] = 0
        y *= 2.0
        for part in last if isinstance(last, tuple) else (last,):
            part[0, 0] *= 0.5
        if mark is not unmarked:
            more = Probes()
            z = ran(m, x[3:], last, more)[0]
            mark.zeros += more.zeros[1:]
            mark.states += more.states[1:]
        else:
            z = m(x[3:], last)[0]
        return step_losses(torch.cat([y, z]))

    trace = check(kind(X, H).double(), loss, Probes())
    assert len(trace.layers) == 1


def test_both_parts_of_a_state_may_be_written_to_also_without_a_batch():
    x = torch.randn(T, X).double()

    def loss(m, mark=unmarked):
        h, c = mark(torch.zeros(H).double(), torch.ones(H).double())
        outputs = []
        for x_t in x:
            h, c = mark(*m(x_t, [h, c]))
            h *= 0.5
            c[1] = 0
            outputs.append(h.sum())
        return torch.stack(outputs).square()

    check(nn.LSTMCell(X, H).double(), loss, Probes(batch=None))


# ------------------------------------------------------------------------------------------------- states cut off


@both
@pytest.mark.parametrize("how", ["detach", "detach_", "clone of data", "numbers"])
def test_a_state_that_is_detached_goes_on_on_the_clock_and_no_gradient_crosses(cell, how, x):
    def cut(m, h, t):
        if t != 2:
            return h
        if how == "detach_":
            return h.clone().detach_()
        if how == "numbers":
            return torch.tensor(h.tolist(), dtype=torch.float64)
        return h.detach() if how == "detach" else h.data.clone()

    def loss(m, one=unmarked, other=unmarked):
        h, outputs = one(START.clone()), []
        for t, x_t in enumerate(x):
            h = (one if t < 3 else other)(m.cell(x_t, h))
            outputs.append(h)
            h = cut(m, h, t)
        return step_losses(torch.stack(outputs))

    trace = check(Holder(KINDS[cell]()).double(), loss, Probes(), Probes())
    assert [(layer.begins, len(layer), layer.first) for layer in trace.layers] == [(0, 3, 0), (3, 3, 1)]
    assert any("no gradient crosses there" in note for note in trace.notes)
    norms = reach(trace, anchors=[T], longest=T).log_norms.exp()
    assert (norms[:, :3] > 0).all()
    assert (norms[:, 3:] == 0).all()


@both
def test_a_state_that_is_detached_in_place_is_seen(cell, x):
    def cut(m, h, t):
        return h.detach_() if t == 2 else h

    losses = stepping(x, cut)
    trace = record(Holder(KINDS[cell]()).double(), losses)
    assert [(layer.begins, len(layer)) for layer in trace.layers] == [(0, 3), (3, 3)]


@both
def test_a_state_that_is_detached_at_every_step_is_said_to_be(cell, x):
    def loss(m):
        h, outputs = START.clone(), []
        for x_t in x:
            h = m.cell(x_t, h.detach())
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    with pytest.raises(NotMeasured, match="detached at every step"):
        record(Holder(KINDS[cell]()).double(), loss)


@both
def test_steps_without_gradient_before_those_with_are_steps_and_have_none(cell, x):
    def loss(m, one=unmarked, other=unmarked):
        h, outputs = START.clone(), []
        for t, x_t in enumerate(x):
            with torch.set_grad_enabled(t >= 3):
                h = m.cell(x_t, h)
                h = other(h) if t >= 3 else h
            outputs.append(h)
        return step_losses(torch.stack(outputs[3:]))

    model = Holder(KINDS[cell]()).double()
    trace = record(model, loss)
    assert [(layer.begins, len(layer), layer.first) for layer in trace.layers] == [(0, 3, 0), (3, 3, 1)]
    assert any("torch.no_grad" in note for note in trace.notes)
    before, after = trace.layers
    assert not before.total.any()
    assert not before.entering.any()
    assert before.back(2, torch.ones(1, B, H).double()).any(), "the step has a linear map all the same"
    same(carry(trace, 1).total[1:], after.total[1:], EXACT)
    probes = Probes()
    rows = loss(model, unmarked, probes).sum(1)
    same(trace.gradients_at([T])[1][0, 1:], probes.gradients(rows[-1]), EXACT)


def test_a_module_run_without_gradient_first_is_cut_there(x):
    def loss(m, mark=unmarked):
        with torch.no_grad():
            _, state = m(x[:3])
        return step_losses(ran(m, x[3:], state, mark)[0])

    module = nn.LSTM(X, H, num_layers=1).double()
    trace = record(module, loss)
    assert [(layer.begins, len(layer), layer.first) for layer in trace.layers] == [(0, 3, 0), (3, 3, 1)]
    assert not trace.layers[0].total.any()
    probes = Probes()
    rows = loss(module, probes).sum(1)
    truth = torch.stack([probes.gradients(row) for row in rows])
    same(trace.gradients_at([4, 5, 6])[1], truth, EXACT)


def test_a_look_ahead_without_gradient_leaves_the_steps_as_they_are(x):
    def loss(m, mark=unmarked):
        h, outputs = mark(START.clone()), []
        for x_t in x:
            with torch.no_grad():
                peek = m.cell(x_t, h)
            h = mark(m.cell(x_t + 0.1 * peek[:, :X], h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    for cell in KINDS.values():
        model = Holder(cell()).double()
        trace = record(model, loss)
        main = next(layer for layer in trace.layers if len(layer) == T)
        probes = Probes()
        rows = loss(model, probes).sum(1)
        place = trace.layers.index(main)
        same(trace.gradients_at([T])[place][0], probes.gradients(rows[-1]), EXACT)
        assert all(not layer.total.any() for layer in trace.layers if layer is not main)


def test_inference_mode_keeps_no_graph_and_is_refused(x):
    def loss(m):
        with torch.inference_mode():
            _, h = m(x[:3])
        return step_losses(m(x[3:], h.clone())[0])

    with pytest.raises(NotMeasured, match="inference_mode"):
        record(nn.GRU(X, H).double(), loss)


# ------------------------------------------------------------------------------------------- states mixed with older


def by_hand(x, mask, *, old=lambda h: h):
    """A mask that the model applies itself: where it is 0, the state stays as it was. The mixed state is the state."""

    def loss(m, mark=unmarked):
        h, outputs = mark(START.clone()), []
        for t, x_t in enumerate(x):
            new = m.cell(x_t, h)
            h = mark(mask[t] * new + (1 - mask[t]) * old(h))
            outputs.append(h)
        return step_losses(torch.stack(outputs)) * mask[..., 0]

    return loss


@both
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_state_that_the_model_mixes_with_the_one_before_is_the_mixture(cell, share, x):
    mask = torch.ones(T, B, 1).double()
    mask[2:4, 0] = mask[3:, 1] = share
    model, loss = Holder(KINDS[cell]()).double(), by_hand(x, mask)
    trace = record(model, loss)
    (layer,) = trace.layers
    assert (layer.mixed, layer.first) == (True, 1)
    probes = Probes()
    rows = loss(model, probes).sum(1)
    truth = torch.stack([probes.gradients(row) for row in rows])
    mine = trace.gradients_at(range(1, T + 1))[0]
    same(mine[:, 1:-1], truth[:, 1:-1], EXACT)  # the last state is given to no step: it is the cell's own
    same(layer.states[1:-1], torch.stack([probes.rows(s) for s in probes.states])[1:-1], EXACT)
    same(layer.total[1:-1], truth.sum(0)[1:-1], EXACT)
    same(carry(trace, 0).total[1:], layer.total[1:], EXACT)
    for t in range(2, T):
        delta = torch.randn(2, B, H).double()
        same(layer.back(t, delta), probes.back(t, delta), EXACT)


def test_a_mixed_state_of_a_module_with_several_layers(x):
    module = nn.LSTM(X, H, num_layers=2).double()

    def loss(m, *marks):
        h, c = torch.zeros(2, B, H).double(), torch.ones(2, B, H).double()
        outputs = []
        for x_t in x:
            y, (h_new, c_new) = m(x_t[None], (h, c))
            h, c = 0.7 * h_new + 0.3 * h, c_new
            if marks:
                h, c = marks[0](h, c)
            outputs.append(y[0] + h[0])
        return step_losses(torch.stack(outputs))

    trace = record(module, loss)
    probes = Probes(batch=1)
    rows = loss(module, probes).sum(1)
    truth = torch.stack([probes.gradients(row) for row in rows]).view(T, T, B, 2, 2, H)  # h and c, layers
    mine = trace.gradients_at(range(1, T + 1))
    for layer in range(2):
        same(mine[layer][:, 1:-1], truth[:, :-1, :, :, layer].flatten(-2), EXACT)


def test_a_state_that_comes_back_from_attention_over_those_before_is_the_one_that_comes_back(x):
    def loss(m, mark=unmarked):
        h, hs = mark(START.clone()), []
        for x_t in x:
            hs.append(m.cell(x_t, h))
            past = torch.stack(hs, 1)
            h = mark(torch.einsum("bt,bth->bh", torch.einsum("bth,bh->bt", past, hs[-1]).softmax(1), past))
        return step_losses(torch.stack(hs))

    for cell in KINDS.values():
        model = Holder(cell()).double()
        trace, probes = record(model, loss), Probes()
        rows = loss(model, probes).sum(1)
        truth = torch.stack([probes.gradients(row) for row in rows])
        same(trace.gradients_at(range(1, T + 1))[0][:, 1:-1], truth[:, 1:-1], EXACT)
        same(carry(trace, 0).total[1:], trace.layers[0].total[1:], EXACT)
