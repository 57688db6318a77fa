"""Pieces of dL/dW_hh against autograd, and truncated gradients against a training that is truncated."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman, MultiTap
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.lags import gradient_by_lag
from retrograd.measures.window import WindowAdequacy, window
from retrograd.trace import record
from tests.oracles import STEPS
from tests.trace.brute_force import TEXTBOOK

X, H, B, T = 3, 5, 4, 14
EXACT = {"rtol": 1e-9, "atol": 1e-12}
ALL = range(1, T + 1)


def squares(outputs):
    return outputs.square().sum(-1)


def traced(module, x, loss=squares):
    return record(module, lambda m: loss(m(x)[0]))


def slowly(module, x, times):
    """Each layer's pieces (T, G*H, H): a plain loop in which every step has a W_hh of its own."""
    step = STEPS[TEXTBOOK[type(module)]]
    inputs, copies = list(x), []
    for layer in range(module.num_layers):
        W_ih, W_hh, b_ih, b_hh = (
            getattr(module, f"{name}_l{layer}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        copies.append([W_hh.clone().requires_grad_() for _ in x])
        s = torch.zeros(x.shape[1], module.hidden_size * (2 if isinstance(module, nn.LSTM) else 1), dtype=x.dtype)
        for t, own in enumerate(copies[-1]):
            s = step((W_ih, own, b_ih, b_hh), inputs[t], s)
            inputs[t] = s[:, : module.hidden_size]
    pieces = [torch.zeros(len(x), *own[0].shape, dtype=x.dtype) for own in copies]
    for t in times:
        loss = squares(inputs[t - 1]).sum()
        for mine, own in zip(pieces, copies, strict=True):
            found = torch.autograd.grad(loss, own[:t], retain_graph=True)
            for k, gradient in enumerate(found, start=1):
                mine[t - k] += gradient
    return pieces


def trained_in_chunks(module, x, p):
    """dL/dW_hh of each layer as a training leaves it that detaches the state after every p steps."""
    module.zero_grad()
    state = None
    for chunk in x.split(p):
        outputs, state = module(chunk, state)
        squares(outputs).sum().backward()
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    return [getattr(module, f"weight_hh_l{i}").grad.clone() for i in range(module.num_layers)]


def error_and_cosine(part, whole):
    cosine = (part * whole).sum() / (part.norm() * whole.norm())
    return float((part - whole).norm() / whole.norm()), float(cosine)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("times", [ALL, [4, 5, 13]])
def test_each_piece_is_autograds_with_a_matrix_for_each_step(kind, times):
    module, x = kind(X, H, num_layers=2).double(), torch.randn(T, B, X).double()
    trace, truth = traced(module, x), slowly(module, x, times)
    got = window(trace, anchors=list(times))
    for i, layer in enumerate(got.layers):
        pieces = torch.stack(list(gradient_by_lag(trace, list(times), layer=layer.layer)))
        torch.testing.assert_close(pieces, truth[i][: max(times)], **EXACT)
        norms = truth[i][: max(times)].flatten(1).norm(dim=1)
        torch.testing.assert_close(torch.tensor(layer.log_norms, dtype=torch.float64).exp(), norms, **EXACT)
    assert got.anchors == tuple(times)
    assert (got.sequences, got.left_out) == (B, ())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_pieces_sum_to_autograds_gradient(kind, depth):
    module, x = kind(X, H, num_layers=depth).double(), torch.randn(T, B, X).double()
    trace = traced(module, x)
    squares(module(x)[0]).sum().backward()
    for i, layer in enumerate(trace.layers):
        whole = sum(gradient_by_lag(trace, ALL, layer=layer.name))
        torch.testing.assert_close(whole, getattr(module, f"weight_hh_l{i}").grad, **EXACT)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("depth", [1, 2])
def test_training_in_chunks_has_the_gradient_of_the_chunks(kind, depth):
    module, x = kind(X, H, num_layers=depth).double(), torch.randn(T, B, X).double()
    got = window(traced(module, x), windows=range(1, T + 1), anchors=T)
    full = trained_in_chunks(module, x, T)
    for p in range(1, T + 1):
        for layer, part, whole in zip(got.layers, trained_in_chunks(module, x, p), full, strict=True):
            error, cosine = error_and_cosine(part, whole)
            assert layer.chunks.error[p - 1] == pytest.approx(error, rel=1e-9, abs=1e-9)
            assert layer.chunks.cosine[p - 1] == pytest.approx(cosine, rel=1e-9)
    assert got.windows == tuple(range(1, T + 1))
    assert got.layers[0].chunks.error[3] > 0.01


def test_a_sliding_window_keeps_the_first_lags():
    module, x = nn.LSTM(X, H).double(), torch.randn(T, B, X).double()
    (layer,) = window(traced(module, x), windows=range(1, T + 1), anchors=[6, 14]).layers
    (pieces,) = slowly(module, x, [6, 14])
    for p in range(1, T + 1):
        error, cosine = error_and_cosine(pieces[:p].sum(0), pieces.sum(0))
        assert layer.sliding.error[p - 1] == pytest.approx(error, rel=1e-9, abs=1e-9)
        assert layer.sliding.cosine[p - 1] == pytest.approx(cosine, rel=1e-9)
    assert layer.sliding.error[-1] == 0.0, "all lags are all there is, to the last bit"


def scalar(weight, steps=60):
    """h' = w h + x with x = 1 at the first step alone, so that each lag's piece is w^l h[t-l-1] = w^(t-2)."""
    cell = Elman(1, 1, activation="identity").double()
    with torch.no_grad():
        cell.weight_ih.fill_(1.0), cell.weight_hh.fill_(weight), cell.bias_ih.zero_(), cell.bias_hh.zero_()
    x = torch.zeros(steps, 1, 1).double()
    x[0] = 1
    return record(Stack([cell]), lambda m: m(x)[0][-1].sum())


@pytest.mark.parametrize("weight", [0.5, 1.0, 1e-4])
def test_where_every_lag_weighs_the_same_a_window_loses_the_share_that_it_does_not_see(weight):
    got = window(scalar(weight), windows=[6, 15, 60])
    (layer,) = got.layers
    assert layer.log_norms == (*[pytest.approx(58 * math.log(weight), rel=1e-12, abs=1e-12)] * 59, -math.inf)
    assert layer.sliding.error == pytest.approx([53 / 59, 44 / 59, 0], abs=1e-12)
    assert layer.sliding.cosine == pytest.approx([1, 1, 1], abs=1e-12)
    assert got.anchors == (60,)


def test_a_vanishing_net_needs_a_short_window_and_the_task_decides():
    module = nn.RNN(X, 16)
    with torch.no_grad():
        module.weight_hh_l0 *= 0.2
    got = window(traced(module, torch.randn(64, B, X)))
    assert got.smallest <= 3
    assert got.to_use(need=50) == 50
    assert got.to_use(need=1) == got.smallest


def test_a_net_that_carries_its_gradient_needs_a_long_window():
    cell = Elman(X, 16, activation="identity").double()
    with torch.no_grad():
        nn.init.orthogonal_(cell.weight_hh), cell.bias_ih.zero_(), cell.bias_hh.zero_()
    x = torch.randn(64, B, X).double()
    got = window(traced(Stack([cell]), x, lambda h: h[..., 0] * h[-1:, :, 0].detach()))
    assert got.smallest > 24
    assert got.to_use(need=10) == got.smallest


def adequacy(*cosines, windows=(1, 2, 4, 8)):
    """Of layers with these cosines of chunks."""
    module, x = nn.GRU(X, H, num_layers=len(cosines)), torch.randn(8, B, X)
    got = window(traced(module, x), windows=windows)
    layers = [
        dataclasses.replace(layer, chunks=dataclasses.replace(layer.chunks, cosine=cosine))
        for layer, cosine in zip(got.layers, cosines, strict=True)
    ]
    return dataclasses.replace(got, layers=tuple(layers))


@pytest.mark.parametrize(
    ("cosines", "smallest"),
    [
        ([(0.5, 0.98, 0.995, 1.0)], 4),
        ([(0.999, 0.98, 0.995, 1.0)], 4),  # one that happens to be good does not count
        ([(1.0, 1.0, 1.0, 1.0), (0.5, 0.5, 0.5, 1.0)], 8),
        ([(1.0, 1.0, 1.0, 1.0)], 1),
        ([(math.nan,) * 4], None),
    ],
)
def test_the_smallest_window_is_the_one_from_which_on_all_are_good_enough_in_every_layer(cosines, smallest):
    got = adequacy(*cosines)
    assert isinstance(got, WindowAdequacy)
    assert got.smallest == smallest
    assert got.to_use(need=6) == (None if smallest is None else max(6, smallest))


def test_the_windows_are_spread_on_a_log_scale_and_end_with_all_steps():
    trace = traced(nn.GRU(X, H), torch.randn(40, B, X))
    assert window(trace, anchors=40).windows == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
    assert window(trace, anchors=[30], windows=[90, 3, 3]).windows == (3, 30)
    for layer in window(trace).layers:
        assert (layer.sliding.error[-1], layer.chunks.error[-1]) == pytest.approx((0, 0), abs=1e-12)
    for windows in ([], [0, 4]):
        with pytest.raises(UsageError, match="numbers of steps from 1"):
            window(trace, windows=windows)


def test_a_sample_of_the_losses_is_spread_over_all_of_them():
    trace = traced(nn.RNN(1, 2), torch.randn(64, 1, 1))
    got = window(trace, windows=[1, 64])
    assert len(got.anchors) == 8
    assert all(8 * i < t <= 8 * (i + 1) for i, t in enumerate(got.anchors))
    assert got.windows == (1, 64)
    assert window(trace, windows=[1], seed=1).anchors != got.anchors
    assert window(trace, windows=[1], anchors=1000).anchors == tuple(range(1, 65))
    for anchors in (0, []):
        with pytest.raises(UsageError, match="at least one loss"):
            window(trace, anchors=anchors)


@pytest.mark.parametrize("before", [0, 9])
def test_of_a_sample_each_lag_counts_by_the_share_of_all_losses_that_see_it_in_their_chunk(before):
    """h' = h / 2 + 1 stays at 2, so that a loss at t has the pieces 2 / 2^l for l < t; also after another layer."""
    cell = Elman(1, 1, activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.fill_(0.5), cell.weight_ih.zero_(), cell.bias_ih.fill_(1.0), cell.bias_hh.zero_()
    model = nn.ModuleDict({"reader": Stack([cell]), "writer": Stack([copy.deepcopy(cell)])})
    x, s0 = torch.zeros(40, 1, 1).double(), (torch.full((1, 1), 2.0).double(),)

    def losses(m):
        state = m["reader"](x[:before], s0)[1] if before else s0
        return m["writer"](x, state)[0].sum(-1)

    got = window(record(model, losses), windows=range(1, 41 + before), anchors=5, layers=["writer.l0"])
    times, every = [t - before for t in got.anchors], range(1, 41)
    pieces = [sum(t > l for t in times) * 2 * 0.5**l for l in range(40)]
    for p, error in zip(got.windows, got.layers[0].chunks.error, strict=True):
        seen = [sum(t > l and (before + t - 1) % p >= l for t in every) / (40 - l) for l in range(40)]
        lost = sum((1 - share) * piece for share, piece in zip(seen, pieces, strict=True))
        assert error == pytest.approx(lost / sum(pieces), rel=1e-9, abs=1e-12)
    assert got.layers[0].sliding.error[-1] == 0


def test_losses_that_are_masked_are_not_looked_at():
    mask = torch.zeros(T, 1)
    mask[[4, 9]] = 1
    got = window(traced(nn.GRU(X, H), torch.randn(T, B, X), lambda h: squares(h) * mask))
    assert got.anchors == (5, 10)


@pytest.mark.parametrize("module", [nn.GRU(X, H), nn.LSTM(X, H, num_layers=2)])
def test_a_single_loss_at_the_last_step_is_one_anchor(module):
    module, x = module.double(), torch.randn(T, B, X).double()
    one = window(record(module, lambda m: squares(m(x)[0][-1]).sum()))
    assert one == window(traced(module, x), anchors=[T])


def test_a_single_loss_of_several_steps_has_no_lags():
    x = torch.randn(T, B, X)
    with pytest.raises(NotMeasured, match="made of several steps"):
        window(record(nn.GRU(X, H), lambda m: m(x)[0].square().sum()))


def test_a_single_loss_of_packed_sequences_is_counted_from_the_end_of_each():
    module, x = nn.LSTM(X, H).double(), torch.randn(T, 2, X).double()
    packed = pack_padded_sequence(x, torch.tensor([6, T]), enforce_sorted=False)
    trace = record(module, lambda m: m(packed)[1][0].square().sum())
    long = gradient_by_lag(record(module, lambda m: m(x[:, 1:])[0][-1].square().sum()))
    short = gradient_by_lag(record(module, lambda m: m(x[:6, :1])[0][-1].square().sum()))
    truth = torch.stack(list(long))
    truth[:6] += torch.stack(list(short))
    torch.testing.assert_close(torch.stack(list(gradient_by_lag(trace))), truth, **EXACT)
    module(packed)[1][0].square().sum().backward()
    torch.testing.assert_close(truth.sum(0), module.weight_hh_l0.grad, **EXACT)


def test_a_decoder_counts_on_where_its_packed_encoder_ended():
    model = nn.ModuleDict({"reader": nn.GRU(X, H), "writer": nn.GRU(X, H)}).double()
    x, y = torch.randn(T, 2, X).double(), torch.randn(5, 2, X).double()
    packed = pack_padded_sequence(x, torch.tensor([6, T]), enforce_sorted=False)

    def losses(m):
        return squares(m["writer"](y, m["reader"](packed)[1])[0])

    trace = record(model, losses)
    losses(model).sum().backward()
    for name, module in model.items():
        pieces = torch.stack(list(gradient_by_lag(trace, range(T + 1, T + 6), layer=f"{name}.l0")))
        torch.testing.assert_close(pieces.sum(0), module.weight_hh_l0.grad, **EXACT)
        assert pieces[0].any() == (name == "writer")
    assert window(trace).anchors == tuple(range(T + 1, T + 6))


def test_the_pieces_of_a_projected_lstm_sum_to_autograds_gradient():
    module, x = nn.LSTM(X, H, proj_size=2).double(), torch.randn(T, B, X).double()
    squares(module(x)[0]).sum().backward()
    whole = sum(gradient_by_lag(traced(module, x), ALL))
    torch.testing.assert_close(whole, module.weight_hh_l0.grad, **EXACT)


def test_a_new_document_cuts_the_lags():
    stack, x, starts = Stack([LSTM(X, H)]).double(), torch.randn(T, B, X).double(), torch.rand(T, B) < 0.2
    trace = record(stack, lambda m: squares(m(x, None, starts)[0]))
    squares(stack(x, None, starts)[0]).sum().backward()
    torch.testing.assert_close(sum(gradient_by_lag(trace, ALL)), stack.cells[0].weight_hh.grad, **EXACT)


def test_what_lies_beyond_the_range_of_a_square_is_measured():
    cells = {}
    for scale in (1.0, 1e-180, 1e180):
        torch.manual_seed(3)
        module, x = nn.GRU(X, H).double(), torch.randn(T, B, X).double()
        (cells[scale],) = window(traced(module, x, lambda h, scale=scale: squares(h) * scale)).layers
    for scale, layer in cells.items():
        assert layer.chunks.cosine == pytest.approx(cells[1.0].chunks.cosine, rel=1e-9)
        assert layer.sliding.error == pytest.approx(cells[1.0].sliding.error, rel=1e-9, abs=1e-12)
        assert layer.log_norms[0] == pytest.approx(cells[1.0].log_norms[0] + math.log(scale), rel=1e-9)


def test_a_nan_in_one_sequence_is_data():
    x = torch.randn(T, B, X)
    x[5, 2] = math.nan
    got = window(traced(nn.GRU(X, H), x))
    assert all(map(math.isnan, got.layers[0].chunks.cosine))
    assert got.smallest is got.to_use(need=9) is None


def test_a_nan_in_a_sequence_that_has_no_loss_does_not_count():
    module, x, rest = nn.GRU(X, H), torch.randn(T, B, X), torch.tensor([0, 1, 3])
    truth = window(traced(module, x[:, rest]))
    x[5, 2] = math.nan
    got = window(traced(module, x, lambda h: torch.where(torch.arange(B) == 2, 0.0, squares(h))))
    assert got.sequences == truth.sequences == 3
    assert got.layers[0].log_norms == pytest.approx(truth.layers[0].log_norms, rel=1e-6)


def test_a_layer_that_no_loss_reaches_has_zeros_and_nothing_to_compare():
    x, starts = torch.randn(T, B, X), torch.ones(T, B, dtype=torch.bool)
    got = window(record(Stack([Elman(X, H)]), lambda m: squares(m(x, None, starts)[0])))
    assert set(got.layers[0].log_norms) == {-math.inf}
    assert got.smallest is None


def test_the_pieces_of_several_taps_are_all_of_autograds_gradient():
    stack, x = Stack([MultiTap(X, H, taps=(2, 3)), MultiTap(H, H, taps=(1, 5))]).double(), torch.randn(T, B, X).double()
    trace = traced(stack, x)
    squares(stack(x)[0]).sum().backward()
    for cell, name in zip(stack.layers, ("stack.l0", "stack.l1"), strict=True):
        pieces = list(gradient_by_lag(trace, ALL, layer=name))
        torch.testing.assert_close(sum(pieces), cell.weight_hh.grad, **EXACT)
        assert not pieces[-1].any()  # the first step of all: its taps read the state of zeros before it
    got = window(trace, anchors=ALL)
    assert [layer.chunks.cosine[-1] for layer in got.layers] == pytest.approx([1.0, 1.0])


def test_what_has_no_recurrent_weights_is_left_out_by_name():
    x = torch.randn(T, B, X)
    got = window(traced(Stack([Additive(X, H), GRU(H, H)]), x))
    assert [layer.layer for layer in got.layers] == ["stack.l1"]
    assert got.left_out == ("stack.l0",)
    assert window(traced(nn.GRU(X, H, bidirectional=True), x)).left_out == ("gru.l0.reverse",)
    with pytest.raises(NotMeasured, match=r"no gradient by lag. There are: stack.l0 \(Additive\)"):
        window(traced(Stack([Additive(X, H)]), x))


def test_one_step_is_all_there_is_of_a_sequence_of_one():
    x, h0 = torch.randn(1, B, X), torch.randn(1, B, H)
    got = window(record(nn.GRU(X, H), lambda m: squares(m(x, h0)[0])))
    assert (got.windows, got.smallest) == ((1,), 1)


def test_the_global_generator_is_left_alone_and_it_holds_plain_numbers():
    trace = traced(nn.LSTM(X, H), torch.randn(T, B, X))
    before = torch.get_rng_state()
    got = window(trace)
    assert torch.equal(before, torch.get_rng_state())
    assert json.loads(json.dumps(dataclasses.asdict(got)))["sequences"] == B
