"""The captioner: what it computes, one picture at a time and several."""

import pytest
import torch
from torch.nn import functional as F

from retrograd.bptt import Stack
from retrograd.cells import CELLS, make_cell
from retrograd.errors import ShapeError
from retrograd.models import Captioner
from retrograd.models.recurrent import parameters
from tests.models.writing import assert_alike_by_steps

V, H, E, T, B = 7, 6, 5, 4, 3
PICTURE = (3, 18, 22)


def model(cell="lstm", *, picture=PICTURE, layers=2, **options):
    torch.manual_seed(0)
    stack = Stack([make_cell(cell, E if i == 0 else H, H) for i in range(layers)])
    return Captioner(V, stack, picture=picture, **options).double().eval()


def pictures(picture=PICTURE, batch=B):
    g = torch.Generator().manual_seed(1)
    return torch.randint(256, (batch, *picture), generator=g, dtype=torch.uint8)


def tokens(batch=B):
    return torch.randint(V, (T, batch), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_is_its_members_one_by_one(cell):
    m, seen = model(cell), pictures()
    logits, state = m(tokens(), source=seen)
    for b in range(B):
        alone, end = m(tokens()[:, b : b + 1], source=seen[b : b + 1])
        torch.testing.assert_close(logits[:, b : b + 1], alone, atol=1e-12, rtol=0)
        torch.testing.assert_close([s[b : b + 1] for s in state], list(end), atol=1e-12, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_writing_token_by_token_is_writing_at_once(cell):
    assert_alike_by_steps(model(cell), tokens(), pictures())


def test_the_stack_begins_in_what_was_seen_and_nothing_else():
    m = model()
    state = m.look(pictures())
    h, _ = m.stack(m.embedding(tokens()), state)
    assert torch.equal(m(tokens(), source=pictures())[0], m.softmax(h))
    assert [s.shape for s in state] == [(B, 2 * H)] * 2
    assert not torch.equal(state[0][0], state[0][1])


@pytest.mark.parametrize("picture", [(1, 1, 1), (1, 5, 40), (3, 32, 32), (3, 64, 48)])
def test_pictures_may_be_of_any_size_and_all_cost_as_many_weights(picture):
    m = model(picture=picture)
    assert m(tokens(), source=pictures(picture))[0].isfinite().all()
    assert parameters(m) - parameters(model(picture=(picture[0], 8, 8))) == 0


def test_bytes_are_numbers_from_nought_to_one():
    m, seen = model(), pictures()
    assert torch.equal(m(tokens(), source=seen)[0], m(tokens(), source=seen.double() / 255)[0])


def test_the_first_words_gradient_reaches_the_picture():
    m = model()
    seen = (pictures().double() / 255).requires_grad_()
    F.cross_entropy(m(tokens(), source=seen)[0][-1], tokens()[0]).backward()
    assert bool(seen.grad.flatten(1).any(1).all())
    assert all(bool(p.grad.any()) for p in m.seeing.parameters() if p.dim() > 1)


def test_what_stands_where_matters():
    seen = pictures()
    m = model()
    assert not torch.allclose(m(tokens(), source=seen)[0], m(tokens(), source=seen.flip(-1))[0])


def test_a_window_that_begins_anew_looks_whatever_came_before():
    m = model()
    fresh, before = m(tokens(), source=pictures())
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[0] = True
    assert torch.equal(m(tokens(), before, starts, pictures())[0], fresh)
    assert not torch.equal(m(tokens(), before, None, pictures())[0], fresh)


def test_dropout_acts_in_training_only():
    m = model(dropout=0.5)
    assert torch.equal(m(tokens(), source=pictures())[0], m(tokens(), source=pictures())[0])
    m.train()
    assert not torch.equal(m(tokens(), source=pictures())[0], m(tokens(), source=pictures())[0])


@pytest.mark.parametrize("source", [None, torch.zeros(B, 3, 18, 21), torch.zeros(B, 1, 18, 22), torch.zeros(5, B)])
def test_pictures_of_another_shape_are_refused(source):
    with pytest.raises(ShapeError, match=r"Pictures must be \(batch, 3, 18, 22\), got"):
        model()(tokens(), source=source)


def test_sequences_that_begin_within_a_window_are_refused():
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[2, 1] = True
    with pytest.raises(ShapeError, match="all of a window's together"):
        model()(tokens(), None, starts, pictures())
