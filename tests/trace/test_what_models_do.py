"""How a model may call its recurrent layers: the numbers are right, or a sentence says why not.

Against zeros added by hand in float64; tolerance 1e-9.
"""

import copy
import threading
import time

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from retrograd.errors import NotMeasured, ShapeError
from retrograd.trace import record
from tests.trace.cells_in_loops import KINDS, START, B, H, Holder, Plain, Sums, T, X, both, step_losses, stepping
from tests.trace.probing import EXACT, Probes, check, same, unmarked
from tests.trace.probing import KINDS as CLASSES

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

    for cell in KINDS.values():
        model = Holder(cell()).double()
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

    trace = check(Holder(KINDS[cell]()).double(), loss, Probes(), Probes(), Probes())
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

    model = Holder(KINDS[cell]()).double()
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

    trace = check(Holder(KINDS[cell]()).double(), loss, Probes(), Probes(), carried=False)
    assert [(layer.begins, layer.states.shape[1]) for layer in trace.layers] == [(0, B), (3, 2 * B)]


@both
def test_hooks_that_change_what_goes_in_and_out_are_part_of_the_model(cell, x):
    model = Holder(KINDS[cell]()).double()
    model.cell.register_forward_hook(lambda module, inputs, output: 0.8 * output)
    model.cell.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0], inputs[1]))
    own = stepping(x)(model)
    trace = record(model, stepping(x))
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
    model = Holder(KINDS[cell]()).double()
    model.again = model.cell
    assert len(check(model, stepping(x), Probes()).layers) == 1


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
    model = Holder(nn.GRUCell(X, H)).double()
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
    model = Holder(KINDS[cell]()).double()
    with pytest.raises(NotMeasured, match="no state"):
        record(model, lambda m: stepping(x)(copy.deepcopy(m)).sum())
    trace = record(model, lambda m: stepping(x)(m) + stepping(x)(copy.deepcopy(m)))
    assert len(trace.layers) == 1
    torch.testing.assert_close(trace.losses, 2 * stepping(x)(model), rtol=1e-12, atol=1e-14)


def test_a_forward_that_is_set_on_a_cell_is_followed_and_stays(x):
    model = Holder(Plain()).double()
    model.cell.forward = lambda x, h: Plain.forward(model.cell, 2 * x, h)
    own = model.cell.forward
    check(model, stepping(x), Probes())
    assert model.cell.forward is own
    assert vars(Plain)["forward"] is Plain.forward


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

    trace = record(Holder(Stubborn()), loss)
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
    check(Holder(Plain()).double(), loss, Probes(), jacobians=False, carried=False)


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_what_torchscript_has_made_may_stand_beside_a_cell(x):
    model = Holder(Plain()).double()
    model.head = torch.jit.script(nn.BatchNorm1d(H).double())
    before = copy.deepcopy(model.head.state_dict())

    def loss(m):
        return stepping(x, lambda m, h, t: h)(m) + m.head(torch.stack([START] * T).flatten(0, 1)).sum()

    assert [layer.name for layer in record(model, loss).layers] == ["cell"]
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


# --------------------------------------------------------------------------------------------------- several threads


def test_two_threads_may_record_at_once_and_the_classes_are_as_before(x):
    before, found, failed = [kind.forward for kind in CLASSES], {}, []
    models = [nn.LSTM(X, H).double() for _ in range(4)]
    truths = [record(model, lambda m: step_losses(m(x)[0])).gradients(T) for model in models]

    def measure(number):
        try:
            for _ in range(2):
                found[number] = record(models[number], lambda m: step_losses(m(x)[0])).gradients(T)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=measure, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [kind.forward for kind in CLASSES] == before
    for number, truth in enumerate(truths):
        torch.testing.assert_close(found[number], truth, rtol=1e-12, atol=0)


def test_of_two_threads_that_record_one_waits_for_the_other_also_where_inputs_are_what_is_seen(x):
    model, within, most = Sums(X, H).double(), [], []

    def loss(m):
        within.append(threading.get_ident())
        time.sleep(0.02)
        losses = step_losses(m(x))
        most.append(len(within))
        within.pop()
        return losses

    threads = [threading.Thread(target=record, args=(model, loss)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 6, "each looks for cells, runs, and then reads the inputs"


@both
def test_the_same_model_used_by_another_thread_meanwhile_is_none_of_the_recording(cell, x):
    """Also in the middle of a step, while the cell runs in float64."""
    model, seen, failed = Holder(KINDS[cell]()), [], []
    threads = []

    def other():
        h = START.float()
        try:
            for x_t in x.float():
                h = model.cell(x_t, h)
            seen.append(h)
        except Exception as error:
            failed.append(error)

    def begin(*_):
        if len(threads) < 30 and threading.current_thread() is threading.main_thread():
            threads.append(threading.Thread(target=other))
            threads[-1].start()
            time.sleep(0.01)

    if cell == "own":
        model.cell.U.register_forward_hook(begin)

    def loss(m):
        h, outputs = START.float(), []
        for x_t in x.float():
            begin()
            h = m.cell(x_t, h)
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    (layer,) = record(model, loss).layers
    for thread in threads:
        thread.join()
    assert not failed
    assert len(layer) == T
    other()
    assert all(torch.equal(one, seen[-1]) for one in seen)
    assert seen[0].dtype == torch.float32
