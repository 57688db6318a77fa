"""A stack that runs from the end is recorded in its own order; its gradients are autograd's through a plain loop."""

import pytest
import torch
from torch import nn

from retrograd.bptt import Bidirectional, Stack
from retrograd.bptt.lengths import turned
from retrograd.cells import GRU, LSTM, Elman
from retrograd.measures import reach
from retrograd.trace import record
from tests.oracles import STEPS
from tests.trace.cells_in_loops import step_losses

X, H, B, T = 3, 4, 3, 7
KINDS = {"elman": Elman, "gru": GRU, "lstm": LSTM}
LENGTHS = torch.tensor([T, 4, 1])


def both(kind, layers=2):
    def way():
        return [KINDS[kind](X if depth == 0 else H, H) for depth in range(layers)]

    return Bidirectional(way(), way()).double()


def alone(cells, x, lengths):
    """Outputs (T, B, H) and the states of each layer in the order of the steps, every sequence by itself.

    What a layer from the end holds behind a sequence's end is left as None.
    """
    steps, batch = x.shape[:2]
    kind = type(cells[0]).__name__.lower()
    inputs = {(t, b): x[t, b : b + 1] for b in range(batch) for t in range(lengths[b])}
    kept = []
    for cell in cells:
        weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        states, outputs = {}, {}
        for b in range(batch):
            s = torch.zeros(1, cell.state_size, dtype=x.dtype, requires_grad=True)
            for t in reversed(range(lengths[b])):
                s = STEPS[kind](weights, inputs[t, b], s)
                states[t, b], outputs[t, b] = s, s[:, :H]
        inputs = outputs
        kept.append(states)
    zero = x.new_zeros(1, H)
    y = torch.stack([torch.cat([inputs.get((t, b), zero) for b in range(batch)]) for t in range(steps)])
    return y, kept


def within(layer, gradient):
    """A layer's gradients (T+1, B, S) after each step that its sequences have: before its first a state only waits."""
    return gradient[1:] if layer.live is None else torch.where(layer.live[..., None], gradient[1:], 0.0)


def truth_of(loss, states, steps, batch):
    """d loss / ds in the order in which a reversed layer runs, (T, B, S): its step i reads x[T-1-i]."""
    keys = list(states)
    gradients = torch.autograd.grad(loss, [states[key] for key in keys], retain_graph=True, materialize_grads=True)
    found = torch.zeros(steps, batch, gradients[0].shape[-1], dtype=torch.float64)
    for (t, b), gradient in zip(keys, gradients, strict=True):
        found[steps - 1 - t, b] = gradient[0]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["one length", "several lengths"])
def test_every_loss_has_the_gradients_of_a_plain_loop_from_the_end(kind, lengths):
    """Term by term, at every state of both layers of the reversed stack; float64, to 1e-10."""
    model, x = both(kind), torch.randn(T, B, X).double()
    weights = torch.randn(T, B, 2 * H).double()

    def loss(m):
        return (m(x, lengths=lengths) * weights).sum(-1).tanh()

    trace = record(model, loss)
    own = [T] * B if lengths is None else lengths.tolist()
    y, states = alone(model.backwards.layers, x, own)
    forwards = model(x, lengths=lengths)[..., :H].detach()
    losses = (torch.cat([forwards, y], -1) * weights).sum(-1).tanh().sum(1)
    for t in range(1, T + 1):
        recorded = [
            within(layer, g) for g, layer in zip(trace.gradients(t), trace.layers, strict=True) if layer.reverse
        ]
        for mine, kept in zip(recorded, states, strict=True):
            torch.testing.assert_close(mine, truth_of(losses[t - 1], kept, T, B), rtol=1e-10, atol=1e-14)
    reversed_layers = [layer for layer in trace.layers if layer.reverse]
    for layer, kept in zip(reversed_layers, states, strict=True):
        truth = truth_of(losses.sum(), kept, T, B)
        torch.testing.assert_close(within(layer, layer.total), truth, rtol=1e-10, atol=1e-14)
        for b, length in enumerate(own):
            waiting = layer.total[: T - length + 1, b]
            assert torch.equal(waiting, waiting[-1:].expand_as(waiting))


