"""What a model may do between and around its recurrent layers: the numbers are right, or a sentence says why not.

Against zeros added by hand in float64; tolerance 1e-9.
"""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from retrograd.errors import NotMeasured, ShapeError
from retrograd.measures import carry, reach
from retrograd.trace import record
from tests.trace.probing import EXACT, KINDS, Probes, check, ran, same, unmarked

X, H, B, T = 3, 4, 2, 6


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def x():
    return torch.randn(T, B, X).double()


def step_losses(outputs):
    return (outputs @ torch.linspace(-1, 1, outputs.shape[-1], dtype=outputs.dtype) - 0.3).square()


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(X, H), nn.Linear(H, H)

    def forward(self, x, h):
        return torch.tanh(self.W(x) + self.U(h))


class Model(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.state = cell, None


CELLS = {"torch's": lambda: nn.GRUCell(X, H), "own": Own}
START = torch.linspace(-1, 1, B * H).view(B, H).double()


def both(test):
    return pytest.mark.parametrize("cell", CELLS)(test)


def looped(x, change=lambda m, h, t: h):
    """The losses of a loop that changes its state between two steps, before it is marked as the next's."""

    def loss(m, mark=unmarked):
        h, outputs = mark(START.clone()), []
        for t, x_t in enumerate(x):
            h = mark(m.cell(x_t, h))
            h = change(m, h, t)
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    return loss


# ------------------------------------------------------------------------------------------------- states in place


def zeroed(m, h, t):
    h = h.clone() if isinstance(h, nn.Parameter) else h
    h[torch.tensor([False, t == 2])] = 0
    return h


def masked(m, h, t):
    h *= torch.tensor([1.0, float(t != 3)]).double()[:, None]
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
    h[:, 1] = h[:, 0].detach()
    return h


IN_PLACE = {"h[mask] = 0": zeroed, "h *= mask": masked, "no_grad": quietly_masked, "h[:, 1] =": a_column}


@both
@pytest.mark.parametrize("change", IN_PLACE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_state_that_the_model_writes_to_is_seen_to_be_another(cell, change, dtype, x):
    global START
    found, START = START, START.to(dtype)
    try:
        loss = looped(x.to(dtype), lambda m, h, t: IN_PLACE[change](m, h, t).to(dtype))
        check(Model(CELLS[cell]()).to(dtype), loss, Probes(), tolerance=EXACT if dtype == torch.float64 else 1e-4)
    finally:
        START = found


@both
def test_a_state_whose_data_is_written_to_is_seen_to_be_another(cell, x):
    """A version that does not change; torch's cells would compute with the old and the new at once."""
    model = Model(CELLS[cell]()).double()
    plain = looped(x, data_masked)(model)
    torch.testing.assert_close(record(model, looped(x, data_masked)).losses, plain, rtol=1e-12, atol=1e-14)


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
            mark.zeros.append(mark.zeros.pop())
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

    trace = check(Model(CELLS[cell]()).double(), loss, Probes(), Probes())
    assert [(layer.begins, len(layer), layer.first) for layer in trace.layers] == [(0, 3, 0), (3, 3, 1)]
    assert any("no gradient crosses there" in note for note in trace.notes)
    norms = reach(trace, anchors=[T], longest=T).log_norms.exp()
    assert (norms[:, :3] > 0).all()
    assert (norms[:, 3:] == 0).all()


@both
def test_a_state_that_is_detached_in_place_is_seen(cell, x):
    def cut(m, h, t):
        return h.detach_() if t == 2 else h

    losses = looped(x, cut)
    trace = record(Model(CELLS[cell]()).double(), losses)
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
        record(Model(CELLS[cell]()).double(), loss)


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

    model = Model(CELLS[cell]()).double()
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

    for cell in CELLS.values():
        model = Model(cell()).double()
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
    model, loss = Model(CELLS[cell]()).double(), by_hand(x, mask)
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

    for cell in CELLS.values():
        model = Model(cell()).double()
        trace, probes = record(model, loss), Probes()
        rows = loss(model, probes).sum(1)
        truth = torch.stack([probes.gradients(row) for row in rows])
        same(trace.gradients_at(range(1, T + 1))[0][:, 1:-1], truth[:, 1:-1], EXACT)
        same(carry(trace, 0).total[1:], trace.layers[0].total[1:], EXACT)


# ------------------------------------------------------------------------------------------------ how it is called


def test_a_state_kept_on_the_model_is_followed_and_put_back(x):
    def loss(m, mark=unmarked):
        outputs, keep = [], m.state
        m.state = mark(START.clone())
        for x_t in x:
            m.state = mark(m.cell(x_t, m.state))
            outputs.append(m.state)
        if mark is not unmarked:
            m.state = keep
        return step_losses(torch.stack(outputs))

    for cell in CELLS.values():
        model = Model(cell()).double()
        model.state = torch.randn(3)
        check(model, loss, Probes())


@both
def test_a_state_that_is_used_twice_branches(cell, x):
    """Two steps from one state, of which the second is gone on with; and a third from a much older one."""

    def loss(m, *marks):
        mark = marks[0] if marks else unmarked
        h = mark(START.clone())
        states, outputs = [h], []
        for x_t in x[:4]:
            h = mark(m.cell(x_t, h))
            states.append(h)
            outputs.append(h)
        side = (marks[1] if marks else unmarked)(m.cell(x[4], states[2]))
        other = (marks[2] if marks else unmarked)(m.cell(x[5], 0.5 * states[2]))
        outputs[-1] = outputs[-1] + side * other
        return step_losses(torch.stack(outputs))

    trace = check(Model(CELLS[cell]()).double(), loss, Probes(), Probes(), Probes())
    assert [(layer.begins, len(layer)) for layer in trace.layers] == [(0, 4), (2, 1), (2, 1)]


@both
def test_a_cell_that_takes_two_steps_for_one_loss_has_as_many_states(cell, x):
    def loss(m, mark=unmarked, *, summed=True):
        h, outputs = mark(START.clone()), []
        for x_t in x:
            for _ in range(2):
                h = mark(m.cell(x_t + 0.1 * outputs[-1][:, :X] if outputs else x_t, h))
            outputs.append(h)
        losses = step_losses(torch.stack(outputs))
        return losses[-1].sum() if summed else losses

    model = Model(CELLS[cell]()).double()
    assert len(check(model, loss, Probes(), jacobians=False)) == 2 * T
    with pytest.raises(ShapeError, match="Which step each of them belongs to cannot be told"):
        _ = record(model, lambda m: loss(m, summed=False)).first_loss


@both
def test_a_batch_that_grows_begins_another_layer_on_the_same_clock(cell, x):
    """As where each sequence is continued in several ways."""

    def loss(m, one=unmarked, other=unmarked):
        h, outputs = one(START.clone()), []
        for x_t in x[:3]:
            h = one(m.cell(x_t, h))
        h = h.repeat(2, 1)
        for x_t in x[3:]:
            h = other(m.cell(x_t.repeat(2, 1), h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    trace = check(Model(CELLS[cell]()).double(), loss, Probes(), Probes(), carried=False)
    assert [(layer.begins, layer.states.shape[1]) for layer in trace.layers] == [(0, B), (3, 2 * B)]


@both
def test_hooks_that_change_what_goes_in_and_out_are_part_of_the_model(cell, x):
    model = Model(CELLS[cell]()).double()
    model.cell.register_forward_hook(lambda module, inputs, output: 0.8 * output)
    model.cell.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0], inputs[1]))
    own = looped(x)(model)
    trace = record(model, looped(x))
    torch.testing.assert_close(trace.losses, own, rtol=1e-12, atol=1e-14)
    probes = Probes()

    def by_hand(m):
        h, outputs = probes(START.clone()), []
        for x_t in x:
            h = 0.8 * probes(m.cell.forward(2 * x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    rows = by_hand(model).sum(1)
    same(trace.gradients_at([T])[0][0], probes.gradients(rows[-1]), EXACT)


@both
def test_a_module_under_two_names_is_one(cell, x):
    model = Model(CELLS[cell]()).double()
    model.again = model.cell
    assert len(check(model, looped(x), Probes()).layers) == 1


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_state_that_only_loses_an_axis_and_gets_it_back_goes_on_in_float64(kind, x):
    def loss(m):
        state, outputs = None, []
        for x_t in x.float():
            y, state = m(x_t[None], state)
            state = state if isinstance(state, tuple) else (state,)
            state = tuple(part.squeeze(0).view(1, B, H) for part in state)
            state = state if len(state) > 1 else state[0]
            outputs.append(y[0])
        return step_losses(torch.stack(outputs))

    module = kind(X, H)
    trace, whole = record(module, loss), record(module, lambda m: step_losses(m(x.float())[0]))
    assert not trace.notes
    torch.testing.assert_close(trace.layers[0].states, whole.layers[0].states, rtol=1e-12, atol=0)


def test_functional_call_runs_with_the_weights_that_it_is_given(x):
    model = Model(nn.GRUCell(X, H)).double()
    weights = {name: 0.5 * p.detach() for name, p in model.cell.named_parameters()}

    def loss(m, mark=unmarked):
        h, outputs = mark(START.clone()), []
        for x_t in x:
            h = mark(torch.func.functional_call(m.cell, weights, (x_t, h)))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    check(model, loss, Probes())


@both
def test_a_copy_that_the_loss_makes_is_not_the_model(cell, x):
    """And a copy that it makes, and uses beside the model, is none of the recording."""
    model = Model(CELLS[cell]()).double()
    with pytest.raises(NotMeasured, match="no state"):
        record(model, lambda m: looped(x)(copy.deepcopy(m)).sum())
    trace = record(model, lambda m: looped(x)(m) + looped(x)(copy.deepcopy(m)))
    assert len(trace.layers) == 1
    torch.testing.assert_close(trace.losses, 2 * looped(x)(model), rtol=1e-12, atol=1e-14)


def test_a_forward_that_is_set_on_a_cell_is_followed_and_stays(x):
    model = Model(Own()).double()
    model.cell.forward = lambda x, h: Own.forward(model.cell, 2 * x, h)
    own = model.cell.forward
    check(model, looped(x), Probes())
    assert model.cell.forward is own
    assert vars(Own)["forward"] is Own.forward


def test_a_cell_within_a_cell_that_runs_in_its_own_precision_is_not_seen_twice(x):
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRUCell(X, H)

        def forward(self, x, h):
            assert h.dtype == torch.float32
            return 0.5 * self.gru(x, h) + 0.5 * h

    def loss(m):
        h, outputs = START.float(), []
        for x_t in x.float():
            h = m.cell(x_t, h)
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    trace = record(Model(Stubborn()), loss)
    assert [layer.name for layer in trace.layers] == ["cell"]
    assert "its own precision" in trace.notes[0]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_are_said_not_to_be_seen(reentrant, x):
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(X, H), nn.Linear(H, H)

        def forward(self, x):
            x = x.clone().requires_grad_()
            return checkpoint(lambda x: torch.tanh(self.head(self.rnn(x)[0])), x, use_reentrant=reentrant)

    with pytest.raises(NotMeasured, match="checkpoint"):
        record(Saves().double(), lambda m: step_losses(m(x))).gradients(T)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_penalty_on_a_gradient_is_followed_through_ones_own_cell_and_refused_elsewhere(layers, x):
    def loss(m, mark=unmarked):
        given = x.clone().requires_grad_()
        if isinstance(m, nn.GRU):
            y = m(given)[0]
        else:
            h, hs = mark(START.clone()), []
            for x_t in given:
                h = mark(m.cell(x_t, h))
                hs.append(h)
            y = torch.stack(hs)
        (g,) = torch.autograd.grad(y.sum(), given, create_graph=True)
        return step_losses(y) + g.square().sum(-1)

    with pytest.raises(NotMeasured, match="a gradient penalty"):
        record(nn.GRU(X, H, num_layers=layers).double(), loss).gradients(T)
    check(Model(Own()).double(), loss, Probes(), jacobians=False, carried=False)


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_what_torchscript_has_made_may_stand_beside_a_cell(x):
    model = Model(Own()).double()
    model.head = torch.jit.script(nn.BatchNorm1d(H).double())
    before = copy.deepcopy(model.head.state_dict())

    def loss(m):
        return looped(x, lambda m, h, t: h)(m) + m.head(torch.stack([START] * T).flatten(0, 1)).sum()

    assert [layer.name for layer in record(model, loss).layers] == ["cell"]
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


# --------------------------------------------------------------------------------------------------- several threads


def test_two_threads_may_record_at_once_and_the_classes_are_as_before(x):
    before, found, failed = [kind.forward for kind in KINDS], {}, []
    models = [nn.LSTM(X, H).double() for _ in range(4)]
    truths = [record(model, lambda m: step_losses(m(x)[0])).gradients(T) for model in models]

    def measure(number):
        try:
            for _ in range(3):
                found[number] = record(models[number], lambda m: step_losses(m(x)[0])).gradients(T)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=measure, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [kind.forward for kind in KINDS] == before
    for number, truth in enumerate(truths):
        torch.testing.assert_close(found[number], truth, rtol=1e-12, atol=0)


@both
def test_the_same_model_used_by_another_thread_meanwhile_is_none_of_the_recording(cell, x):
    model, seen = Model(CELLS[cell]()), []

    def other():
        h = START.float()
        for x_t in x.float():
            h = model.cell(x_t, h)
        seen.append(h)

    def loss(m):
        h, outputs = START.float(), []
        for t, x_t in enumerate(x.float()):
            if t == 2:
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()
            h = m.cell(x_t, h)
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    (layer,) = record(model, loss).layers
    assert len(layer) == T
    other()
    assert all(torch.equal(one, seen[-1]) for one in seen)
    assert seen[0].dtype == torch.float32
