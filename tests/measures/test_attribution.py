"""What each step does to the gradient, against a plain loop over explicit Jacobians and nets whose answer is known."""

import dataclasses
import json
import math
from statistics import fmean, median_low

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.errors import UsageError
from retrograd.measures.attribution import attribution
from retrograd.trace import record
from tests.contracts import FORMS, B, H, T, X, cell_of, point
from tests.measures.subjects import blind, textbook
from tests.oracles import trajectory


def of(module, loss=lambda m, x: m(x)[0].square().sum(-1), *, x=None, **options):
    x = torch.randn(T, B, X, dtype=torch.float64) if x is None else x
    return attribution(record(module, lambda m: loss(m, x)), **options).layers


def jacobians(form, cell, x):
    """J[t] of each step by autograd through the textbook equation, and the states."""
    return trajectory(textbook(form, cell), x, torch.zeros(x.shape[1], cell.state_size, dtype=x.dtype))


@pytest.mark.parametrize("form", [name for name in FORMS if name.startswith("elman")])
def test_an_elman_cells_change_is_that_of_the_activation_and_of_the_weights(form):
    """dz = f'(z) * delta by W_hh^T dz = J^T delta, solved for dz; no derivative of ours is used."""
    cell = cell_of(form)
    with torch.no_grad():
        cell.weight_hh.copy_(nn.init.orthogonal_(torch.empty(H, H).double()) * 0.9)
    x, _ = point(cell)
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0][-1].square().sum(), x=x)
    J, states = jacobians(form, cell, x)
    total, activation = [], []
    delta = 2 * states[-1]
    for t in reversed(range(T)):
        after = (J[t].transpose(1, 2) @ delta[..., None])[..., 0]
        dz = torch.linalg.solve(cell.weight_hh.T.detach(), after[..., None])[..., 0]
        some = after.norm(dim=-1) > 0
        total += (after.norm(dim=-1) / delta.norm(dim=-1)).log()[some].tolist()
        activation += (dz.norm(dim=-1) / delta.norm(dim=-1)).log()[some].tolist()
        delta = after
    assert got.total.value == pytest.approx(fmean(total), abs=1e-9)
    assert got.parts["activation"].value == pytest.approx(fmean(activation), abs=1e-9)
    assert got.parts["activation"].value + got.parts["weights"].value == pytest.approx(got.total.value, abs=1e-9)
    assert (got.steps, got.sequences, got.zero, got.not_finite) == (T * B, B, 0, 0)
    assert got.shares == {}
    assert got.factor == pytest.approx(math.exp(fmean(total)), rel=1e-9)


@pytest.mark.parametrize("form", ["gru", "lstm", "additive", "multi-tap", "multi-tap-relu"])
def test_the_shares_of_the_paths_are_those_of_explicit_jacobians(form):
    cell = cell_of(form)
    x, _ = point(cell)
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0][-1].square().sum(), x=x)
    J, states = jacobians(form, cell, x)
    delta = 2 * states[-1]
    delta[:, H:] = 0
    totals, shares = [[] for _ in range(B)], [{name: [] for name in got.shares} for _ in range(B)]
    for t in reversed(range(T)):
        after = (J[t].transpose(1, 2) @ delta[..., None])[..., 0]
        with torch.no_grad():
            pieces = cell.linearize(cell.project(x[t]), states[t]).paths(delta)  # held by the contract of every cell
        for b in range(B) if t < T - 1 or not cell.has_memory else ():
            totals[b].append(math.log(after[b].norm() / delta[b].norm()))
            for name, piece in pieces.items():
                shares[b][name].append(float(after[b] @ piece[b] / after[b].square().sum()))
        delta = after
    assert got.total.value == pytest.approx(fmean(change for each in totals for change in each), abs=1e-9)
    assert got.parts == {}
    assert got.steps == B * (T - 1 if cell.has_memory else T)
    for name, share in got.shares.items():
        assert share.value == pytest.approx(median_low(median_low(each[name]) for each in shares), abs=1e-9)


@pytest.mark.parametrize(
    "module", [Stack([GRU(X, H)]), Stack([LSTM(X, H)]), Stack([Additive(X, H)]), nn.LSTM(X, H, proj_size=2)]
)
def test_of_a_single_step_the_shares_sum_to_one(module):
    (got,) = of(module, lambda m, x: m(x)[0][-1].sum(), x=torch.randn(T, 1, X), longest=1)
    assert got.steps == 1
    assert sum(share.value for share in got.shares.values()) == pytest.approx(1, abs=1e-9)


