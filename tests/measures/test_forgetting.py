"""Two states under the same inputs, in nets where their distance is known, and beside the leading Lyapunov exponent."""

import json
import math
from dataclasses import asdict
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.errors import UsageError
from retrograd.init import initialise_
from retrograd.measures.forgetting import forgetting
from retrograd.measures.lyapunov import lyapunov
from retrograd.trace import record
from tests.contracts import FORMS, cell_of, point
from tests.measures.subjects import B, H, Loop, OwnCell, X, traced

T = 60


def linear(*, scale=1.0, w=None):
    """A net that turns and scales its state, or with the weights w on the diagonal."""
    cell = Elman(X, H if w is None else len(w), activation="identity").double()
    with torch.no_grad():
        Q, _ = torch.linalg.qr(torch.randn(H, H).double())
        cell.weight_hh.copy_(scale * Q if w is None else torch.tensor(w, dtype=torch.float64).diag())
    return Stack([cell])


def test_in_a_diagonal_net_the_near_start_parts_at_the_largest_weight():
    (it,) = forgetting(traced(linear(w=[0.3, -0.9, 0.5, 0.1]), 200, 5), transient=100).layers
    assert it.exponent == pytest.approx(math.log(0.9), abs=1e-6)
    assert it.exponent_low == pytest.approx(math.log(0.9), abs=1e-6)
    assert it.exponent_high == pytest.approx(math.log(0.9), abs=1e-6)
    assert (it.transient, it.blocks, it.steps, it.sequences) == (100, 10, 200, 5)


