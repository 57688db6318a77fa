"""Modules whose weights are computed, whose forward is somebody's own, and what runs around them.

Against zeros added by hand, with the weights that the module has at that call; tolerance 1e-9 in float64.
"""

import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from retrograd.errors import NotMeasured
from retrograd.trace import record
from tests.trace.brute_force import FUSED
from tests.trace.cells_in_loops import B, H, Holder, Plain, T, X, step_losses
from tests.trace.probing import KINDS, Probes, check, ran, unmarked

PARAMETRISED = {"weight norm": weight_norm, "orthogonal": orthogonal, "spectral norm": spectral_norm}

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # of torch itself


def losses_of(x, module=lambda m: m):
    def loss(m, *marks):
        return step_losses(ran(module(m), x, None, *marks)[0])

    return loss


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("parametrised", PARAMETRISED)
def test_the_weight_of_a_parametrisation_is_the_one_in_use(kind, parametrised, x):
    module = FUSED[kind](X, H, num_layers=2).double()
    for name in ("weight_hh_l0", "weight_ih_l1"):
        PARAMETRISED[parametrised](module, name)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(1.3)  # it has been trained a little
    trace = check(module.eval(), losses_of(x), Probes(), Probes())
    assert all(layer.cell is not None for layer in trace.layers)


class Drop(nn.Module):
    def forward(self, W):
        return F.dropout(W, 0.4)


def dropped(module, name):
    parametrize.register_parametrization(module, name, Drop())


