"""Several recurrent layers on one clock: which goes on after which, and which step each loss belongs to.

Against zeros added by hand in float64; tolerance 1e-9.
"""

import pytest
import torch
from torch import nn

from retrograd.errors import NotMeasured, ShapeError
from retrograd.measures import reach
from retrograd.measures.joined import joined_layers, left_out
from retrograd.trace import record
from tests.trace.cells_in_loops import B, H, T, X, inputs, step_losses
from tests.trace.probing import Probes, check, ran, unmarked


def clock(trace):
    return [(layer.name, layer.begins, layer.begins + len(layer)) for layer in trace.layers]


class Pair(nn.Module):
    def __init__(self, encoder=nn.GRU, decoder=nn.GRU, **options):
        super().__init__()
        self.encoder, self.decoder = encoder(X, H, **options), decoder(X, H, **options)
        self.bridge = nn.Linear(H, H)


BRIDGES = {
    "as it is": lambda m, h: h,
    "a linear map": lambda m, h: torch.tanh(m.bridge(h)),
    "a linear map of each part": lambda m, h: tuple(m.bridge(part) for part in h),
}


@pytest.mark.parametrize("steps", [T, T - 2, T + 3])
@pytest.mark.parametrize("bridge", BRIDGES)
def test_a_decoder_goes_on_after_its_encoder(steps, bridge):
    kind = nn.LSTM if bridge == "a linear map of each part" else nn.GRU
    model, x, y = Pair(kind, kind).double(), inputs(T, B, X), inputs(steps, B, X)

    def loss(m, encoder=unmarked, decoder=unmarked):
        _, last = ran(m.encoder, x, None, encoder)
        return step_losses(ran(m.decoder, y, BRIDGES[bridge](m, last), decoder)[0])

    trace = check(model, loss, Probes(), Probes())
    assert clock(trace) == [("encoder.l0", 0, T), ("decoder.l0", T, T + steps)]
    assert (trace.first_loss, len(trace)) == (T, T + steps)
    assert [layer.first for layer in trace.layers] == [0, 1]
    got = reach(trace, anchors=[T + steps], longest=T + steps)
    assert (got.log_norms > -torch.inf).all()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_decoder_called_with_one_token_at_a_time_is_one_layer(kind, layers):
    model, x, y = Pair(kind, kind, num_layers=layers).double(), inputs(T, B, X), inputs(T - 1, B, X)

    def loss(m, *marks):
        encoder, decoder = (marks[:layers], marks[layers:]) if marks else ((unmarked,), ())
        _, state = ran(m.encoder, x, None, *encoder)
        if decoder:
            return step_losses(ran(m.decoder, y, state, *decoder)[0])
        outputs = []
        for token in y:
            out, state = m.decoder(token[None], state)
            outputs.append(out)
        return step_losses(torch.cat(outputs))

    trace = check(model, loss, *(Probes() for _ in range(2 * layers)))
    assert [layer.begins for layer in trace.layers] == [0] * layers + [T] * layers
    assert [len(layer) for layer in trace.layers] == [T] * layers + [T - 1] * layers


def test_three_modules_in_a_row_are_one_after_another():
    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.GRU(X, H), nn.GRU(X, H), nn.GRU(X, H)

    x = [inputs(steps, B, X) for steps in (3, 4, 5)]

    def loss(m, *marks):
        h, outputs = None, []
        for part, module in enumerate((m.a, m.b, m.c)):
            out, h = ran(module, x[part], h, *(marks[part : part + 1] or [unmarked]))
            outputs.append(out)
        return step_losses(torch.cat(outputs))

    trace = check(Three().double(), loss, Probes(), Probes(), Probes())
    assert clock(trace) == [("a.l0", 0, 3), ("b.l0", 3, 7), ("c.l0", 7, 12)]


