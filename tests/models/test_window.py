"""The fixed-window language model, beside one position computed at a time."""

from itertools import pairwise

import pytest
import torch

from retrograd.errors import ConfigError, ShapeError, UnknownName
from retrograd.models.recurrent import parameters
from retrograd.models.window import WindowLM

V, T, B = 7, 12, 3


def model(context=4, **options):
    torch.manual_seed(0)
    return WindowLM(V, 5, 6, context=context, **options).double().eval()


def tokens(steps=T, batch=B):
    return torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(1))


def naive(lm, text, begins):
    """Logits of one sequence (T,): every step by itself, looking back to the latest of the places where it begins."""
    logits = []
    for t in range(len(text)):
        begin = max(place for place in begins if place <= t)
        seen = [int(text[i]) if i >= begin else V for i in range(t - lm.context + 1, t + 1)]
        e = torch.cat([lm.embedding.weight[i] for i in seen])
        h = torch.tanh(lm.hidden.weight @ e + lm.hidden.bias)
        logits.append(lm.softmax.weight @ h + lm.softmax.bias)
    return torch.stack(logits)


@pytest.mark.parametrize("context", [1, 2, 4, 15])
def test_it_equals_each_position_computed_by_itself(context):
    lm = model(context)
    logits, _ = lm(tokens())
    for b in range(B):
        torch.testing.assert_close(logits[:, b], naive(lm, tokens()[:, b], [0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("context", [1, 3, 4, 15])
@pytest.mark.parametrize("places", [[0], [5], [5, 6], [1, 4, 11]])
def test_a_start_forgets_what_came_before_in_its_sequence_alone(context, places):
    lm = model(context)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[places, 1] = True
    logits, state = lm(tokens(), None, starts)
    torch.testing.assert_close(logits[:, 1], naive(lm, tokens()[:, 1], [0, *places]), rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[:, [0, 2]], lm(tokens())[0][:, [0, 2]], rtol=0, atol=1e-12)
    more = torch.tensor([[1, 2, 3], [4, 5, 6]])
    went_on, _ = lm(more, state)
    whole = naive(lm, torch.cat([tokens(), more])[:, 1], [0, *places])
    torch.testing.assert_close(went_on[:, 1], whole[T:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [[3], [1, 2, 3], [1, 9], list(range(1, T))])
def test_the_text_may_be_cut_anywhere(cuts):
    lm, text = model(), tokens()
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[0], starts[7, 2], starts[3, 0] = True, True, True
    whole, end = lm(text, None, starts)
    state, pieces = None, []
    for first, last in zip([0, *cuts], [*cuts, T], strict=True):
        piece, state = lm(text[first:last], state, starts[first:last])
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-12)
    assert torch.equal(state[0], end[0])


def test_no_token_before_the_window_has_any_influence():
    lm, text = model(), tokens()
    other = text.clone()
    other[:-4] = (other[:-4] + 1) % V
    assert torch.equal(lm(text)[0][-1], lm(other)[0][-1])  # to the last bit
    other[-4] = (other[-4] + 1) % V
    assert not torch.equal(lm(text)[0][-1], lm(other)[0][-1])
    given = []
    lm.embedding.register_forward_hook(lambda module, ids, e: given.append(e) or e.retain_grad())
    lm(torch.arange(6)[:, None])[0][-1].square().sum().backward()
    lags = given[0].grad[:, 0].abs().sum(-1)  # (T, n): of each step's window
    assert bool((lags[-1] > 0).all())
    assert bool((lags[:-1] == 0).all())
    touched = lm.embedding.weight.grad.abs().sum(-1) > 0
    assert touched.tolist() == [False, False, True, True, True, True, False, False]


def test_the_matrix_grows_with_the_window_and_nothing_else_does():
    sizes = [parameters(model(n)) for n in (1, 2, 3, 4)]
    assert [b - a for a, b in pairwise(sizes)] == [5 * 6] * 3
    assert sizes[3] == (V + 1) * 5 + (4 * 5 * 6 + 6) + (6 * V + V)


def test_what_is_carried_can_be_detached_as_any_state():
    lm = model()
    _, state = lm(tokens())
    again, _ = lm(tokens(), tuple(s.detach() for s in state))
    torch.testing.assert_close(again, lm(torch.cat([tokens(), tokens()]))[0][T:], rtol=0, atol=1e-12)
    assert state[0].shape == (B, 3)
    assert torch.equal(state[0], tokens()[-3:].t())


def test_the_type_that_fills_the_beginning_is_read_and_never_predicted():
    lm = model()
    logits, _ = lm(tokens())
    assert logits.shape == (T, B, V)
    logits[0].sum().backward()
    assert float(lm.embedding.weight.grad[V].abs().sum()) > 0


def test_dropout_stands_above_the_hidden_layer_in_training_only():
    lm = model(dropout=0.5)
    assert torch.equal(lm(tokens())[0], lm(tokens())[0])
    lm.train()
    assert not torch.equal(lm(tokens())[0], lm(tokens())[0])


def test_what_cannot_be_built_or_carried_is_refused():
    with pytest.raises(ConfigError, match=r"at least the last token; got model\.context of 0"):
        model(0)
    with pytest.raises(UnknownName, match="No activation"):
        model(activation="tan")
    with pytest.raises(ShapeError, match=r"last 3 tokens of 3 sequences, \(3, 3\); got \(3, 2\)"):
        model()(tokens(), (torch.zeros(3, 2, dtype=torch.long),))