@pytest.mark.parametrize("kind", KINDS)
def test_the_forward_half_is_recorded_as_if_it_stood_alone(kind):
    model, x = both(kind), torch.randn(T, B, X).double()
    trace = record(model, lambda m: step_losses(m(x, lengths=LENGTHS)[..., :H]))
    plain = record(model.forwards, lambda m: step_losses(m(x)[0]) * (torch.arange(T)[:, None] < LENGTHS))
    for t in (1, 4, T):
        mine = [g for g, layer in zip(trace.gradients(t), trace.layers, strict=True) if not layer.reverse]
        torch.testing.assert_close(mine, list(plain.gradients(t)), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("summed", [False, True], ids=["a loss each step", "one loss"])
def test_which_way_a_layer_runs_is_known_whatever_the_loss(summed):
    model, x = both("gru"), torch.randn(T, B, X).double()
    trace = record(model, lambda m: step_losses(m(x)).sum() if summed else step_losses(m(x)))
    assert {layer.name: layer.reverse for layer in trace.layers} == {
        "forwards.l0": False,
        "forwards.l1": False,
        "backwards.l0": True,
        "backwards.l1": True,
    }
    assert [layer.begins for layer in trace.layers] == [0] * 4
    assert len(trace) == T
    if not summed:
        assert reach(trace).layers == ("forwards.l0", "forwards.l1")


def test_a_reversed_layer_is_kept_in_the_order_in_which_it_runs():
    stack, x = Stack([LSTM(X, H)], reverse=True).double(), torch.randn(T, B, X).double()
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[3, 1] = True
    given = (torch.randn(B, 2 * H).double(),)
    outputs, last = stack(x, given, starts)
    (layer,) = record(stack, lambda m: m(x, given, starts)[0].sum(-1)).layers
    assert layer.reverse
    assert torch.equal(layer.inputs, x.flip(0))
    assert torch.equal(layer.starts, starts.flip(0))
    torch.testing.assert_close(layer.states[0], given[0])
    torch.testing.assert_close(layer.states[1:, :, :H].flip(0), outputs.detach(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(layer.states[-1], last[0].detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_the_model_sees_while_it_is_recorded_is_its_own(dtype):
    """Dropout's draws included."""
    stack = Stack([LSTM(X, H), GRU(H, H), LSTM(H, H)], dropout=0.4, reverse=True).to(dtype)
    x, starts, seen = torch.randn(T, B, X, dtype=dtype), torch.rand(T, B) < 0.2, []

    def loss(m):
        seen.append(m(x, starts=starts))
        return seen[-1][0].sum()

    torch.manual_seed(1)
    record(stack, loss)
    torch.manual_seed(1)
    outputs, state = stack(x, starts=starts)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(seen[0][0], outputs, **tolerance)
    torch.testing.assert_close(seen[0][1], state, **tolerance)


def test_a_reversed_stack_fed_its_own_state_continues_towards_the_front():
    stack, x = Stack([LSTM(X, H), LSTM(H, H)], reverse=True).double(), torch.randn(T, B, X).double()

    def halves(m):
        late, state = m(x[4:])
        return torch.cat([m(x[:4], state)[0], late])[0].sum()

    trace, whole = record(stack, halves), record(stack, lambda m: m(x)[0][0].sum())
    assert [len(layer) for layer in trace.layers] == [T, T]
    for mine, truth in zip(trace.layers, whole.layers, strict=True):
        torch.testing.assert_close(mine.total, truth.total, rtol=1e-10, atol=1e-14)


def test_an_embedding_below_puts_both_directions_on_one_clock():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.both, self.softmax = nn.Embedding(9, X), both("gru", 1), nn.Linear(2 * H, 5)

        def forward(self, ids):
            return self.softmax(self.both(self.embedding(ids), lengths=LENGTHS))

    ids = torch.randint(9, (T, B))
    trace = record(Tagger().double(), lambda m: step_losses(m(ids)))
    assert [(layer.name, layer.begins, layer.reverse) for layer in trace.layers] == [
        ("both.forwards.l0", 0, False),
        ("both.backwards.l0", 0, True),
    ]


def test_from_the_end_the_reach_is_that_of_the_turned_sequences_forwards():
    """A loss on the last state: by the steps that each sequence has, not by those of the longest."""
    x, lengths = torch.randn(T, B, X).double(), torch.tensor([4, T, 5])
    forwards, backwards = Stack([LSTM(X, H)]).double(), Stack([LSTM(X, H)], reverse=True).double()
    backwards.load_state_dict(forwards.state_dict())
    truth = reach(record(forwards, lambda m: m(x, lengths=lengths)[1][0].square().sum()))
    turned_x = turned(x, lengths)
    mine = reach(record(backwards, lambda m: m(turned_x, lengths=lengths)[1][0].square().sum()), layers=["stack.l0"])
    assert mine.longest == truth.longest == 4
    torch.testing.assert_close(mine.log_norms, truth.log_norms, rtol=0, atol=1e-12)
