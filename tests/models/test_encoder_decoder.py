"""The encoder-decoder: torch's own modules, one sentence at a time, and a batch of them padded."""

import pytest
import torch
from torch import nn

from retrograd.bptt import Stack
from retrograd.cells import CELLS, from_torch, make_cell
from retrograd.errors import ConfigError, ShapeError
from retrograd.models import EncoderDecoder
from retrograd.models.attention import Attention
from tests.models.writing import assert_alike_by_steps

V, S_TYPES, H, E, T = 7, 9, 6, 5, 4
LENGTHS = (5, 2, 1, 5, 3)  # of the sources of one batch
PADDING = -100


def stack(cell="lstm", layers=2):
    return Stack([make_cell(cell, E if i == 0 else H, H) for i in range(layers)])


def model(cell="lstm", *, layers=2, **options):
    torch.manual_seed(0)
    parts = EncoderDecoder(V, stack(cell, layers), encoder=stack(cell, layers), source_types=S_TYPES, **options)
    return parts.double().eval()


def sources(lengths=LENGTHS):
    g = torch.Generator().manual_seed(1)
    each = [torch.randint(S_TYPES, (n,), generator=g) for n in lengths]
    return each, torch.stack([nn.functional.pad(x, (max(lengths) - len(x), 0), value=PADDING) for x in each], 1)


def tokens(batch=5):
    return torch.randint(V, (T, batch), generator=torch.Generator().manual_seed(2))