@pytest.mark.parametrize("scale", [0.6, 0.97, 1.1])
def test_a_net_that_turns_and_scales_forgets_by_its_factor_every_step(scale):
    (it,) = forgetting(traced(linear(scale=scale), T)).layers
    end = len(it.distance) if it.rounding is None else it.rounding
    truth = [t * math.log(scale) for t in range(end)]
    for found in (it.distance, it.distance_low, it.distance_high):
        assert found[:end] == pytest.approx(truth, abs=2e-2)  # near the end a distance has two digits left
        assert found[: end // 2] == pytest.approx(truth[: end // 2], abs=1e-6)
    assert (it.rate, it.rate_low, it.rate_high) == pytest.approx((math.log(scale),) * 3, abs=1e-3)
    assert it.exponent == pytest.approx(math.log(scale), abs=1e-7)
    half = math.log(0.5) / math.log(scale) if scale < 1 else math.inf
    assert (it.half_life, it.half_life_low, it.half_life_high) == pytest.approx((half,) * 3, rel=1e-2)


def test_it_says_from_which_step_on_the_distance_is_rounding():
    (it,) = forgetting(traced(linear(scale=0.5), T)).layers
    assert 40 <= it.rounding <= 52  # 2^-46 is 1.4e-14 beside states of about 1
    assert len(it.distance) == T + 1
    assert max(it.distance[it.rounding + 5 :]) < -30
    assert forgetting(traced(linear(scale=0.97), T)).layers[0].rounding is None


def test_an_additive_net_forgets_nothing():
    (it,) = forgetting(traced(Stack([Additive(X, H)]), T)).layers
    assert it.distance == pytest.approx([0.0] * (T + 1), abs=1e-12)
    assert it.rate == pytest.approx(0.0, abs=1e-12)
    assert it.exponent == pytest.approx(0.0, abs=1e-7)
    assert (it.rounding, it.half_life > 1e10) == (None, True)


CASES = {
    "a tanh net that forgets": (nn.RNN, "default", 1),
    "a chaotic tanh net": (nn.RNN, "normal=1.5", 1),
    "a ReLU net": (partial(nn.RNN, nonlinearity="relu"), "normal=0.3", 1),
    "a GRU": (nn.GRU, "default", 2),
    "an LSTM": (nn.LSTM, "normal=1", 2),
}


@pytest.mark.parametrize(("kind", "init", "layers"), CASES.values(), ids=CASES)
def test_the_near_start_finds_the_leading_lyapunov_exponent(kind, init, layers):
    module = kind(X, 12, num_layers=layers).double()
    initialise_(module, init)
    trace = traced(module, 160)
    found, spectra = forgetting(trace).layers, lyapunov(trace, first=1).layers
    assert len(found) == layers
    for it, truth in zip(found, spectra, strict=True):
        assert (it.layer, it.cell) == (truth.name, truth.cells[0])
        assert truth.low[0] <= it.exponent <= truth.high[0]
        assert it.exponent_low <= truth.exponents[0] <= it.exponent_high
        if truth.high[0] < -0.05:  # and a far start comes at that rate as well
            assert it.rate == pytest.approx(truth.exponents[0], rel=0.25)


def test_in_chaos_a_far_start_stays_far_though_the_near_one_parts():
    module = nn.RNN(X, 40).double()
    initialise_(module, "normal=2")
    (it,) = forgetting(traced(module, 150)).layers
    assert it.exponent_low > 0.1
    assert it.rounding is None
    assert min(it.distance_low) > -1.5
    assert abs(it.rate) < 0.01
    assert it.half_life > 100


@pytest.mark.parametrize("form", FORMS)
def test_every_cell_is_run_as_its_equation_says(form):
    """By hand: the far start is the first draw, at the size of each unit along the data, the near one the second."""
    cell = cell_of(form)
    x, s0 = point(cell)
    trace = record(Stack([cell]), lambda m: m(x, (s0,))[0].sum(-1))
    (it,) = forgetting(trace, transient=0, seed=3).layers
    far, direction = torch.randn(2, *s0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    size = trace.layers[0].states[:-1].square().mean((0, 1)).sqrt()
    s, other, near = s0, size * far, s0 + 1e-6 * direction / direction.norm(dim=-1, keepdim=True)
    logs, growth = [(other - s).norm(dim=-1).log()], []
    with torch.no_grad():
        for x_t in x:
            s, other, near = (cell.step(x_t, each) for each in (s, other, near))
            gap = near - s
            logs.append((other - s).norm(dim=-1).log())
            growth.append((gap.norm(dim=-1) / 1e-6).log())
            near = s + 1e-6 * gap / gap.norm(dim=-1, keepdim=True)
    logs = torch.stack(logs)
    medians = (logs - logs[0]).sort(-1).values[:, (len(s0) - 1) // 2]
    assert it.distance == pytest.approx(medians.tolist(), abs=1e-9)
    assert it.exponent == pytest.approx(float(torch.stack(growth).mean()), abs=1e-4)


def test_what_dies_is_forgotten_after_one_step():
    cell = Elman(X, H, activation="relu").double()
    with torch.no_grad():
        cell.bias_ih.fill_(-100.0)
    (it,) = forgetting(traced(Stack([cell]), T)).layers
    assert it.distance == (0.0, *(-math.inf,) * T)
    assert (it.rounding, it.rate, it.half_life) == (1, -math.inf, 0.0)
    assert it.exponent == it.exponent_low == it.exponent_high == -math.inf


def test_an_upper_layer_is_driven_by_what_it_read():
    """Alone under the lower one's outputs it forgets at the same rate."""
    stack = Stack([LSTM(X, H), GRU(H, H)]).double()
    trace = traced(stack, T)
    upper = trace.layers[1]
    alone = record(Stack([stack.layers[1]]), lambda m: m(upper.inputs)[0].square().sum(-1))
    a, b = forgetting(trace).layers[1], forgetting(alone).layers[0]
    assert a.distance == pytest.approx(b.distance, abs=1e-9)
    assert (a.rate, a.exponent) == pytest.approx((b.rate, b.exponent), abs=1e-9)


def test_what_cannot_be_run_again_is_named_and_left_out():
    own = forgetting(traced(Loop(OwnCell()), T))
    assert (own.layers, own.not_measured) == ((), ("cell",))
    masked = forgetting(traced(Loop(nn.GRUCell(X, H), keep=0.5), T))
    assert (masked.layers, masked.not_measured) == ((), ("cell.l0",))
    known = forgetting(traced(Loop(nn.GRUCell(X, H)), T))
    assert ([it.layer for it in known.layers], known.not_measured) == (["cell.l0"], ())


def test_sequences_are_as_long_as_the_median_one_and_padding_does_not_count():
    module, lengths = nn.GRU(X, H, bidirectional=True).double(), torch.tensor([7, 60, 31, 40, 2])
    x = torch.randn(T, len(lengths), X).double()
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    for it in forgetting(record(module, lambda m: m(packed)[0].data.sum())).layers:
        assert (it.sequences, it.steps, len(it.distance)) == (3, 31, 32)
        assert -3 < it.exponent < 0  # a step that keeps the state as it is would pull it to 0
        assert it.distance[-1] < -8


def test_the_order_of_a_batch_does_not_make_the_interval_and_one_sequence_has_none():
    module = nn.LSTM(X, H).double()
    (many,) = forgetting(traced(module, T, 12)).layers
    assert many.rate_low <= many.rate <= many.rate_high < 0
    assert many.half_life_low <= many.half_life <= many.half_life_high
    (one,) = forgetting(traced(module, T, 1)).layers
    assert (one.rate_low, one.rate_high, one.half_life_low) == (None, None, None)
    assert one.exponent_low < one.exponent < one.exponent_high  # over blocks of time
    assert one.distance == one.distance_low == one.distance_high


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_give_nan_and_no_crash(bad):
    module = nn.LSTM(X, H, num_layers=2)
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = bad
    it = forgetting(traced(module, T)).layers[0]
    assert math.isnan(it.distance[-1])
    assert math.isnan(it.exponent)
    assert math.isnan(it.half_life)


def test_nothing_is_drawn_from_the_global_generator_nothing_is_changed_and_all_is_plain():
    module = nn.GRU(X, H, num_layers=2)
    trace = traced(module, T)
    before, weights = torch.get_rng_state(), [p.clone() for p in module.parameters()]
    it = forgetting(trace)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, weights, module.parameters()))
    assert it == forgetting(trace)
    assert it != forgetting(trace, seed=1)
    assert json.loads(json.dumps(asdict(it)))["layers"][1]["layer"] == "gru.l1"
    hash(it)


def test_a_record_in_float32_is_run_again_in_float64():
    module = nn.LSTM(X, H)
    x = torch.randn(T, B, X)
    (it,) = forgetting(record(module, lambda m: m(x)[0].sum(-1), dtype=torch.float32)).layers
    assert it.distance[-1] < -20  # float32 ends at about -16


def test_one_step_and_what_cannot_be():
    (it,) = forgetting(traced(nn.RNN(X, H), 1, 1)).layers
    assert (it.steps, len(it.distance), it.exponent_low) == (1, 2, None)
    trace = traced(nn.RNN(X, H), T)
    for options in ({"transient": T}, {"transient": -1}, {"blocks": 0}, {"sequences": 0}):
        with pytest.raises(UsageError):
            forgetting(trace, **options)
