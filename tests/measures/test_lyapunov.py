"""Exponents that are known in closed form, and the sum of all, which is the mean of ln |det J| whatever the net."""

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
from retrograd.cells import GRU, LSTM, Additive, Elman, MultiTap, from_torch
from retrograd.errors import UsageError
from retrograd.init import initialise_
from retrograd.measures.lyapunov import _pushes, lyapunov
from retrograd.measures.stretches import stretches
from retrograd.trace import record
from tests.contracts import FORMS, cell_of, point
from tests.measures.subjects import B, H, Loop, OwnCell, T, X, blind, textbook, traced, without_states
from tests.oracles import autograd_jacobian, trajectory


def linear(W, inputs=X):
    cell = Elman(inputs, len(W), activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(W)
    return cell


def diagonal(*w, inputs=X):
    return linear(torch.tensor(w, dtype=torch.float64).diag(), inputs)


def true_log_dets(form, cell, x, s0):
    """ln |det J[t]|, (T, B), from autograd on the equation of the cell."""
    return trajectory(textbook(form, cell), x, s0)[0].det().abs().log()


def test_a_diagonal_net_has_the_logarithms_of_its_weights_sorted():
    w = 0.3, -1.1, 0.02, 0.7
    (it,) = lyapunov(traced(Stack([diagonal(*w)]), 300)).layers
    truth = sorted((math.log(abs(x)) for x in w), reverse=True)
    assert it.exponents == pytest.approx(truth, rel=1e-9)
    assert it.low == pytest.approx(truth, rel=1e-9)
    assert it.high == pytest.approx(truth, rel=1e-9)
    assert (it.name, it.layers, it.cells, it.size) == ("stack.l0", ("stack.l0",), ("Elman",), 4)
    assert (it.sequences, it.steps, it.transient, it.blocks) == (B, B * 225, 75, 12)
    assert it.complete


def test_the_first_exponents_are_the_largest():
    (it,) = lyapunov(traced(Stack([diagonal(0.3, -1.1, 0.02, 0.7)]), 300), first=2).layers
    assert it.exponents == pytest.approx([math.log(1.1), math.log(0.7)], rel=1e-9)
    assert not it.complete


def test_an_orthogonal_net_neither_grows_nor_shrinks():
    stack = Stack([Elman(X, H, activation="identity")]).double()
    initialise_(stack, "orthogonal")
    (it,) = lyapunov(traced(stack)).layers
    assert it.exponents == pytest.approx([0.0] * H, abs=1e-12)


def test_an_additive_net_is_the_identity_through_time():
    (it,) = lyapunov(traced(Stack([Additive(X, H)]))).layers
    assert it.exponents == pytest.approx([0.0] * H, abs=1e-12)


def test_of_several_linear_taps_they_are_the_roots_of_the_characteristic_polynomial():
    """r^3 = 0.6 r^2 + 0.2: one real root and a pair, of whose two moduli the mean over time is the same."""
    cell = MultiTap(X, 1, taps=(1, 3), activation="identity").double()
    with torch.no_grad():
        cell.weight_hh.copy_(torch.tensor([[0.6, 0.2]], dtype=torch.float64))
    (it,) = lyapunov(traced(Stack([cell]), 2000)).layers
    roots = sorted(np.log(np.abs(np.roots([1, -0.6, 0, -0.2]))), reverse=True)
    assert it.exponents[0] == pytest.approx(roots[0], rel=1e-9)
    assert it.exponents == pytest.approx(roots, abs=1e-3)
    assert it.complete


@pytest.mark.parametrize("order", [1, -1])
def test_a_stack_with_several_taps_has_the_exponents_of_its_layers_and_their_sum(order):
    taps, gru = (lambda n: MultiTap(n, H, taps=(1, 3))), (lambda n: GRU(n, H))
    below, above = (taps, gru)[::order]
    it = lyapunov(traced(Stack([below(X), above(H)]).double()), first=99, transient=0)
    (stack,) = it.stacks
    assert stack.size == 3 * H + H
    assert sum(stack.exponents) == pytest.approx(sum(sum(x.exponents) for x in it.layers), rel=1e-9)


def test_a_single_tanh_unit_has_the_mean_of_ln_of_its_slope():
    cell = Elman(X, 1).double()
    trace = traced(Stack([cell]))
    h = trace.layers[0].states[1:]
    truth = float((cell.weight_hh.detach() * (1 - h**2)).abs().log().mean())
    assert lyapunov(trace, transient=0).layers[0].exponents == pytest.approx([truth], rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transient", [0, 3])
def test_all_exponents_add_up_to_the_mean_of_ln_det(form, transient):
    cell = cell_of(form)
    x, s0 = point(cell)
    trace = record(Stack([cell]), lambda m: m(x, (s0,))[0].sum(-1))
    (it,) = lyapunov(trace, first=99, transient=transient).layers
    truth = float(true_log_dets(form, cell, x, s0)[transient:].mean())
    assert it.complete
    assert sum(it.exponents) == pytest.approx(truth, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_stack_has_the_exponents_of_its_layers_and_their_sum(kind):
    """Triangular: what the lower layer does to the upper one changes directions, not volumes."""
    it = lyapunov(traced(kind(X, H, num_layers=3).double()), first=99, transient=0)
    (stack,) = it.stacks
    assert (stack.name, len(stack.layers), stack.size) == (kind.__name__.lower(), 3, sum(x.size for x in it.layers))
    assert sum(stack.exponents) == pytest.approx(sum(sum(x.exponents) for x in it.layers), rel=1e-9)


def test_the_spectrum_of_a_linear_stack_is_that_of_both_layers_sorted():
    lower, upper = diagonal(0.9, 0.4, -0.1), diagonal(-0.6, 0.25, inputs=3)
    (stack,) = lyapunov(traced(Stack([lower, upper]), 200)).stacks
    truth = [math.log(w) for w in (0.9, 0.6, 0.4, 0.25, 0.1)]
    assert stack.exponents == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("leading", [0, 1])
def test_of_two_layers_that_do_not_hear_each_other_the_faster_one_leads(leading):
    layers = [Elman(X, 4).double(), Elman(4, 4).double()]
    w = torch.tensor([0.9, 0.6, 0.3, 0.1], dtype=torch.float64)
    for i, cell in enumerate(layers):
        Q, _ = torch.linalg.qr(torch.randn(4, 4).double())
        with torch.no_grad():
            for p in cell.parameters():
                p.zero_()
            cell.weight_hh.copy_(Q @ w.diag() @ Q.T / (1 if i == leading else 2))
    s0 = torch.randn(B, 4).double(), torch.randn(B, 4).double()
    x = torch.randn(250, B, X).double()
    it = lyapunov(record(Stack(layers), lambda m: m(x, s0)[0].sum(-1)), first=2, transient=150)
    (stack,) = it.stacks
    assert it.layers[leading].exponents == pytest.approx([math.log(0.9), math.log(0.6)], rel=1e-9)  # tanh, near 0
    assert it.layers[1 - leading].exponents == pytest.approx([math.log(0.45), math.log(0.3)], rel=1e-9)
    assert stack.exponents == pytest.approx(it.layers[leading].exponents, rel=1e-9)


@pytest.mark.parametrize(
    "module",
    [
        nn.RNN(X, H, num_layers=2),
        nn.GRU(X, H, num_layers=2),
        nn.LSTM(X, H, 2),
        nn.LSTM(X, H, 2, proj_size=2),
        Stack([MultiTap(X, H, taps=(2, 3)), MultiTap(H, H)]),
    ],
    ids=["rnn", "gru", "lstm", "projected", "taps"],
)
def test_the_joint_map_of_a_stack_is_autograds_jacobian_of_both_layers(module):
    module = module.double()
    trace = traced(module, 4)
    lower, upper = trace.layers
    for t, push in enumerate(_pushes(trace.layers, stretches(lower))):
        size = lower.states.shape[-1]
        s = torch.cat([lower.states[t], upper.states[t]], -1)

        def both(s, t=t, size=size):
            below = lower.cell.step(lower.inputs[t], s[:, :size])
            return torch.cat([below, upper.cell.step(lower.cell.output(below), s[:, size:])], -1)

        units = torch.eye(s.shape[-1], dtype=torch.float64).expand(B, -1, -1)
        torch.testing.assert_close(push(units).mT, autograd_jacobian(both, s), rtol=1e-10, atol=1e-13)


def test_what_comes_between_two_layers_makes_them_two_systems():
    dropped = nn.GRU(X, H, num_layers=2, dropout=0.3)
    assert lyapunov(traced(dropped)).stacks == ()
    assert len(lyapunov(traced(dropped.eval())).stacks) == 1
    both_ways = lyapunov(traced(nn.GRU(X, H, num_layers=2, bidirectional=True)))
    assert (len(both_ways.layers), both_ways.stacks) == (4, ())
    assert lyapunov(traced(nn.Sequential(nn.GRU(X, H)))).stacks == ()


def test_dead_units_are_minus_infinity_by_name_and_the_others_are_what_they_are():
    cell = Elman(X, 4, activation="relu").double()
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_hh.copy_(torch.tensor([0.75, 0.5, 0.7, 0.2]).diag())
        cell.bias_ih.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0]))  # two that never fire
    it = lyapunov(traced(Stack([cell]), 200)).layers[0]
    assert it.exponents[:2] == pytest.approx([math.log(0.75), math.log(0.5)], rel=1e-9)
    assert it.exponents[2:] == it.low[2:] == it.high[2:] == (-math.inf,) * 2
    with torch.no_grad():
        cell.weight_hh.zero_()
    assert lyapunov(traced(Stack([cell]))).layers[0].exponents == (-math.inf,) * 4