@pytest.mark.parametrize("kind", [*FUSED.values(), nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize("changing", [spectral_norm, dropped])
def test_a_weight_that_is_another_each_time_it_is_asked_for_is_the_one_that_the_module_has_used(kind, changing, x):
    module = kind(X, H).double()
    changing(module, "weight_hh" if isinstance(module, nn.RNNCellBase) else "weight_hh_l0")

    def loss(m):
        state, outputs = None, []
        for x_t in x:
            y = m(x_t, state) if isinstance(m, nn.RNNCellBase) else m(x_t[None], state)
            state = y if isinstance(m, nn.RNNCellBase) else y[1]
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return step_losses(torch.stack(outputs).view(T, B, H))

    mine = record(module, loss).losses
    torch.testing.assert_close(mine, loss(module), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_parametrised_cell_keeps_its_equation(kind, x):
    cell = weight_norm(kind(X, H).double(), "weight_hh")

    def loss(m):
        state, outputs = None, []
        for x_t in x:
            state = m(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return step_losses(torch.stack(outputs))

    (layer,) = record(cell, loss).layers
    assert layer.cell is not None
    torch.testing.assert_close(layer.cell.weight_hh, cell.weight_hh, rtol=1e-12, atol=0)
    own = loss(cell)
    torch.testing.assert_close(record(cell, loss).losses, own, rtol=1e-12, atol=0)


class WeightDrop(nn.Module):
    """The recurrent weights are dropped out anew at each call (Merity et al., 2018)."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.raw = nn.Parameter(module.weight_hh_l0.detach().clone())
        del module.weight_hh_l0

    def dropped(self):
        self.module.weight_hh_l0 = F.dropout(self.raw, 0.4, self.training)
        return self.module


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_dropped_by_the_model_are_those_of_the_call(kind, training, dtype, x):
    model = WeightDrop(FUSED[kind](X, H)).to(dtype).train(training)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    check(model, losses_of(x.to(dtype), lambda m: m.dropped()), Probes(), tolerance=tolerance)


def test_weights_that_change_between_two_calls_are_each_calls_own(x):
    model = WeightDrop(nn.LSTM(X, H)).double()

    def loss(m, mark=unmarked):
        first, state = ran(m.dropped(), x[:3], None, mark)
        if mark is not unmarked:
            mark.zeros.pop()  # the last state of the first call is the first of the next: marked once
            mark.states.pop()
        return step_losses(torch.cat([first, ran(m.dropped(), x[3:], state, mark)[0]]))

    trace = record(model, loss)
    assert len(trace.layers) == 1
    assert trace.layers[0].cell is None
    torch.testing.assert_close(trace.losses, loss(model), rtol=1e-12, atol=0)
    with pytest.raises(NotMeasured, match=r"equation of module\.l0"):
        _ = trace.layers[0].linear


def test_a_weight_that_is_made_from_a_state_is_refused(x):
    """A network that writes the weights of another; the gradient goes back through them."""

    class Hyper(nn.Module):
        def __init__(self):
            super().__init__()
            self.writer, self.module = nn.GRU(X, H), nn.RNN(X, H)
            del self.module.weight_hh_l0

        def forward(self, x):
            self.module.weight_hh_l0 = torch.einsum("bi,bj->ij", self.writer(x)[1][0], self.writer(x)[1][0])
            return self.module(x)

    with pytest.raises(NotMeasured, match="weight_hh_l0 of module is computed from the state"):
        record(Hyper().double(), lambda m: step_losses(m(x)[0]))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_projections_are_followed_in_every_layer_and_direction(layers, both, packed, x):
    module = nn.LSTM(X, H, proj_size=2, num_layers=layers, bidirectional=both).double()
    lengths = torch.tensor([4, 6]) if packed else None

    def loss(m, *marks):
        return step_losses(ran(m, x, None, *(marks or [unmarked]), lengths=lengths)[0])

    trace = check(module, loss, *(Probes() for _ in range(layers * (1 + both))))
    assert [layer.reverse for layer in trace.layers] == [False, True][: 1 + both] * layers
    assert all(layer.states.shape == (T + 1, B, 2 + H) for layer in trace.layers)


@pytest.mark.parametrize("kind", FUSED)
def test_every_kind_in_both_directions_with_a_given_first_state(kind, x):
    module = FUSED[kind](X, H, num_layers=2, bidirectional=True).double()
    state = torch.randn(4, B, H).double()
    state = (state, torch.randn(4, B, H).double()) if kind == "lstm" else state
    check(
        module, lambda m, *marks: step_losses(ran(m, x, state, *(marks or [unmarked]))[0]), *[Probes() for _ in "1234"]
    )


# --------------------------------------------------------------------------------------------- forwards of one's own


class Scaled(nn.GRU):
    """A forward of its own that calls torch's."""

    def forward(self, x, h=None):
        y, h = super().forward(2 * x, h)
        return torch.tanh(y), h


class Younger(Scaled):
    pass


@pytest.mark.parametrize("kind", [Scaled, Younger])
def test_a_forward_that_calls_torchs_is_followed(kind, x):
    plain = nn.GRU(X, H).double()
    own = kind(X, H).double()
    own.load_state_dict(plain.state_dict())
    mine = record(own, lambda m: step_losses(m(x)[0]))
    truth = check(plain, lambda m, mark=unmarked: step_losses(torch.tanh(ran(m, 2 * x, None, mark)[0])), Probes())
    for t in (1, T):
        torch.testing.assert_close(mine.gradients(t), truth.gradients(t), rtol=1e-12, atol=0)


def test_a_forward_that_is_set_on_a_module_is_followed_and_stays(x):
    module = nn.GRU(X, H).double()
    truth = record(module, lambda m: step_losses(m(2 * x)[0])).gradients(T)
    module.forward = types.MethodType(lambda self, x: nn.GRU.forward(self, 2 * x), module)
    own = module.forward
    torch.testing.assert_close(record(module, lambda m: step_losses(m(x)[0])).gradients(T), truth, rtol=0, atol=0)
    assert module.forward is own


def test_a_forward_that_does_without_torchs_is_said_to_be_unseen(x):
    class Alone(nn.GRU):
        def forward(self, x):
            y, h = torch.gru(
                x, torch.zeros(1, x.shape[1], H).to(x), self._flat_weights, True, 1, 0.0, False, False, False
            )
            return y, h

    model = nn.ModuleDict({"seen": nn.GRU(X, H), "alone": Alone(H, H)}).double()
    trace = record(model, lambda m: step_losses(m["alone"](m["seen"](x)[0])[0]))
    assert [layer.name for layer in trace.layers] == ["seen.l0"]
    assert trace.notes == ("alone has a forward of its own that does not call torch's, so its steps were not seen.",)
    assert not record(model, lambda m: step_losses(m["seen"](x)[0])).notes, "it did not run"


def test_the_classes_forwards_are_put_back_also_where_something_raises(x):
    before = [kind.forward for kind in KINDS]

    def raises(m):
        m(x)
        assert nn.GRU.forward is not before[1]
        raise KeyError("half-way")

    with pytest.raises(KeyError):
        record(nn.GRU(X, H).double(), raises)
    assert [kind.forward for kind in KINDS] == before


# ---------------------------------------------------------------------------------------------------- precision


def test_under_autocast_the_steps_run_in_float64_and_it_is_said(x):
    module = nn.LSTM(X, H)

    def loss(m):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = m(x.float())[0]
        return step_losses(y.float())

    trace = record(module, loss)
    assert trace.notes == ("The steps of lstm were replayed in float64, outside of autocast.",)
    exact = record(module, lambda m: step_losses(m(x.float())[0]))
    torch.testing.assert_close(trace.losses, exact.losses, rtol=0.05, atol=0.05)


def test_a_cell_of_ones_own_under_autocast_is_said_to_run_outside_of_it(x):
    def loss(m):
        h, outputs = torch.zeros(B, H), []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for x_t in x.float():
                h = m[0](x_t, h)
                outputs.append(h.float())
        return step_losses(torch.stack(outputs))

    trace = record(nn.ModuleList([Plain()]), loss)
    assert "The steps of 0 were replayed in float64, outside of autocast." in trace.notes
    assert trace.layers[0].states.dtype == torch.float64


def test_a_record_in_float32_is_outside_of_autocast_too(x):
    module, x = nn.LSTM(X, H), x.float()

    def loss(m):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return step_losses(m(x)[0].float())

    trace = record(module, loss, dtype=torch.float32)
    assert trace.notes == ("The steps of lstm were replayed in float32, outside of autocast.",)
    exact = record(module, lambda m: step_losses(m(x)[0]), dtype=torch.float32)
    assert torch.equal(trace.layers[0].states, exact.layers[0].states)


def test_a_cell_that_runs_in_its_own_precision_is_not_said_to_be_outside_of_autocast(x):
    class Single(Plain):
        def forward(self, x, h):
            assert h.dtype is torch.float32
            return super().forward(x, h).float()

    def loss(m):
        h, outputs = torch.zeros(B, H), []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for x_t in x.float():
                h = m.cell(x_t, h)
                outputs.append(h)
        return step_losses(torch.stack(outputs))

    model = Holder(Single())
    trace = record(model, loss)
    (note,) = trace.notes
    assert "its own precision" in note
    torch.testing.assert_close(trace.losses, loss(model), rtol=1e-6, atol=1e-7)