def test_a_path_that_works_against_the_others_has_a_negative_share():
    cell = GRU(1, 1, bias=False).double()
    with torch.no_grad():
        cell.weight_ih.zero_(), cell.weight_hh.copy_(torch.tensor([[0.0], [0.0], [-1.0]]))
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0].sum(-1), x=torch.zeros(T, 2, 1).double())
    assert got.total.value == pytest.approx(math.log(0.25), abs=1e-12)  # z - (1 - z) r, all gates a half
    expected = {"keep": 2.0, "gate r": 0.0, "gate z": 0.0, "gate n": -1.0}
    assert {name: share.value for name, share in got.shares.items()} == pytest.approx(expected, abs=1e-12)


def test_an_lstm_that_lives_by_its_memory_has_its_forget_gate_for_a_factor():
    module = nn.LSTM(X, H).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.bias_ih_l0[H : 2 * H] = 1.0
    (got,) = of(module, lambda m, x: m(x)[0].sum(-1))
    f = 1 / (1 + math.exp(-1))
    assert got.factor == pytest.approx(f, rel=1e-12)
    assert {name: share.value for name, share in got.shares.items()} == {
        "memory": 1.0,
        **dict.fromkeys(("gate i", "gate f", "gate g", "gate o"), 0.0),
    }


@pytest.mark.parametrize("factor", [1e-30, 0.5, 1.0, 1e30])
def test_however_small_or_large_the_gradient_becomes_each_step_is_measured(factor):
    cell = Elman(1, 1, activation="identity").double()
    nn.init.constant_(cell.weight_hh, factor)
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0][-1, :, 0].sum(), x=torch.zeros(100, 2, 1).double())
    assert got.steps == 200
    assert got.total.value == pytest.approx(math.log(factor), rel=1e-12, abs=1e-12)
    assert got.parts["activation"].value == pytest.approx(0, abs=1e-12)


def test_an_additive_layer_keeps_all_along_one_path():
    (got,) = of(Stack([Additive(X, H)]))
    assert got.total.value == pytest.approx(0, abs=1e-12)
    assert got.shares["keep"].value == pytest.approx(1, abs=1e-12)


def test_followed_for_a_few_steps_the_next_gradient_is_taken_up_where_it_enters():
    """h' = d * h: what enters is always ones, so that in three steps 1, |d|, |d^2| and |d^3| follow each other."""
    d = torch.tensor([0.9, -0.5, 0.1], dtype=torch.float64)
    cell = Elman(X, 3, activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(d.diag())
    sizes = [(d**l).norm().log().item() for l in range(13)]
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0].sum(-1), x=torch.randn(12, B, X), longest=3)
    assert got.total.value == pytest.approx((sizes[3] - sizes[0]) / 3, rel=1e-12)
    assert got.steps == 12 * B
    (whole,) = of(Stack([cell]), lambda m, x: m(x)[0].sum(-1), x=torch.randn(12, B, X))
    assert whole.total.value == pytest.approx((sizes[12] - sizes[0]) / 12, rel=1e-12)


def test_the_latest_steps_alone_are_those_that_a_last_gradient_takes_first():
    x = torch.randn(T, B, X).double()
    for module in (nn.RNN(X, H).double(), nn.LSTM(X, H).double()):
        trace = record(module, lambda m: m(x)[0][-1].square().sum())
        assert attribution(trace, latest=3) == attribution(trace, longest=3)
        assert attribution(trace, latest=1000) == attribution(trace)


@pytest.mark.parametrize("options", [{"longest": 0}, {"latest": 0}, {"longest": -2, "latest": 3}])
def test_less_than_one_step_is_refused(options):
    with pytest.raises(UsageError, match="at least 1 step"):
        of(nn.RNN(X, H), x=torch.randn(T, B, X), **options)


def test_a_gradient_that_dies_is_counted_and_left_out():
    module = nn.RNN(X, H, nonlinearity="relu").double()
    with torch.no_grad():
        module.bias_ih_l0.fill_(-100.0)
    (got,) = of(module, lambda m, x: m(x)[0] @ torch.ones(H).double())
    assert (got.total, got.parts, got.shares) == (None, {}, {})
    assert (got.steps, got.sequences, got.zero, got.not_finite) == (0, 0, T * B, 0)
    assert math.isnan(got.factor)


def test_one_dead_step_leaves_the_others():
    cell = Elman(1, 1, activation="relu").double()
    with torch.no_grad():
        cell.weight_hh.fill_(0.5), cell.weight_ih.fill_(1.0), cell.bias_ih.zero_(), cell.bias_hh.zero_()
    x = torch.ones(10, 2, 1).double()
    x[4, 0] = -100.0  # the first sequence's unit is shut at the fifth step
    (got,) = of(Stack([cell]), lambda m, x: m(x)[0][..., 0], x=x)
    assert (got.steps, got.zero) == (19, 1)
    assert got.total.value == pytest.approx(math.log(0.5), rel=1e-12)


