"""The recurrent language model, beside the same model written with torch's own modules."""

import pytest
import torch
from torch import nn

from retrograd.bptt import Stack
from retrograd.cells import CELLS, from_torch, make_cell
from retrograd.errors import ConfigError
from retrograd.models import Recurrent, parameters


def model(cell="lstm", *, layers=2, dropout=0.0, tied=False, width=8):
    torch.manual_seed(0)
    sizes = [width] + [8] * (layers - 1)
    stack = Stack([make_cell(cell, size, 8) for size in sizes], dropout=dropout)
    return Recurrent(11, stack, dropout=dropout, tied=tied)


def tokens(steps=6, batch=3):
    return torch.randint(11, (steps, batch), generator=torch.Generator().manual_seed(1))


def test_it_equals_embedding_lstm_and_linear():
    lstm = nn.LSTM(8, 8, 2)
    lm = Recurrent(11, Stack([layer for [layer] in from_torch(lstm)], backend="fused"))
    logits, _ = lm(tokens())
    assert torch.equal(logits, lm.softmax(lstm(lm.embedding(tokens()))[0]))


@pytest.mark.parametrize("begins", [[], [(2, 1), (4, 0)]])
@pytest.mark.parametrize("cell", CELLS)
def test_what_training_reads_is_what_the_softmax_reads_and_so_are_its_gradients(cell, begins):
    lm, starts = model(cell).double(), torch.zeros(9, 5, dtype=torch.bool)
    for t, b in begins:
        starts[t, b] = True
    answered, read = lm(tokens(9, 5), None, starts), lm.read(tokens(9, 5), None, starts)
    wanted = [p for name, p in lm.named_parameters() if not name.startswith("softmax")]
    expected, found = (
        torch.autograd.grad(h.square().sum() + state[0].sum(), wanted)
        for h, state in ((answered[0], answered[1]), (lm.softmax(read[0]), read[1]))
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_reading_in_two_parts_is_reading_at_once(cell):
    lm = model(cell).eval()
    whole, end = lm(tokens())
    first, state = lm(tokens()[:4])
    second, last = lm(tokens()[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, end)


def test_a_start_forgets_what_came_before():
    lm = model().eval()
    starts = torch.zeros(6, 3, dtype=torch.bool)
    starts[4, 1] = True
    logits, _ = lm(tokens(), None, starts)
    fresh, _ = lm(tokens()[4:, 1:2])
    torch.testing.assert_close(logits[4:, 1:2], fresh)
    torch.testing.assert_close(logits[:, [0, 2]], lm(tokens())[0][:, [0, 2]])


def test_tied_weights_are_one_matrix_counted_once():
    tied, free = model(tied=True), model()
    assert tied.softmax.weight is tied.embedding.weight
    assert parameters(free) - parameters(tied) == 11 * 8


def test_tying_needs_an_embedding_as_wide_as_the_hidden_layer():
    with pytest.raises(ConfigError, match="as wide as the hidden layer, 8; got 5"):
        model(tied=True, width=5)


def test_dropout_stands_above_each_layer_in_training_only():
    lm = model(dropout=0.5)
    assert not torch.equal(lm(tokens())[0], lm(tokens())[0])
    lm.eval()
    assert torch.equal(lm(tokens())[0], lm(tokens())[0])


@pytest.mark.parametrize("tied", [False, True])
def test_an_untrained_model_costs_about_ln_v(tied):
    lm = model(tied=tied)
    loss = nn.functional.cross_entropy(lm(tokens(50, 20))[0].flatten(0, 1), tokens(50, 20).flatten())
    assert float(loss.detach()) == pytest.approx(torch.tensor(11.0).log().item(), abs=0.25)
