"""The first number that is not finite, where it was planted."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.measures import NonFinitePlace, first_nonfinite
from retrograd.trace import record

T, B, X, H = 9, 4, 3, 5
PLANTED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def x(seed=0):
    return torch.randn(T, B, X, generator=torch.Generator().manual_seed(seed))


def at(model, inputs, **options):
    return first_nonfinite(record(model, lambda m: m(inputs)[0].square().sum(-1), dtype=torch.float32, **options))


def torch_module(kind, **options):
    torch.manual_seed(3)
    return kind(X, H, **options)


MODELS = {
    "rnn": lambda: torch_module(nn.RNN),
    "gru": lambda: torch_module(nn.GRU),
    "lstm": lambda: torch_module(nn.LSTM),
    "lstm of two layers": lambda: torch_module(nn.LSTM, num_layers=2),
    "our own stack": lambda: Stack([Elman(X, H), GRU(H, H), LSTM(H, H), Additive(H, H)]),
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_without_one_has_none(model):
    assert at(MODELS[model](), x()) is None


@pytest.mark.parametrize("value", PLANTED)
@pytest.mark.parametrize("model", MODELS)
def test_one_in_an_input_is_found_in_that_step_sequence_and_unit(model, value):
    inputs = x()
    inputs[4, 2, 1] = PLANTED[value]
    inputs[6, 0, 0] = math.nan  # later: not the first
    found = at(MODELS[model](), inputs)
    assert (found.part, found.step, found.sequence, found.unit, found.gate) == ("input", 5, 2, 1, None)
    assert found.value == PLANTED[value] or (math.isnan(found.value) and value == "nan")
    assert found.layer.endswith(("l0", "layers.0"))


@pytest.mark.parametrize("weight", ["weight_ih", "weight_hh", "bias_ih"])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, "ifgo"), (nn.GRU, "rzn")])
def test_one_in_a_weight_of_a_gate_is_found_in_that_gate_and_unit_from_the_first_step_on(kind, gates, weight):
    for i, gate in enumerate(gates):
        model = torch_module(kind, num_layers=2)
        with torch.no_grad():
            getattr(model, f"{weight}_l1")[i * H + 2] = math.nan
        found = at(model, x())
        assert (found.part, found.gate, found.step, found.sequence, found.unit) == ("gate", gate, 1, 0, 2)
        assert found.layer.endswith("l1")


def test_an_overflow_by_large_weights_is_found_at_the_step_where_float32_ends():
    model = torch_module(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(0.0 if "bias" in name else 1e6)
    inputs = torch.ones(T, B, X)
    h, step = 0.0, 0
    while h <= torch.finfo(torch.float32).max:  # every unit alike
        h, step = 1e6 * X + 1e6 * H * h, step + 1
    found = at(model, inputs)
    assert (found.part, found.layer, found.step, found.value) == ("state", "rnn.l0", step, math.inf)
    assert 1 < step < T
    assert first_nonfinite(record(model, lambda m: m(inputs)[0][0].sum())) is None, "float64 holds it, to the last step"


def test_a_gradient_that_overflows_on_its_way_back_is_found_at_the_latest_step_where_it_is_not_finite():
    model = torch_module(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.weight_ih_l0.fill_(1e-30)
        model.weight_hh_l0.copy_(1e6 * torch.eye(H))
        model.bias_ih_l0.fill_(1e-30)
    inputs = torch.zeros(T, B, X)
    g, step = 1.0, 4  # the loss is on step 4: dL/ds[k] = 1e6 ^ (4 - k)
    while g * 1e6 <= torch.finfo(torch.float32).max and step:
        g, step = g * 1e6, step - 1
    assert step == 0, "four steps do not overflow"
    found = first_nonfinite(record(model, lambda m: 1e20 * m(inputs)[0][3].sum(), dtype=torch.float32))
    assert (found.part, found.layer, found.step) == ("gradient", "rnn.l0", 4 - 4)
    assert found.value == math.inf


@pytest.mark.parametrize("value", PLANTED)
def test_one_in_a_loss_is_found_there_where_the_model_is_finite(value):
    inputs, model = x(), torch_module(nn.GRU)

    def losses(m):
        each = m(inputs)[0].sum(-1)
        planted = torch.zeros_like(each)
        planted[6, 3] = PLANTED[value]
        return each + planted

    found = first_nonfinite(record(model, losses))
    assert (found.part, found.layer, found.step, found.sequence) == ("loss", None, 7, 3)
    scalar = first_nonfinite(record(model, lambda m: losses(m).sum()))
    assert (scalar.part, scalar.step, scalar.sequence) == ("loss", None, None)


def test_a_gradient_that_comes_from_above_is_told_from_one_that_was_made_on_the_way():
    inputs, model = x(), torch_module(nn.GRU, num_layers=2)

    def losses(m):
        y = m(inputs)[0].sum(-1).clone()
        y[5, 1] += (y[5, 1] - y[5, 1].detach()).abs().sqrt()  # a finite loss, and no derivative at 0
        return y

    found = first_nonfinite(record(model, losses))
    assert (found.part, found.layer, found.step, found.sequence) == ("gradient from above", "gru.l1", 6, 1)


def test_the_layer_that_made_one_is_named_and_not_those_that_it_was_handed_to():
    model = Stack([LSTM(X, H), LSTM(H, H), LSTM(H, H)])
    with torch.no_grad():
        model.layers[1].weight_hh[3 * H] = math.nan
    found = at(model, x())
    assert (found.part, found.gate) == ("gate", "o")
    assert found.layer.endswith("l1")


def test_a_layer_that_runs_in_reverse_is_told_by_the_place_in_the_sequence():
    model, inputs = torch_module(nn.LSTM, bidirectional=True), x()
    with torch.no_grad():
        model.weight_ih_l0_reverse[H:] = math.nan  # all of f, g and o
    found = at(model, inputs)
    assert (found.layer, found.gate, found.step) == ("lstm.l0.reverse", "f, g, o", T)


def test_a_first_state_that_is_not_finite_comes_before_all_steps():
    model, inputs = torch_module(nn.GRU), x()
    h = torch.zeros(1, B, H)
    h[0, 3, 4] = math.inf
    found = first_nonfinite(record(model, lambda m: m(inputs, h)[0].sum(-1)))
    assert (found.part, found.step, found.sequence, found.unit) == ("first state", 0, 3, 4)


def test_what_lies_behind_the_end_of_a_sequence_is_not_looked_at():
    torch.manual_seed(0)
    packed = pack_padded_sequence(x(), torch.tensor([T, 5, 4, 2]))
    model = torch_module(nn.LSTM)
    assert first_nonfinite(record(model, lambda m: m(packed)[0].data.square().sum())) is None
    packed.data[-1] = math.nan  # the only sequence that is so long
    found = first_nonfinite(record(model, lambda m: m(packed)[0].data.square().sum()))
    assert (found.part, found.step, found.sequence) == ("input", T, 0)


def test_a_step_that_a_sequence_does_not_have_breaks_nothing():
    """An infinite weight opens the gate for ever where the inputs are positive; on the zeros that fill up it is NaN."""
    model, inputs = torch_module(nn.LSTM), x().abs() + 1
    with torch.no_grad():
        model.weight_ih_l0[:H] = math.inf
    packed = pack_padded_sequence(inputs, torch.tensor([T, 5, 4, 2]))
    assert first_nonfinite(record(model, lambda m: m(packed)[0].data.sum(), dtype=torch.float32)) is None


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (NonFinitePlace("gate", "rnn.l0", 17, 3, 5, "f", math.nan), "NaN in gate f of rnn.l0 at time 17 of sequence 3"),
        (NonFinitePlace("loss", None, None, None, None, None, math.inf), "an infinity in the loss"),
        (NonFinitePlace("first state", "l0", 0, 1, 2, None, -math.inf), "a negative infinity in the first state of l0"),
    ],
)
def test_a_place_is_a_sentence(place, said):
    assert str(place).startswith(said)