def test_an_encoder_of_both_directions_is_followed_by_its_decoder():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.GRU(X, H, bidirectional=True), nn.GRU(X, H)
            self.merge = nn.Linear(2 * H, H)

    x, y = inputs(T, B, X), inputs(T, B, X)

    def loss(m, forward=unmarked, reverse=unmarked, decoder=unmarked):
        _, last = ran(m.encoder, x, None, forward, reverse)
        return step_losses(ran(m.decoder, y, m.merge(torch.cat([last[0], last[1]], -1))[None], decoder)[0])

    trace = check(Both().double(), loss, Probes(), Probes(), Probes())
    assert clock(trace) == [("encoder.l0", 0, T), ("encoder.l0.reverse", 0, T), ("decoder.l0", T, 2 * T)]
    assert reach(trace).layers == ("encoder.l0", "decoder.l0")


@pytest.mark.parametrize("steps", [T - 2, T + 1])
@pytest.mark.parametrize("how", ["beside its input", "as an attribute"])
def test_a_cell_that_reads_an_encoder_some_other_way_goes_on_after_it(steps, how):
    class Reads(nn.Module):
        memory = None

        def __init__(self):
            super().__init__()
            self.W, self.U = nn.Linear(X, H), nn.Linear(H, H)

        def forward(self, x, h, memory=None):
            memory = self.memory if memory is None else memory
            return torch.tanh(self.W(x) + self.U(h) + memory.mean(0))

    model, x, y = (
        nn.ModuleDict({"encoder": nn.GRU(X, H), "cell": Reads()}).double(),
        inputs(T, B, X),
        inputs(steps, B, X),
    )

    def loss(m, encoder=unmarked, decoder=unmarked):
        memory = ran(m["encoder"], x, None, encoder)[0]
        m["cell"].memory, h, hs = memory, decoder(torch.zeros(B, H).double()), []
        for y_t in y:
            h = decoder(m["cell"](y_t, h, *([memory] if how == "beside its input" else [])))
            hs.append(h)
        m["cell"].memory = None
        return step_losses(torch.stack(hs))

    trace = check(model, loss, Probes(), Probes())
    assert clock(trace) == [("encoder.l0", 0, T), ("cell", T, T + steps)]


def test_a_module_above_another_is_on_the_same_clock():
    model, x = nn.Sequential(nn.GRU(X, H), nn.LSTM(H, H)).double(), inputs(T, B, X)

    def loss(m, below=unmarked, above=unmarked):
        return step_losses(ran(m[1], torch.tanh(ran(m[0], x, None, below)[0]), None, above)[0])

    assert clock(check(model, loss, Probes(), Probes())) == [("0.l0", 0, T), ("1.l0", 0, T)]


LOSSES = {  # which of T: what is left, and the step before the first
    "all": (slice(None), 0),
    "all but the first": (slice(1, None), 1),
    "all but the last": (slice(None, -1), 0),
    "all but two at each end": (slice(2, -2), 2),
}


@pytest.mark.parametrize("which", LOSSES)
@pytest.mark.parametrize(("masked", "summed"), [(False, False), (True, True)])
def test_fewer_losses_than_steps_are_those_of_the_states_that_they_depend_on(which, masked, summed):
    kept, first = LOSSES[which]
    mask = torch.ones(T, B).double()
    mask[2] = mask[T - 3, 0] = 0 if masked else 1

    def loss(m, mark=unmarked):
        losses = (step_losses(ran(m, x, None, mark)[0]) * mask)[kept]
        return losses.sum(1) if summed else losses

    x = inputs(T, B, X)
    assert check(nn.LSTM(X, H).double(), loss, Probes()).first_loss == first


def test_losses_of_an_encoder_are_of_its_steps_also_where_a_decoder_goes_on_after_it(x):
    def loss(m):
        outputs, last = m.encoder(x)
        m.decoder(x, last)
        return step_losses(outputs)

    trace = record(Pair().double(), loss)
    assert (len(trace.losses), len(trace), trace.first_loss) == (T, 2 * T, 0)


