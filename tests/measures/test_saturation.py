"""Units with known weights: open, shut, dead and exactly as slow as their bias says."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import Additive, Elman
from retrograd.init import initialise_
from retrograd.measures import saturation
from retrograd.trace import record

X, H, B, T = 3, 6, 4, 10


def of(module, x=None):
    x = torch.randn(T, B, X) if x is None else x
    return saturation(record(module, lambda m: m(x)[0].sum(-1))).layers


def constant(module, **biases):
    """No weights, so that each gate is its bias alone."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        for gate, bias in biases.items():
            rows = "ifgo".index(gate) if isinstance(module, nn.LSTM) else "rzn".index(gate)
            module.bias_ih_l0.view(-1, H)[rows] = bias
    return module


@pytest.mark.parametrize("bias", [0.0, 2.0, 5.0])
def test_an_lstm_remembers_as_long_as_its_forget_bias_says(bias):
    (layer,) = of(constant(nn.LSTM(X, H), f=bias))
    f = 1 / (1 + math.exp(-bias))
    assert layer.gates["f"] == pytest.approx(f, rel=1e-6)
    assert layer.timescales == pytest.approx([-1 / math.log(f)] * 3, rel=1e-5)
    assert (layer.cell, layer.keeping) == ("LSTM", "f")
    assert layer.saturated["f"] == (1.0 if f * (1 - f) < 0.05 else 0.0)


def test_timescales_are_those_of_units_by_the_nearest_rank():
    """Of six, ranks 0.6, 3 and 5.4 are the first, the third and the last."""
    biases = torch.tensor([3.0, 0.0, 5.0, 1.0, 2.0, 4.0])
    (layer,) = of(constant(nn.LSTM(X, H), f=biases))
    slowest = [-1 / math.log(1 / (1 + math.exp(-bias))) for bias in (0, 2, 5)]
    assert layer.timescales == pytest.approx(slowest, rel=1e-5)


def test_a_gru_remembers_by_its_update_gate():
    (layer,) = of(constant(nn.GRU(X, H), z=3.0))
    assert layer.keeping == "z"
    assert layer.timescales[1] == pytest.approx(-1 / math.log(1 / (1 + math.exp(-3))), rel=1e-5)


def test_the_share_of_saturated_units_is_counted_over_units_time_and_batch():
    module = constant(nn.RNN(X, H))
    with torch.no_grad():
        module.bias_ih_l0[:2] = 5.0  # tanh' = 0.0002
    (layer,) = of(module)
    assert layer.saturated == {"h": pytest.approx(2 / 6)}
    assert layer.dead == {"h": 0.0}
    assert layer.keeping is layer.timescales is None


def test_a_dead_relu_unit_never_fires():
    module = nn.RNN(X, H, nonlinearity="relu")
    initialise_(module, "identity")
    with torch.no_grad():
        module.bias_ih_l0[:3] = -100.0
        module.bias_ih_l0[3:] = 100.0
    (layer,) = of(module)
    assert layer.dead == {"h": 0.5}
    assert layer.saturated == {"h": 0.5}


def test_every_layer_and_direction_has_an_entry():
    layers = of(nn.LSTM(X, H, num_layers=2, bidirectional=True))
    assert [layer.layer for layer in layers] == ["lstm.l0", "lstm.l0.reverse", "lstm.l1", "lstm.l1.reverse"]
    assert set(layers[0].gates) == set("ifgo")
    assert set(layers[0].saturated) == set("ifgoc")


@pytest.mark.parametrize("cell", [Elman(X, H, activation="sigmoid"), Additive(X, H)])
def test_every_cell_of_ours_is_measured(cell):
    (layer,) = of(Stack([cell]))
    assert layer.cell == type(cell).__name__
    assert layer.gates.keys() == set(cell.gates)


def test_steps_after_the_end_of_a_packed_sequence_do_not_count():
    module, x = nn.GRU(X, H).double(), torch.randn(T, 2, X).double()
    packed = pack_padded_sequence(x, torch.tensor([T, 4]))
    (layer,) = saturation(record(module, lambda m: m(packed)[0].data.sum())).layers
    (long,), (short,) = of(module, x[:, :1]), of(module, x[:4, 1:])
    mean = (long.gates["z"] * T + short.gates["z"] * 4) / (T + 4)
    assert layer.gates["z"] == pytest.approx(mean, rel=1e-12)
