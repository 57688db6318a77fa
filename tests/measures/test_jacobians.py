"""Singular values against numpy's, of Jacobians that autograd takes one element at a time."""

import json
import math
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import CELLS, GRU, Additive, Elman, MultiTap
from retrograd.errors import UsageError
from retrograd.init import initialise_
from retrograd.measures.jacobians import jacobians, log_largest
from retrograd.measures.products import Product, Products
from retrograd.measures.step_jacobians import steps_of
from retrograd.measures.stretches import stretches
from retrograd.trace import record
from tests.contracts import FORMS, cell_of, point
from tests.measures.subjects import B, H, T, X, blind, textbook, traced, without_states
from tests.oracles import trajectory

LARGE = 70  # beyond which the largest singular value of a step is found by iteration


def several_taps(inputs, size):
    return Stack([MultiTap(inputs, size, taps=(1, 3))])


def true_jacobians(form, cell, x, s):
    """(T, B, S, S) in numpy."""
    return trajectory(textbook(form, cell), x, s)[0].numpy()


def spread(values):
    """The 10 %, 50 % and 90 % quantile by the nearest rank."""
    ordered = np.sort(values)
    return tuple(ordered[math.ceil(q * len(ordered)) - 1] for q in (0.1, 0.5, 0.9))


def all_spreads(spreads):
    return pytest.approx(np.array(spreads), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_steps_have_the_singular_values_that_numpy_finds(form):
    cell = cell_of(form)
    x, s0 = point(cell)
    (it,) = jacobians(record(Stack([cell]), lambda m: m(x, (s0,))[0].sum(-1)), sequences=4).layers
    J = true_jacobians(form, cell, x, s0)
    values = np.linalg.svd(J, compute_uv=False).reshape(-1, J.shape[-1])
    assert (it.size, it.steps, it.sequences, it.cell) == (cell.state_size, len(values), 4, type(cell).__name__)
    assert it.largest == pytest.approx(spread(values[:, 0]), rel=1e-9)
    assert it.median == pytest.approx(spread(values[:, cell.state_size // 2]), rel=1e-9)
    assert it.smallest == pytest.approx(spread(values[:, -1]), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_products_have_numpys_and_the_volume_of_their_steps(form):
    cell = cell_of(form)
    x, s0 = point(cell)
    trace = record(Stack([cell]), lambda m: m(x, (s0,))[0].sum(-1))
    (it,) = jacobians(trace, sequences=4, lags=(1, 2, 3, 6), products=99).layers
    J = true_jacobians(form, cell, x, s0)
    assert it.lags == (1, 2, 3, 6)
    for i, l in enumerate(it.lags):
        blocks = [J[k : k + l, b] for k in range(0, len(J) - l + 1, l) for b in range(4)]
        products = [np.linalg.multi_dot(block[::-1]) if l > 1 else block[0] for block in blocks]
        assert it.products[i] == len(blocks)
        assert it.log_largest[i] == all_spreads(spread([np.log(np.linalg.svd(P)[1][0]) for P in products]))
        assert it.log_volume[i] == all_spreads(
            spread([np.linalg.slogdet(block)[1].sum() / it.size for block in blocks])
        )
        chains = [np.log(np.linalg.svd(block)[1][:, 0]).sum() for block in blocks]
        assert it.log_chain[i] == all_spreads(spread(chains))


def assert_bounded(it):
    """Quantile by quantile, as it is product by product."""
    for i in range(len(it.lags)):
        for product, chain in zip(it.log_largest[i], it.log_chain[i], strict=True):
            assert product <= chain + 1e-9
            assert it.log_bound is None or chain <= it.log_bound[i] + 1e-5 * it.lags[i]


@pytest.mark.parametrize("size", [H, LARGE])
@pytest.mark.parametrize("init", ["default", "orthogonal", "normal=1.5"])
@pytest.mark.parametrize("form", FORMS)
def test_no_product_exceeds_the_bounds(form, init, size):
    name, options = FORMS[form]
    cell = CELLS[name](X, size, **options).double()
    if cell.weight_hh is not None:
        initialise_(Stack([cell]), init)
    (it,) = jacobians(traced(Stack([cell]))).layers
    assert it.lags == (1, 2, 4, 8, 16)
    assert (it.log_bound is None) == (not isinstance(cell, Elman))
    assert_bounded(it)


@pytest.mark.parametrize(("activation", "gamma"), [("tanh", 1), ("relu", 1), ("identity", 1), ("sigmoid", 0.25)])
def test_elmans_bound_is_gamma_times_the_largest_singular_value_to_the_power_of_the_lag(activation, gamma):
    cell = Elman(X, H, activation=activation).double()
    (it,) = jacobians(traced(Stack([cell]))).layers
    sigma = np.linalg.svd(cell.weight_hh.detach().numpy())[1][0]
    assert it.log_bound == pytest.approx([l * math.log(gamma * sigma) for l in it.lags], rel=1e-12)
    if activation == "identity":  # where the step's own is just that
        assert it.log_chain == all_spreads([(x,) * 3 for x in it.log_bound])


@pytest.mark.parametrize("init", ["default", "orthogonal"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM, several_taps])
def test_by_iteration_the_largest_is_what_it_is_and_never_less(kind, init):
    """With orthogonal weights and a tanh near its middle it is one of many nearly equal ones."""
    module = kind(X, LARGE).double()
    initialise_(module, init)
    trace = traced(module)
    layer = trace.layers[0]
    (it,) = jacobians(trace, sequences=B, steps=4, products=99, lags=(1,)).layers
    cell, logs = layer.cell, []
    for t in range(T):
        logs += np.log(np.linalg.svd(cell.jacobian(layer.inputs[t], layer.states[t]).numpy())[1][:, 0]).tolist()
    assert it.steps == 4 * B
    assert it.log_chain == it.log_largest
    for x, truth in zip(it.log_chain[0], spread(logs), strict=True):
        assert truth - 1e-12 <= x <= truth + 1e-5


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM, several_taps])
def test_the_iteration_settles_at_every_step_of_a_default_net(kind):
    layer = traced(kind(X, LARGE)).layers[0]
    (piece,) = steps_of(layer, stretches(layer))
    assert log_largest(piece).isfinite().all()


@pytest.mark.parametrize("size", [H, LARGE])
@pytest.mark.parametrize("scale", [1e-5, 1e5, 1e-100, 1e100])
def test_neither_underflow_nor_overflow_loses_a_product(scale, size):
    cell = Elman(X, size, activation="identity").double()
    initialise_(Stack([cell]), "orthogonal")
    with torch.no_grad():
        cell.weight_hh.mul_(scale)
    (it,) = jacobians(traced(Stack([cell]), 130, 1), lags=(1, 64, 128)).layers
    truth = [l * math.log(scale) for l in (1, 64, 128)]  # 1e-640, where float64 ends at 1e-324
    for found in (it.log_largest, it.log_volume):
        assert [x for _, x, _ in found] == pytest.approx(truth, rel=1e-9)
    assert [x for _, x, _ in it.log_chain] == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("size", [H, LARGE])
def test_what_is_exactly_zero_is_minus_infinity(size):
    cell = Elman(X, size, activation="relu").double()
    with torch.no_grad():
        cell.bias_ih.fill_(-100.0)
    (it,) = jacobians(traced(Stack([cell]))).layers
    assert it.largest == it.smallest == (0.0,) * 3
    assert set(it.log_largest) == set(it.log_volume) == set(it.log_chain) == {(-math.inf,) * 3}
    with torch.no_grad():
        cell.bias_ih[1:] = 100.0  # a single dead unit
    (it,) = jacobians(traced(Stack([cell]))).layers
    assert it.smallest == pytest.approx((0.0,) * 3, abs=1e-15)
    assert set(it.log_volume) == {(-math.inf,) * 3}
    assert all(map(math.isfinite, it.log_largest[-1]))


def test_an_lstm_with_shut_gates_is_singular_and_no_crash():
    module = nn.LSTM(X, H).double()
    with torch.no_grad():
        module.bias_ih_l0[H : 2 * H] = -1000.0  # f = 0
    (it,) = jacobians(traced(module)).layers
    assert it.smallest == pytest.approx((0.0,) * 3, abs=1e-15)
    assert set(it.log_volume) == {(-math.inf,) * 3}


@pytest.mark.parametrize("size", [H, LARGE])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("which", [(0, 0), ...], ids=["one", "all"])
@pytest.mark.parametrize("kind", [nn.RNN, partial(nn.RNN, nonlinearity="relu"), nn.GRU, nn.LSTM])
def test_weights_that_are_no_numbers_give_nan_and_no_crash(kind, which, bad, size):
    """The slope of ReLU is 0 where its input is no number; 0 times such a weight is none either."""
    module = kind(X, size)
    with torch.no_grad():
        module.weight_hh_l0[which] = bad
    (it,) = jacobians(traced(module)).layers
    assert math.isnan(it.largest[1])
    assert math.isnan(it.log_largest[-1][1])
    assert math.isnan(it.log_chain[-1][1])


def test_an_additive_net_has_ones_throughout():
    for size in (H, LARGE):
        (it,) = jacobians(traced(Stack([Additive(X, size)]))).layers
        assert it.largest == it.smallest == pytest.approx((1.0,) * 3, rel=1e-12)
        assert it.log_largest == it.log_volume == all_spreads([(0.0,) * 3] * 5)
        assert [x for _, x, _ in it.log_chain] == pytest.approx([0.0] * 5, abs=2e-4)


def test_padding_and_new_documents_are_no_steps():
    module, lengths = nn.GRU(X, H, bidirectional=True).double(), [T, 3, 9]
    x = torch.randn(T, B, X).double()
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    both = jacobians(record(module, lambda m: m(packed)[0].data.sum()), sequences=B, products=99).layers
    for it in both:
        assert (it.steps, it.lags, it.products) == (32, (1, 2, 4, 8, 16), (32, 10 + 1 + 4, 5 + 2, 2 + 1, 1))
    alone = [jacobians(record(module, lambda m, b=b, n=n: m(x[:n, b : b + 1])[0].sum())) for b, n in enumerate(lengths)]
    for i, it in enumerate(both):
        parts = [one.layers[i] for one in alone]
        assert min(p.largest[0] for p in parts) <= it.largest[1] <= max(p.largest[2] for p in parts)
        assert it.log_largest[-1] == pytest.approx(parts[0].log_largest[-1], rel=1e-9)
    starts = torch.zeros(T, 1, dtype=torch.bool)
    starts[8] = True
    trace = record(Stack([GRU(X, H)]), lambda m: m(x[:, :1].float(), None, starts)[0].sum(-1))
    (it,) = jacobians(trace).layers
    assert (it.steps, it.lags) == (11, (1, 2, 4, 8))
    assert it.smallest[0] > 0


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM, several_taps])
def test_by_the_pullback_or_in_closed_form_it_is_the_same(kind):
    trace = traced(kind(X, H).double())
    (closed,), (rows,) = jacobians(trace).layers, jacobians(blind(trace)).layers
    for name in ("largest", "median", "smallest", "log_largest", "log_volume", "log_chain"):
        assert getattr(rows, name) == all_spreads(getattr(closed, name))
    assert rows.log_bound is None


def test_a_projected_lstm_has_its_smaller_state_and_its_bound():
    (it,) = jacobians(traced(nn.LSTM(X, H, proj_size=2))).layers
    assert it.size == 2 + H
    assert_bounded(it)


def test_a_layer_that_shows_no_state_is_named_and_left_out():
    it = jacobians(without_states())
    assert (it.layers, it.not_measured) == ((), ("0",))


def test_any_lags_are_products_of_the_steps_in_order():
    """2 and 3 from the steps, 6 from 3, 7 from the steps again, 12 from 6."""
    J = torch.randn(24, 4, 4, dtype=torch.float64)
    products, found = Products([12, 2, 7, 3, 6]), {}
    for j in J:
        for l, product in products.add(Product.of(j.clone(), chain=1.0, volume=0.5)):
            found.setdefault(l, []).append(product)
    assert {l: len(each) for l, each in found.items()} == {1: 24, 2: 12, 3: 8, 6: 4, 7: 3, 12: 2}
    for l, each in found.items():
        for i, product in enumerate(each):
            truth = torch.eye(4, dtype=torch.float64)
            for j in J[i * l : (i + 1) * l]:
                truth = j @ truth
            torch.testing.assert_close(product.matrix * math.exp(product.log), truth, rtol=1e-9, atol=1e-12)
            assert (product.chain, product.volume) == (l, l / 2)
            assert product.log_largest == pytest.approx(float(torch.linalg.matrix_norm(truth, 2).log()), abs=1e-9)


@pytest.mark.parametrize(("lags", "kept"), [(None, [16, 8, 2]), ((3, 7), [14, 7, 3])])
def test_not_whole_are_the_last_steps_of_each_sequence_as_many_as_its_longest_lag_takes(lags, kept):
    cell, lengths = GRU(X, H).double(), [T, 9, 3]
    x, s0 = torch.randn(T, B, X).double(), torch.zeros(B, H).double()
    trace = record(Stack([cell]), lambda m: m(x, (s0,), lengths=torch.tensor(lengths))[0].sum())
    (it,) = jacobians(trace, sequences=B, lags=lags, products=99, whole=False).layers
    J = true_jacobians("gru", cell, x, s0)
    last = [J[n - k : n, b] for b, (n, k) in enumerate(zip(lengths, kept, strict=True))]
    assert it.steps == sum(kept)
    assert it.largest == pytest.approx(spread(np.linalg.svd(np.concatenate(last), compute_uv=False)[:, 0]), rel=1e-9)
    for l, count, largest in zip(it.lags, it.products, it.log_largest, strict=True):
        blocks = [own[k : k + l] for own in last for k in range(0, len(own) - l + 1, l)]
        assert count == len(blocks)
        products = (np.linalg.multi_dot(block[::-1]) if l > 1 else block[0] for block in blocks)
        assert largest == all_spreads(spread([np.log(np.linalg.svd(P)[1][0]) for P in products]))


def test_lags_longer_than_the_record_are_left_out_and_none_is_refused():
    trace = traced(nn.RNN(X, H))
    assert jacobians(trace, lags=(30, 5, 20, 5)).layers[0].lags == (5, 20)
    for options in ({"lags": ()}, {"lags": (0, 1)}, {"steps": 0}, {"products": 0}, {"sequences": 0}):
        with pytest.raises(UsageError):
            jacobians(trace, **options)


def test_nothing_is_drawn_from_the_global_generator_and_all_is_plain():
    trace = traced(nn.GRU(X, LARGE, num_layers=2))
    before = torch.get_rng_state()
    it = jacobians(trace)
    assert torch.equal(torch.get_rng_state(), before)
    assert it == jacobians(trace)
    assert len(json.loads(json.dumps(asdict(it)))["layers"]) == 2
    hash(it)