def test_weights_that_are_singular_to_rounding_are_minus_infinity_as_well():
    """Turned, so that no element is zero and what is left of the last direction is about 1e-17."""
    Q, _ = torch.linalg.qr(torch.randn(4, 4).double())
    W = Q @ torch.tensor([0.75, 0.5, 0.25, 0.0], dtype=torch.float64).diag() @ Q.T
    (it,) = lyapunov(traced(Stack([linear(W)]), 200)).layers
    assert it.exponents[:3] == pytest.approx([math.log(w) for w in (0.75, 0.5, 0.25)], rel=1e-9)
    assert it.exponents[3] == -math.inf


def test_a_unit_that_is_dead_at_one_step_only_is_singular_all_the_same():
    """The sum of all exponents is -inf with ln det of a single step."""
    cell = Elman(1, 2, activation="relu").double()
    with torch.no_grad():
        cell.weight_ih.fill_(1.0)
        cell.weight_hh.copy_(torch.tensor([0.5, 0.4]).diag())
    x = torch.ones(20, 1, 1).double()
    x[15] = -100.0  # both
    it = lyapunov(record(Stack([cell]), lambda m: m(x)[0].sum(-1)))
    assert it.layers[0].exponents == (-math.inf,) * 2


def test_tiny_and_huge_weights_neither_underflow_nor_overflow():
    w = 1e-200, -1e150, 1e-3
    (it,) = lyapunov(traced(Stack([diagonal(*w)]), 2), transient=0, first=1).layers
    assert it.exponents[0] == pytest.approx(math.log(1e150), rel=0.02)  # of two steps from a random direction
    tiny = diagonal(1e-200, 1e-200)
    (it,) = lyapunov(traced(Stack([tiny]), 60)).layers
    assert it.exponents == pytest.approx([math.log(1e-200)] * 2, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_give_nan_and_no_crash(bad):
    module = nn.LSTM(X, H, num_layers=2)
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = bad
    it = lyapunov(traced(module))
    assert all(map(math.isnan, it.layers[0].exponents))
    assert [len(it.layers), len(it.stacks)] == [2, 1]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_steps_after_the_end_of_a_sequence_are_no_steps(bidirectional):
    module, lengths = nn.LSTM(X, H, bidirectional=bidirectional).double(), [T, 4, 9]
    x = torch.randn(T, B, X).double()
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    found = lyapunov(record(module, lambda m: m(packed)[0].data.sum()), first=99, transient=0).layers
    [cells] = from_torch(module)
    for it, cell, way in zip(found, cells, (torch.clone, torch.flipud), strict=False):
        logs = [
            true_log_dets("lstm", cell, way(x[:n, b : b + 1]), torch.zeros(1, 2 * H).double())
            for b, n in enumerate(lengths)
        ]
        assert it.steps == sum(lengths)
        assert sum(it.exponents) == pytest.approx(float(torch.cat(logs).mean()), rel=1e-9)


def test_a_new_document_is_no_step_of_the_old_one():
    """The gradient that it stops is no exponent of minus infinity; the longest document is what is measured."""
    cell, starts = GRU(X, H).double(), torch.zeros(T, 1, dtype=torch.bool)
    starts[6] = True
    x = torch.randn(T, 1, X).double()
    (it,) = lyapunov(record(Stack([cell]), lambda m: m(x, None, starts)[0].sum(-1)), first=99, transient=0).layers
    after = cell.step(x[6], torch.zeros(1, H).double()).detach()
    assert it.steps == 13
    assert sum(it.exponents) == pytest.approx(float(true_log_dets("gru", cell, x[7:], after).mean()), rel=1e-9)


def test_a_cell_without_an_equation_is_measured_by_its_pullback():
    loop = Loop(OwnCell()).double()
    trace = traced(loop)
    assert trace.layers[0].cell is None
    (it,) = lyapunov(trace, first=99).layers
    twin = nn.RNN(X, H).double()
    with torch.no_grad():
        for name, linear_ in (("ih", loop.cell.ih), ("hh", loop.cell.hh)):
            getattr(twin, f"weight_{name}_l0").copy_(linear_.weight)
            getattr(twin, f"bias_{name}_l0").copy_(linear_.bias)
    x = trace.layers[0].inputs
    (truth,) = lyapunov(record(twin, lambda m: m(x)[0].sum(-1)), first=99).layers
    assert it.cells == ("OwnCell",)
    assert it.exponents == pytest.approx(truth.exponents, rel=1e-9)
    assert it.low == pytest.approx(truth.low, rel=1e-9)


@pytest.mark.parametrize("cell", [OwnCell, partial(nn.RNNCell, X, H)], ids=["own", "elman"])
def test_what_the_model_does_to_the_state_between_the_calls_is_part_of_the_step(cell):
    plain, halved = Loop(cell()), Loop(cell(), keep=0.5)
    halved.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for p in (*plain.parameters(), *halved.parameters()):
            p.mul_(1e-3)  # nearly linear
    a, b = (lyapunov(traced(loop.double()), first=1, transient=1).layers[0].exponents[0] for loop in (plain, halved))
    assert b - a == pytest.approx(math.log(0.5), abs=1e-2)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_by_the_pullback_or_in_closed_form_it_is_the_same(kind):
    trace = traced(kind(X, H).double())
    (closed,), (rows,) = lyapunov(trace).layers, lyapunov(blind(trace)).layers
    assert rows.exponents == pytest.approx(closed.exponents, rel=1e-9)


def test_a_layer_that_shows_no_state_is_named_and_left_out():
    it = lyapunov(without_states())
    assert (it.layers, it.stacks, it.not_measured) == ((), (), ("0",))


def test_the_interval_of_a_short_record_holds_what_a_long_one_finds():
    module = nn.RNN(X, 12).double()
    initialise_(module, "normal=1.2")
    (long,) = lyapunov(traced(module, 600, 6), first=3, blocks=40).layers
    (short,) = lyapunov(traced(module, 100, 6), first=3).layers
    assert all(low <= x <= high for low, x, high in zip(short.low, long.exponents, short.high, strict=True))
    assert long.high[0] - long.low[0] < short.high[0] - short.low[0]


def test_nothing_is_drawn_from_the_global_generator_and_all_is_plain():
    trace = traced(nn.GRU(X, H, num_layers=2))
    before = torch.get_rng_state()
    it = lyapunov(trace)
    assert torch.equal(torch.get_rng_state(), before)
    assert it == lyapunov(trace)
    assert json.loads(json.dumps(asdict(it)))["stacks"][0]["name"] == "gru"
    hash(it)


def test_a_record_in_float32_is_measured_too():
    module = nn.LSTM(X, H, num_layers=2)
    x = torch.randn(T, B, X)
    double, single = (
        lyapunov(record(module, lambda m: m(x)[0].sum(-1), dtype=dtype)) for dtype in (torch.float64, torch.float32)
    )
    for a, b in zip((*double.layers, *double.stacks), (*single.layers, *single.stacks), strict=True):
        assert a.exponents == pytest.approx(b.exponents, abs=1e-4)


def test_one_step_of_one_sequence_has_exponents_and_no_interval():
    (it,) = lyapunov(traced(nn.RNN(X, H), 1, 1)).layers
    assert (len(it.exponents), it.low, it.high, it.steps) == (H, (), (), 1)


@pytest.mark.parametrize(
    "options", [{"first": 0}, {"transient": T}, {"transient": -1}, {"blocks": 0}, {"sequences": 0}]
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(UsageError):
        lyapunov(traced(nn.RNN(X, H)), **options)


def test_both_kinds_of_memory_count():
    """An LSTM whose gates are their biases alone: along c the exponent is ln f, and h depends on c only."""
    cell = LSTM(X, 1).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        cell.bias_ih[1] = 3.0
    (it,) = lyapunov(traced(Stack([cell]), 100)).layers
    assert it.exponents == (pytest.approx(math.log(1 / (1 + math.exp(-3))), rel=1e-9), -math.inf)
