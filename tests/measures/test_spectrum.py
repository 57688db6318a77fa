"""Matrices whose spectrum is known, put into cells as their recurrent weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import CELLS, LSTM, Additive, Elman, MultiTap, to_torch
from retrograd.init import initialise_
from retrograd.measures import spectrum
from retrograd.trace import record

X, H, B, T = 3, 6, 2, 4


def of(module):
    x = torch.randn(T, B, X, dtype=next(module.parameters()).dtype)
    return spectrum(record(module, lambda m: m(x)[0].sum(-1))).layers


def block_of(W):
    """The spectrum of one matrix, as an Elman layer's W_hh."""
    cell = Elman(X, len(W)).double()
    with torch.no_grad():
        cell.weight_hh.copy_(torch.as_tensor(W, dtype=torch.float64))
    [[block]] = [layer.blocks for layer in of(Stack([cell]))]
    return block


def test_a_rotation_has_a_pair_on_the_circle():
    c, s = math.cos(0.3), math.sin(0.3)
    block = block_of([[0.9 * c, -0.9 * s], [0.9 * s, 0.9 * c]])
    assert block.gate == "h"
    assert block.eigenvalues == (pytest.approx((0.9 * c, 0.9 * s)), pytest.approx((0.9 * c, -0.9 * s)))
    assert (block.radius, block.sigma_max) == (pytest.approx(0.9), pytest.approx(0.9))


def test_a_diagonal_is_its_own_spectrum_the_largest_modulus_first():
    block = block_of(np.diag([0.5, -2.0, 0.0, 1.5, -0.5]))
    assert block.eigenvalues == ((-2.0, 0.0), (1.5, 0.0), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.0))
    assert (block.radius, block.sigma_max) == (2.0, pytest.approx(2.0))


def test_a_nilpotent_matrix_grows_though_its_radius_is_zero():
    block = block_of([[0.0, 50.0], [0.0, 0.0]])
    assert block.eigenvalues == ((0.0, 0.0),) * 2
    assert (block.radius, block.sigma_max) == (0.0, pytest.approx(50.0))


def test_a_random_matrix_has_the_spectrum_that_numpy_finds():
    W = np.random.default_rng(0).normal(size=(9, 9))
    block = block_of(W)
    truth = sorted(np.linalg.eigvals(W), key=lambda w: (-round(abs(w), 9), -w.imag))
    assert [complex(*w) for w in block.eigenvalues] == pytest.approx(truth, rel=1e-9)
    assert block.radius == pytest.approx(max(abs(np.linalg.eigvals(W))), rel=1e-12)
    assert block.singular_values == pytest.approx(np.linalg.svd(W, compute_uv=False), rel=1e-12)
    assert block.sigma_max == block.singular_values[0]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_an_orthogonal_start_has_every_eigenvalue_on_the_circle_in_each_block(kind):
    module = kind(X, H, num_layers=2).double()
    initialise_(module, "orthogonal")
    layers = of(module)
    assert [layer.layer for layer in layers] == [f"{kind.__name__.lower()}.l{i}" for i in range(2)]
    for layer in layers:
        for block in layer.blocks:
            assert [math.hypot(*w) for w in block.eigenvalues] == pytest.approx([1.0] * H, rel=1e-12)
            assert (block.radius, block.sigma_max) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(("kind", "gates"), [("elman", "h"), ("gru", "rzn"), ("lstm", "ifgo")])
def test_each_gates_block_is_its_own_rows_of_the_weights(kind, gates):
    cell = CELLS[kind](X, H).double()
    with torch.no_grad():
        for g in range(len(gates)):
            cell.weight_hh[g * H : (g + 1) * H] = (g + 1) * torch.eye(H)
    (layer,) = of(Stack([cell]))
    assert (layer.layer, layer.cell) == ("stack.l0", type(cell).__name__)
    assert [block.gate for block in layer.blocks] == list(gates)
    assert [block.radius for block in layer.blocks] == [1.0, 2.0, 3.0, 4.0][: len(gates)]


def test_each_taps_block_is_its_own_columns_of_the_weights():
    cell = MultiTap(X, H, taps=(1, 4)).double()
    with torch.no_grad():
        cell.weight_hh[:, :H], cell.weight_hh[:, H:] = torch.eye(H), -0.5 * torch.eye(H)
    (layer,) = of(Stack([cell]))
    assert [(block.gate, block.eigenvalues[0]) for block in layer.blocks] == [("tap 1", (1, 0)), ("tap 4", (-0.5, 0))]


def test_torchs_lstm_and_ours_with_the_same_weights_agree():
    cells = [LSTM(X, H), LSTM(H, H)]
    ours, theirs = of(Stack(cells)), of(to_torch(cells))
    assert [layer.blocks for layer in ours] == [layer.blocks for layer in theirs]


def test_both_directions_have_their_own_weights():
    forward, backward = of(nn.GRU(X, H, bidirectional=True))
    assert (forward.layer, backward.layer) == ("gru.l0", "gru.l0.reverse")
    assert forward.blocks != backward.blocks


def test_a_layer_that_ran_twice_is_there_once():
    module, x = nn.GRU(X, H), torch.randn(T, B, X)
    trace = record(module, lambda m: (m(x)[0] + m(x.flip(0))[0]).sum(-1))
    assert len(trace.layers) == 2
    assert [layer.layer for layer in spectrum(trace).layers] == ["gru.l0"]


def test_an_additive_layer_has_no_recurrent_weights_and_no_blocks():
    (layer,) = of(Stack([Additive(X, H)]))
    assert (layer.cell, layer.blocks) == ("Additive", ())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_block_that_is_not_finite_is_nan_and_leaves_the_others_alone(bad):
    module = nn.LSTM(X, H)
    whole = of(module)[0].blocks
    with torch.no_grad():
        module.weight_hh_l0[H + 2, 1] = bad  # in the block of f
    i, f, g, o = of(module)[0].blocks
    assert (i, g, o) == (whole[0], *whole[2:])
    assert f.gate == "f"
    assert len(f.eigenvalues) == H
    assert all(map(math.isnan, [f.radius, f.sigma_max, *f.eigenvalues[0], *f.eigenvalues[-1]]))


def test_it_is_found_in_float64():
    """A tiny eigenvalue that float32 would lose beside the large one: their product is 2^-40, their sum about 2."""
    _, small = block_of([[1.0, 1.0], [1.0, 1.0 + 2**-40]]).eigenvalues
    assert small == (pytest.approx(2**-41, rel=1e-3, abs=0), 0.0)
