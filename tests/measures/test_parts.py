"""dL/dh and dL/dc apart, against autograd through a plain loop."""

import math

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured
from retrograd.measures import parts
from retrograd.trace import record
from tests.trace.brute_force import gradients, unrolled

X, H, B, T = 3, 5, 4, 12


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_both_parts_are_those_of_autograd(depth):
    torch.manual_seed(0)
    module, x, w = nn.LSTM(X, H, depth).double(), torch.randn(T, B, X).double(), torch.randn(H).double()
    found = parts(record(module, lambda m: m(x)[0] @ w))
    outputs, states = unrolled(module, x)
    truth = gradients((outputs @ w)[-1].sum(), states)
    assert found.at == T
    assert [layer.layer for layer in found.layers] == [f"lstm.l{i}" for i in range(depth)]
    for layer, whole in zip(found.layers, truth, strict=True):
        for mine, part in ((layer.output, whole[..., :H]), (layer.memory, whole[..., H:])):
            norms = part.norm(dim=-1).log().median(-1).values.flip(0)
            assert mine == pytest.approx(norms.tolist(), abs=1e-9)
        assert layer.sequences == B


def test_at_its_own_step_the_loss_is_on_the_output_alone():
    torch.manual_seed(0)
    module, x = nn.LSTM(X, H), torch.randn(T, B, X)
    [layer] = parts(record(module, lambda m: m(x)[0][-1].square().sum())).layers
    assert layer.memory[0] == -math.inf
    assert layer.memory[5] > layer.output[5]
    assert len(layer.output) == len(layer.memory) == T + 1


def test_a_state_without_a_memory_has_no_parts():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)
    with pytest.raises(NotMeasured, match="no two parts"):
        parts(record(module, lambda m: m(x)[0].sum(-1)))