def test_a_new_document_ends_the_way_and_is_no_death():
    stack, x = Stack([Elman(X, H)]).double(), torch.randn(T, B, X).double()
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[3, 1] = True
    (got,) = of(stack, lambda m, x: m(x, None, starts)[0].square().sum(-1), x=x)
    assert (got.steps, got.zero, got.not_finite) == (T * B - 1, 0, 0)


def test_what_is_not_a_number_is_counted_and_left_out():
    module = nn.GRU(X, H)
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = math.nan
    (got,) = of(module, x=torch.randn(T, B, X))
    assert got.total is None
    assert (got.steps, got.not_finite) == (0, T * B)
    one = torch.randn(T, B, X)
    one[5, 2] = math.nan
    (got,) = of(nn.GRU(X, H), lambda m, x: m(x)[0].square().sum(-1), x=one)
    assert (got.sequences, got.steps) == (B, (B - 1) * T + 5)
    assert got.not_finite == T - 5
    assert math.isfinite(got.total.value)


@pytest.mark.parametrize(("kind", "readout"), [(nn.GRU, 0), (nn.LSTM, 1)])
def test_steps_after_the_end_of_a_packed_sequence_do_not_count(kind, readout):
    module, x = kind(X, H).double(), torch.randn(T, 2, X).double()
    packed = pack_padded_sequence(x, torch.tensor([4, T]), enforce_sorted=False)
    (got,) = attribution(record(module, lambda m: m(packed)[1][0].sum())).layers
    (short,) = of(module, lambda m, x: m(x)[1][0].sum(), x=x[:4, :1])
    (long,) = of(module, lambda m, x: m(x)[1][0].sum(), x=x[:, 1:])
    assert (short.steps, long.steps) == (4 - readout, T - readout)
    assert (got.steps, got.sequences) == (short.steps + long.steps, 2)
    together = (short.steps * short.total.value + long.steps * long.total.value) / got.steps
    assert got.total.value == pytest.approx(together, rel=1e-9)


def test_every_layer_and_direction_has_an_entry():
    layers = of(nn.GRU(X, H, num_layers=2, bidirectional=True).double())
    assert [layer.layer for layer in layers] == ["gru.l0", "gru.l0.reverse", "gru.l1", "gru.l1.reverse"]
    assert all(
        layer.steps == T * B and list(layer.shares) == ["keep", "gate r", "gate z", "gate n"] for layer in layers
    )


def test_a_layer_without_an_equation_has_its_total_alone():
    x = torch.randn(T, B, X)
    trace = record(nn.LSTM(X, H), lambda m: m(x)[0].square().sum(-1))
    (got,), (known,) = attribution(blind(trace)).layers, attribution(trace).layers
    assert (got.total, got.steps) == (known.total, known.steps)
    assert (got.parts, got.shares) == ({}, {})


def test_the_interval_is_over_the_sequences():
    (got,) = of(nn.RNN(X, H).double(), x=torch.randn(T, 8, X).double() * 3)
    for each in (got.total, *got.parts.values()):
        assert each.low < each.value < each.high
    (same,) = of(nn.RNN(X, H).double(), x=torch.randn(T, 1, X).double().expand(-1, 6, -1))
    assert same.total.high - same.total.low == pytest.approx(0, abs=1e-12)
    (one,) = of(nn.RNN(X, H).double(), x=torch.randn(T, 1, X).double())
    assert (one.total.low, one.total.high) == (None, None)


def test_the_global_generator_is_left_alone_and_the_same_seed_gives_the_same():
    x = torch.randn(T, B, X)
    trace = record(nn.LSTM(X, H), lambda m: m(x)[0].square().sum(-1))
    before = torch.get_rng_state()
    assert attribution(trace, seed=3) == attribution(trace, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_it_holds_plain_numbers_only():
    x = torch.randn(T, B, X)
    got = attribution(record(nn.LSTM(X, H), lambda m: m(x)[0].square().sum(-1)))
    assert json.loads(json.dumps(dataclasses.asdict(got)))["layers"][0]["steps"] == got.layers[0].steps


def test_where_the_model_changes_the_state_between_the_steps_no_path_is_given_a_share():
    cell, x = nn.GRUCell(X, H), torch.randn(T, B, X)

    def loss(m):
        h, outputs = torch.zeros(B, H), []
        for x_t in x:
            h = m(x_t, h) * 0.9
            outputs.append(h)
        return torch.stack(outputs).square().sum(-1)

    [layer] = attribution(record(cell, loss)).layers
    assert layer.shares == {}
    assert layer.total.value < 0


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_record_in_float32_is_explained_too(kind):
    module, x = kind(X, H), torch.randn(T, B, X)
    exact, single = (
        attribution(record(module, lambda m: m(x)[0].square().sum(-1), dtype=dtype)).layers[0].total
        for dtype in (torch.float64, torch.float32)
    )
    assert single.value == pytest.approx(exact.value, abs=1e-4)