def test_losses_that_belong_to_no_step_are_refused():
    x = inputs(T, B, X)
    with pytest.raises(ShapeError, match=r"one for each of 6 steps, got \(3, 2\)"):
        _ = record(nn.GRU(X, H).double(), lambda m: step_losses(m(x)[0])[::2]).first_loss
    with pytest.raises(ShapeError, match="If batch comes first"):
        _ = record(nn.GRU(X, H).double(), lambda m: step_losses(m(x)[0]).T).first_loss


def test_two_texts_of_different_lengths_and_one_loss_are_counted_from_the_end():
    """A siamese net: one module on both."""
    x, y = inputs(T, B, X), inputs(T + 3, B, X)

    def loss(m, one=unmarked, other=unmarked):
        a, b = ran(m, x, None, one)[1], ran(m, y, None, other)[1]
        return (a * b).sum()

    trace = check(nn.GRU(X, H).double(), loss, Probes(), Probes())
    assert [layer.name for layer in trace.layers] == ["gru.l0", "gru.l0 (2)"]
    joined = joined_layers(trace)
    assert (joined.begins, joined.length) == ((3, 0), T + 3)
    norms = reach(trace).log_norms.exp()[0]
    expected = trace.layers[1].total.flip(0).norm(dim=-1).square()  # the longer one goes back to the start
    expected[: T + 1] += trace.layers[0].total.flip(0).norm(dim=-1).square()
    torch.testing.assert_close(norms, expected.sqrt(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [T - 2, T + 3])
def test_one_loss_at_the_end_of_a_decoder_is_counted_back_through_the_encoder(steps):
    model, x, y = Pair().double(), inputs(T, B, X), inputs(steps, B, X)

    def loss(m, encoder=unmarked, decoder=unmarked):
        return step_losses(ran(m.decoder, y, ran(m.encoder, x, None, encoder)[1], decoder)[0])[-1].sum()

    trace = check(model, loss, Probes(), Probes())
    assert joined_layers(trace).begins == (0, T)
    norms = reach(trace).log_norms.exp()[0]  # lags from the end
    whole = torch.cat([trace.layers[0].total, trace.layers[1].total[1:]]).norm(dim=-1)
    torch.testing.assert_close(norms, whole.flip(0)[: len(norms)], rtol=1e-9, atol=0)


def test_a_reader_of_letters_below_a_reader_of_words_is_of_another_batch_and_another_clock():
    class Hierarchical(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.words = nn.GRU(X, H), nn.GRU(H, H)

    x, letters = inputs(5, T * B, X), 5

    def loss(m, below=unmarked, above=unmarked):
        _, last = ran(m.letters, x, None, below)
        return step_losses(ran(m.words, last[0].view(T, B, H), None, above)[0])

    trace = check(Hierarchical().double(), loss, Probes(), Probes())
    assert clock(trace) == [("letters.l0", 0, letters), ("words.l0", letters, letters + T)]
    joined = joined_layers(trace)
    assert (joined.indices, left_out(trace, joined)) == ((1,), ["letters.l0"])
    assert (reach(trace).layers, trace.first_loss) == (("words.l0",), letters)


def test_packed_sequences_with_a_learned_first_state_in_a_decoder():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.LSTM(X, H), nn.LSTM(X, H)
            self.h0 = nn.Parameter(torch.randn(1, 1, H))

    x, y, lengths = inputs(T, 3, X), inputs(T, 3, X), torch.tensor([2, 6, 4])

    def loss(m, encoder=unmarked, decoder=unmarked):
        first = m.h0.expand(-1, 3, -1)
        _, (h, c) = ran(m.encoder, x, (first, first), encoder, lengths=lengths)
        return step_losses(ran(m.decoder, y, (h + first, c), decoder, lengths=lengths.flip(0))[0])

    trace = check(Learned().double(), loss, Probes(), Probes())
    assert clock(trace) == [("encoder.l0", 0, T), ("decoder.l0", T, 2 * T)]
    assert trace.layers[0].live.sum(0).tolist() == lengths.tolist()
    assert trace.layers[1].live.sum(0).tolist() == lengths.flip(0).tolist()


# ------------------------------------------------------------------------------------- read against the losses' time


class TwoWays(nn.Module):
    """Both directions by hand."""

    def __init__(self, kind):
        super().__init__()
        self.there, self.back = kind(X, H), kind(X, H)


@pytest.mark.parametrize("start", [0, 1])
def test_a_loop_from_the_end_to_the_start_is_told_from_one_that_runs_forwards(start):
    def loss(m, there=unmarked, back=unmarked):
        h, g = there(zeros), back(zeros)
        hs, gs = [], []
        for t in range(T):
            h = there(m.there(x[t], h))
            g = back(m.back(x[T - 1 - t], g))
            hs.append(h)
            gs.append(g)
        return step_losses(torch.stack(hs) + torch.stack(gs[::-1]))[start:]

    x, zeros = inputs(T, B, X), torch.zeros(B, H).double()
    trace = record(TwoWays(nn.GRUCell).double(), loss)
    assert [(layer.name, layer.reverse) for layer in trace.layers] == [("there.l0", False), ("back.l0", True)]
    assert reach(trace).layers == ("there.l0",)
    assert trace.first_loss == start


def test_a_module_that_is_given_its_text_turned_round_is_told_to_run_in_reverse():
    def loss(m, there=unmarked, back=unmarked):
        forth, back_ = ran(m.there, x, None, there)[0], ran(m.back, x.flip(0), None, back)[0].flip(0)
        return step_losses(forth * back_)

    x = inputs(T, B, X)
    trace = check(TwoWays(nn.LSTM).double(), loss, Probes(), Probes())
    assert [layer.reverse for layer in trace.layers] == [False, True]
    with pytest.raises(NotMeasured, match="No layer runs forwards"):
        reach(record(nn.GRU(X, H).double(), lambda m: step_losses(m(x.flip(0))[0].flip(0))))


def test_attention_over_all_steps_and_batch_norm_make_no_layer_run_in_reverse():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.norm = nn.GRU(X, H), nn.BatchNorm1d(H)

    x = inputs(T, B, X)

    def attended(m, mark=unmarked):
        y = ran(m.rnn, x, None, mark)[0]
        return step_losses(
            torch.einsum("tbh,sbh->tsb", y, y).softmax(1).mul(2).transpose(1, 2) @ y.mean(0)[0].new_ones(T, 1)
        )

    def normed(m, mark=unmarked):
        return step_losses(m.norm(ran(m.rnn, x, None, mark)[0].flatten(0, 1)).view(T, B, H))

    for loss in (attended, normed):
        trace = record(Attends().double(), loss)
        assert not trace.layers[0].reverse
    assert not check(Attends().double(), normed, Probes()).layers[0].reverse


def test_a_loss_that_depends_on_no_layer_that_ran_is_refused():
    model, x = nn.ModuleDict({"rnn": nn.GRU(X, H), "head": nn.Linear(X, 1)}).double(), inputs(T, B, X)

    def unused(m):
        m["rnn"](x)
        return m["head"](x).squeeze(-1)

    def detached(m):
        return m["head"](x).squeeze(-1) + m["rnn"](x)[0].detach().sum(-1)

    for loss in (unused, detached):
        with pytest.raises(NotMeasured, match="no gradient to rnn"):
            record(model, loss)


def test_layers_that_are_chosen_by_name_are_counted_by_themselves():
    model, x, y = Pair().double(), inputs(T, B, X), inputs(T - 2, B, X)
    trace = record(model, lambda m: step_losses(m.decoder(y, m.encoder(x)[1])[0])[-1].sum())
    for name, steps in (("encoder.l0", T), ("decoder.l0", T - 2)):
        joined = joined_layers(trace, [name])
        assert (joined.begins[0], joined.length - joined.begins[0]) == ((0, T) if steps == T else (T, steps))