def test_it_equals_two_of_torchs_lstms():
    torch.manual_seed(0)
    reader, writer = nn.LSTM(E, H, 2), nn.LSTM(E, H, 2)
    ours = [Stack([cell for [cell] in from_torch(module)]) for module in (reader, writer)]
    m = EncoderDecoder(V, ours[1], encoder=ours[0], source_types=S_TYPES).eval()
    source = torch.randint(S_TYPES, (6, 3))
    logits, _ = m(tokens(3), source=source)
    _, last = reader(m.source_embedding(source))
    h, _ = writer(m.embedding(tokens(3)), last)
    torch.testing.assert_close(logits, m.softmax(h), atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_is_its_members_one_by_one(cell, attention):
    m = model(cell, attention=attention)
    each, padded = sources()
    logits, state = m(tokens(), source=padded)
    for b, source in enumerate(each):
        alone, end = m(tokens()[:, b : b + 1], source=source[:, None])
        torch.testing.assert_close(logits[:, b : b + 1], alone, atol=1e-12, rtol=0)
        for ours, theirs in zip(state[:2], end[:2], strict=True):
            torch.testing.assert_close(ours[b : b + 1], theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("attention", [False, True])
def test_so_are_its_gradients(attention):
    m = model(attention=attention)
    each, padded = sources()

    def gradients(loss):
        m.zero_grad()
        loss.backward()
        return [p.grad.clone() for p in m.parameters()]

    batch = gradients(m(tokens(), source=padded)[0].square().sum())
    alone = [m(tokens()[:, b : b + 1], source=x[:, None])[0].square().sum() for b, x in enumerate(each)]
    for ours, theirs in zip(batch, gradients(sum(alone)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_what_stands_in_the_padding_does_not_matter():
    m = model(attention=True)
    _, padded = sources()
    other = torch.where(padded < 0, -1, padded)
    assert torch.equal(m(tokens(), source=padded)[0], m(tokens(), source=other)[0])


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_writing_token_by_token_is_writing_at_once(cell, attention):
    _, padded = sources()
    assert_alike_by_steps(model(cell, attention=attention), tokens(), padded)


@pytest.mark.parametrize("attention", [False, True])
def test_a_state_is_flat_with_the_batch_first_so_that_hypotheses_can_be_chosen(attention):
    m = model(attention=attention)
    _, padded = sources()
    _, state = m(tokens(), source=padded)
    assert len(state) == (4 if attention else 2)
    assert all(isinstance(x, torch.Tensor) and len(x) == len(LENGTHS) for x in state)
    chosen = torch.tensor([3, 3, 0])
    some, _ = m(tokens()[:1, chosen], tuple(x[chosen] for x in state))
    every, _ = m(tokens()[:1], state)
    torch.testing.assert_close(some, every[:, chosen], atol=1e-12, rtol=0)


def test_a_window_that_begins_anew_reads_the_source_whatever_came_before():
    m = model()
    _, padded = sources()
    fresh, before = m(tokens(), source=padded)
    starts = torch.zeros(T, len(LENGTHS), dtype=torch.bool)
    assert not torch.equal(m(tokens(), before, starts, padded)[0], fresh)
    starts[0] = True
    assert torch.equal(m(tokens(), before, starts, padded)[0], fresh)


class TestAttention:
    def test_it_is_the_sum_of_the_memory_weighted_one_place_at_a_time(self):
        torch.manual_seed(0)
        attention = Attention(3, 4).double()
        h, memory = torch.randn(T, 2, 3, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
        real = torch.tensor([[False, False, True, True, True], [True] * 5])
        found, weights = attention(h, memory, real), attention.weights(h, memory, real)
        for b in range(2):
            for t in range(T):
                places = [s for s in range(5) if real[b, s]]
                e = [torch.exp(h[t, b] @ attention.score.weight @ memory[b, s]) for s in places]
                c = sum(x / sum(e) * memory[b, s] for x, s in zip(e, places, strict=True))
                o = torch.tanh(attention.combine.weight @ torch.cat([c, h[t, b]]))
                torch.testing.assert_close(found[t, b], o, atol=1e-12, rtol=0)
        assert not weights[0, :, :2].any()
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, T, dtype=torch.float64), atol=1e-12, rtol=0)

    def test_without_it_all_gradient_comes_by_the_last_state_and_with_it_there_is_a_way_around(self):
        for attention in (False, True):
            m = model(layers=1, attention=attention)
            _, padded = sources((5, 5))
            *decoder, _memory, _real = state = m.encode(padded) if attention else (*m.encode(padded), None, None)
            cut = tuple(x.detach() for x in decoder) + (state[1:] if attention else ())
            logits, _ = m(tokens(2), cut)
            assert logits.requires_grad
            m.zero_grad()
            logits.sum().backward()
            reached = m.source_embedding.weight.grad
            assert (reached is not None and bool(reached.any())) == attention


def test_dropout_acts_in_training_only():
    m = model(dropout=0.5)
    _, padded = sources()
    assert torch.equal(m(tokens(), source=padded)[0], m(tokens(), source=padded)[0])
    m.train()
    assert not torch.equal(m(tokens(), source=padded)[0], m(tokens(), source=padded)[0])


class TestBadInput:
    def test_layers_that_cannot_hand_their_state_on(self):
        with pytest.raises(ConfigError, match=r"both need layers of one size; got \[12, 12\] and \[6, 6\]"):
            EncoderDecoder(V, stack("gru"), encoder=stack("lstm"), source_types=S_TYPES)

    @pytest.mark.parametrize("source", [None, torch.zeros(0, 5, dtype=torch.long), torch.zeros(5, 3, 8, 8)])
    def test_a_source_that_is_no_sentence(self, source):
        with pytest.raises(ShapeError, match=r"must be \(time, batch\)"):
            model()(tokens(), source=source)

    @pytest.mark.parametrize("column", [[PADDING] * 3, [1, PADDING, 2], [1, 2, PADDING]])
    def test_a_source_that_is_empty_or_padded_elsewhere(self, column):
        with pytest.raises(ShapeError, match="padding before"):
            model()(tokens(2), source=torch.tensor([[1, 2, 3], column]).t())

    @pytest.mark.parametrize("places", [[(0, 0)], [(1, 0), (1, 1)], [(0, 0), (0, 1), (2, 1)]])
    def test_sequences_that_do_not_begin_together(self, places):
        starts = torch.zeros(T, 2, dtype=torch.bool)
        for t, b in places:
            starts[t, b] = True
        with pytest.raises(ShapeError, match="all of a window's together"):
            model()(tokens(2), None, starts, sources((3, 3))[1])
