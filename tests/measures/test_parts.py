"""The gradient whole, carried by a layer alone, and dL/dh and dL/dc apart, against autograd through a plain loop."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.errors import NotMeasured
from retrograd.measures import parts
from retrograd.trace import record
from tests.trace.brute_force import gradients, unrolled

X, H, B, T = 3, 5, 4, 12


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_both_parts_are_those_of_autograd(depth):
    module, x, w = nn.LSTM(X, H, depth).double(), torch.randn(T, B, X).double(), torch.randn(H).double()
    found = parts(record(module, lambda m: m(x)[0] @ w))
    outputs, states = unrolled(module, x)
    truth = gradients((outputs @ w)[-1].sum(), states)
    assert found.at == T
    assert [layer.layer for layer in found.layers] == [f"lstm.l{i}" for i in range(depth)]
    for layer, whole in zip(found.layers, truth, strict=True):
        for mine, part in ((layer.output, whole[..., :H]), (layer.memory, whole[..., H:])):
            assert mine == pytest.approx(medians(part), abs=1e-9)
        assert layer.sequences == B


def test_at_its_own_step_the_loss_is_on_the_output_alone():
    module, x = nn.LSTM(X, H), torch.randn(T, B, X)
    [layer] = parts(record(module, lambda m: m(x)[0][-1].square().sum())).layers
    assert layer.memory[0] == -math.inf
    assert layer.memory[5] > layer.output[5]
    assert len(layer.output) == len(layer.memory) == T + 1


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_what_a_layer_carries_is_what_arrives_where_the_layers_above_are_cut_off(kind):
    module, x, w = kind(X, H, 2).double(), torch.randn(T, B, X).double(), torch.randn(H).double()
    below, above = parts(record(module, lambda m: m(x)[0] @ w)).layers
    assert above.carried == pytest.approx(above.whole, abs=1e-9)
    outputs, states = unrolled(module, x)
    truth = gradients((outputs @ w)[-1].sum(), states)[0]
    alone = kind(X, H).double()
    alone.load_state_dict({name: p for name, p in module.state_dict().items() if name.endswith("l0")})
    _, [own] = unrolled(alone, x)
    carried = gradients((own[-1] * truth[-1]).sum(), [own])[0]
    assert below.whole == pytest.approx(medians(truth), abs=1e-9)
    assert below.carried == pytest.approx(medians(carried), abs=1e-9)
    assert below.whole[T] > below.carried[T]  # the way through the layer above is the longer one


def test_a_loss_of_all_outputs_enters_on_the_way_and_the_layer_carries_less():
    module, x = nn.RNN(X, H), torch.randn(40, B, X)
    [layer] = parts(record(module, lambda m: m(x)[0].mean(0).square().sum())).layers
    assert layer.carried[30] < layer.whole[30] - 10


def test_a_loss_that_enters_before_the_last_step_is_not_carried_from_there():
    module, x = nn.RNN(X, H), torch.randn(T, B, X)
    late = [0] * 3 + list(range(T - 3))
    [layer] = parts(record(module, lambda m: m(x)[0][late].sum(-1))).layers
    assert layer.whole[:3] == (-math.inf,) * 3
    assert layer.whole[3] > -5
    assert layer.carried == (-math.inf,) * (T + 1)


def test_a_layer_that_begins_after_the_last_loss_is_left_out():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.GRU(X, H), nn.GRU(X, H)

    def loss(m):
        encoded, last = m.encoder(x[:8])
        decoded, _ = m.decoder(x[8:], last)
        losses = torch.cat([encoded, decoded]).sum(-1)
        return torch.where(torch.arange(T)[:, None] < 6, losses, 0.0)

    x = torch.randn(T, B, X)
    found = parts(record(Two(), loss))
    assert (found.at, [layer.layer for layer in found.layers]) == (6, ["encoder.l0"])


def test_of_a_packed_sequence_lags_count_from_its_own_end():
    module, x = nn.LSTM(X, H).double(), torch.randn(T, B, X).double()
    lengths = torch.tensor([12, 5, 9, 7])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    [layer] = parts(record(module, lambda m: m(packed)[1][0].sum())).layers
    rows = []
    for b, length in enumerate(lengths.tolist()):
        outputs, states = unrolled(module, x[:length, b : b + 1])
        rows.append(gradients(outputs[-1].sum(), states)[0].flip(0)[:6])
    truth = torch.cat(rows, dim=1).flip(0)
    assert layer.whole == pytest.approx(medians(truth), abs=1e-9)
    assert layer.carried == pytest.approx(layer.whole, abs=1e-9)


def test_a_state_without_a_memory_has_no_two_parts():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)
    [layer] = parts(record(module, lambda m: m(x)[0].sum(-1))).layers
    assert (layer.output, layer.memory) == ((), ())
    assert len(layer.whole) == T + 1


def test_a_layer_that_reads_backwards_has_none():
    module, x = nn.GRU(X, H, bidirectional=True), torch.randn(T, B, X)
    trace = record(module, lambda m: m(x)[0].sum(-1))
    assert [layer.layer for layer in parts(trace).layers] == ["gru.l0"]
    backwards = replace(trace, layers=trace.layers[1:])
    with pytest.raises(NotMeasured, match="No layer that runs forwards"):
        parts(backwards)


def medians(gradient):
    """Of ln of the norms of (T+1, B, S), by lag."""
    return gradient.norm(dim=-1).log().median(-1).values.flip(0).tolist()
