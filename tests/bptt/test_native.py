"""The C++ kernels against the plain loop, in every shape: 1e-10 in float64, 1e-5 in float32, for each instruction set
that this processor has.
"""

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrograd.bptt.denormals import denormals_are_flushed
from retrograd.bptt.embedded import Embedded, of_numbers
from retrograd.bptt.native import native
from retrograd.bptt.native.backend import kind_of
from retrograd.bptt.native.operation import Inputs, Sequence, Weights, at_gates, forward, full, shrinking
from retrograd.bptt.reference import reference
from retrograd.cells import GRU, LSTM, Elman, make_cell
from tests.contracts import FORMS, KNOWN

pytestmark = pytest.mark.usefixtures("instructions")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def a_cell(form, inputs, hidden, dtype, *, bias=True):
    name, options = FORMS[form]
    return make_cell(name, inputs, hidden, bias=bias, **options).to(dtype)


def everything(run, cell, x, s0):
    """Outputs, last state, and the gradients of a random loss on both."""
    x, s0 = x.detach().requires_grad_(), s0.detach().requires_grad_()
    outputs, last = run(cell, x, s0)
    draw = torch.Generator().manual_seed(1)
    d_outputs, d_last = (torch.randn(y.shape, dtype=torch.float64, generator=draw).to(y) for y in (outputs, last))
    wanted = {"x": x, "s0": s0, **dict(cell.named_parameters())}
    found = torch.autograd.grad((outputs, last), list(wanted.values()), (d_outputs, d_last))
    return {"outputs": outputs, "last": last, **dict(zip(wanted, found, strict=True))}


def assert_near(found, expected, tolerance):
    """Within the tolerance, as a share of the largest element of each."""
    for name, exact in expected.items():
        scale = max(1.0, float(exact.detach().abs().max())) if exact.numel() else 1.0
        torch.testing.assert_close(
            found[name] / scale, exact / scale, atol=tolerance, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("form", KNOWN)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 35), st.integers(1, 70)),
    bias=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_any_shape_is_the_plain_loop(form, dtype, shape, bias, threads):
    T, B, X, H = shape
    torch.manual_seed(sum(shape))
    cell = a_cell(form, X, H, torch.float64, bias=bias)
    x, s0 = torch.randn(T, B, X, dtype=torch.float64), torch.randn(B, cell.state_size, dtype=torch.float64)
    expected = everything(reference, cell, x, s0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = everything(native, cell.to(dtype), x.to(dtype), s0.to(dtype))
    finally:
        torch.set_num_threads(before)
    assert_near({name: y.double() for name, y in found.items()}, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("form", KNOWN)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 9), st.integers(1, 40)),
    types=st.integers(1, 30),
    bias=st.booleans(),
)
def test_tokens_with_their_table_are_the_loop_over_their_vectors(form, dtype, shape, types, bias):
    """Fewer types than steps, which are looked up, and more, which are not."""
    T, B, X, H = shape
    torch.manual_seed(sum(shape))
    cell = a_cell(form, X, H, torch.float64, bias=bias)
    tokens, s0 = torch.randint(types, (T, B)), torch.randn(B, cell.state_size, dtype=torch.float64)
    table = torch.randn(types, X, dtype=torch.float64)

    def read(run):
        return lambda cell, table, s0: run(cell, Embedded(table, tokens), s0)

    expected = everything(read(of_numbers(reference)), cell, table, s0)
    found = everything(read(native), cell.to(dtype), table.to(dtype), s0.to(dtype))
    assert_near({name: y.double() for name, y in found.items()}, expected, TOLERANCE[dtype])


TOKENS = torch.randint(3, (30, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "tokens",
    [TOKENS[:, :1], TOKENS.t()[2:3], TOKENS[:1].expand(5, 8), TOKENS[:, ::2], TOKENS.int(), TOKENS.t()],
    ids=["one sequence", "one step", "expanded", "every other", "int32", "turned"],
)
def test_tokens_need_not_lie_one_after_the_other(tokens):
    torch.manual_seed(0)
    cell, table = LSTM(6, 4), torch.randn(3, 6)
    x, s0 = Embedded(table, tokens), torch.zeros(tokens.shape[1], 8)
    assert x.repeats
    torch.testing.assert_close(native(cell, x, s0)[0], reference(cell, x.numbers(), s0)[0])


def test_tokens_written_over_before_the_way_back_change_nothing():
    torch.manual_seed(0)
    cell, tokens, table = GRU(6, 4), torch.randint(3, (5, 4)), torch.randn(3, 6, requires_grad=True)
    loss = native(cell, Embedded(table, tokens), torch.zeros(4, 4))[0].square().sum()
    [expected] = torch.autograd.grad(loss, table, retain_graph=True)
    tokens.zero_()
    assert torch.equal(torch.autograd.grad(loss, table)[0], expected)


FREEZABLE = [
    (form, name)
    for form in KNOWN
    for name in ("x", "weight_ih", "weight_hh")
    if name == "x" or getattr(make_cell(FORMS[form][0], 1, 1, **FORMS[form][1]), name) is not None
]


@pytest.mark.parametrize(("form", "frozen"), FREEZABLE)
def test_what_is_frozen_gets_no_gradient_and_the_others_theirs(form, frozen):
    torch.manual_seed(0)
    cell = a_cell(form, 3, 5, torch.float64)
    x, s0 = torch.randn(4, 2, 3, dtype=torch.float64), torch.zeros(2, cell.state_size, dtype=torch.float64)
    wanted = {"x": x.requires_grad_(), **dict(cell.named_parameters())}
    expected = dict(
        zip(wanted, torch.autograd.grad(native(cell, x, s0)[0].square().sum(), wanted.values()), strict=True)
    )
    wanted[frozen].requires_grad_(False)
    native(cell, x, s0)[0].square().sum().backward()
    assert wanted[frozen].grad is None
    for name, of in wanted.items():
        if name != frozen:
            torch.testing.assert_close(of.grad, expected[name], atol=0, rtol=0)


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_that_the_table_has_not_is_refused(token):
    tokens = torch.zeros(5, 4, dtype=torch.long)
    tokens[2, 1] = token
    with pytest.raises(IndexError, match=r"from 0 to 2, got (-1 to 0|0 to 3)"):
        native(GRU(6, 4), Embedded(torch.randn(3, 6), tokens), torch.zeros(4, 4))


@pytest.mark.parametrize("form", KNOWN)
def test_a_long_sequence_of_many_rows_is_the_plain_loop(form):
    torch.manual_seed(0)
    cell = a_cell(form, 20, 130, torch.float64)
    x, s0 = torch.randn(60, 37, 20, dtype=torch.float64), torch.randn(37, cell.state_size, dtype=torch.float64)
    assert_near(everything(native, cell, x, s0), everything(reference, cell, x, s0), 1e-10)


def packed_by_the_loop(cell, x, s0, counts):
    """Row b of step t goes on from row b of step t-1; a sequence that is over keeps its state."""
    s, outputs, begin = s0, [], 0
    for n in counts.tolist():
        new = cell.step(x[begin : begin + n], s[:n])
        outputs.append(cell.output(new))
        s, begin = torch.cat([new, s[n:]]), begin + n
    return torch.cat(outputs), s


@pytest.mark.parametrize("form", KNOWN)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=9).filter(any), threads=st.sampled_from([1, 2]))
def test_variable_lengths_are_each_sequence_alone_even_those_without_a_step(form, lengths, threads):
    torch.manual_seed(len(lengths))
    lengths = torch.tensor(sorted(lengths, reverse=True))
    counts = (lengths[:, None] > torch.arange(int(lengths[0]))).sum(0)
    cell, B = a_cell(form, 4, 19, torch.float64), len(lengths)
    x, s0 = torch.randn(int(counts.sum()), 4, dtype=torch.float64), torch.randn(B, cell.state_size, dtype=torch.float64)

    def ours(cell, x, s0):
        weights = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
        return Sequence.apply(kind_of(cell), shrinking(counts, B), x, s0, *weights)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = everything(ours, cell, x, s0)
    finally:
        torch.set_num_threads(before)
    assert_near(found, everything(lambda c, x, s: packed_by_the_loop(c, x, s, counts), cell, x, s0), 1e-10)


@pytest.mark.parametrize("form", KNOWN)
def test_the_gradient_at_every_state_comes_along(form):
    torch.manual_seed(0)
    T, B, H = 6, 5, 21
    cell = a_cell(form, 3, H, torch.float64).requires_grad_(False)
    x, s0 = torch.randn(T, B, 3, dtype=torch.float64), torch.randn(B, cell.state_size, dtype=torch.float64)
    d_h, d_last = torch.randn(T, B, H, dtype=torch.float64), torch.randn(B, cell.state_size, dtype=torch.float64)
    states = [s0.requires_grad_()]
    for x_t in x:
        states.append(cell.step(x_t, states[-1]))
    loss = sum((cell.output(s) * d).sum() for s, d in zip(states[1:], d_h, strict=True)) + (states[-1] * d_last).sum()
    expected = torch.stack(torch.autograd.grad(loss, states))
    weights = Weights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    inputs = Inputs(kind_of(cell), full(T, B), x.flatten(0, 1), s0.detach(), weights)
    found = x.new_empty(T, B, cell.state_size)
    _, first = at_gates(inputs, forward(inputs), d_h.flatten(0, 1), d_last, states=found)
    torch.testing.assert_close(torch.cat([first[None], found]), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("form", KNOWN)
def test_input_and_first_state_need_not_be_contiguous(form):
    torch.manual_seed(0)
    cell = a_cell(form, 6, 10, torch.float64)
    x = torch.randn(4, 5, 12, dtype=torch.float64)[..., ::2].transpose(0, 1)
    s0 = torch.randn(cell.state_size, 4, dtype=torch.float64).T
    assert_near(everything(native, cell, x, s0), everything(reference, cell, x, s0), 1e-10)


def test_weights_need_not_be_contiguous():
    torch.manual_seed(0)
    cell = GRU(6, 10).double()
    for p in cell.parameters():
        p.data = torch.stack([p.data, p.data], -1)[..., 0]
    x, s0 = torch.randn(5, 4, 6, dtype=torch.float64), torch.randn(4, 10, dtype=torch.float64)
    assert not cell.weight_hh.is_contiguous()
    assert_near(everything(native, cell, x, s0), everything(reference, cell, x, s0), 1e-10)


@pytest.mark.parametrize("form", KNOWN)
def test_one_layer_used_twice_in_a_row_and_taken_back_twice(form):
    torch.manual_seed(0)
    cell = a_cell(form, 10, 10, torch.float64)
    x, s0 = torch.randn(5, 4, 10, dtype=torch.float64), torch.randn(4, cell.state_size, dtype=torch.float64)

    def twice(run):
        def both(cell, x, s0):
            below, last = run(cell, x, s0)
            return run(cell, below, last)

        return both

    assert_near(everything(twice(native), cell, x, s0), everything(twice(reference), cell, x, s0), 1e-10)
    x.requires_grad_()
    loss = native(cell, x, s0)[0].square().sum()
    once = torch.autograd.grad(loss, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, x)[0], once), "the way back must leave what it reads as it was"


@pytest.mark.parametrize("form", KNOWN)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_what_is_not_finite_passes_through_as_in_the_loop(form, bad, dtype):
    torch.manual_seed(0)
    cell = a_cell(form, 3, 18, dtype)
    x, s0 = torch.randn(4, 3, 3, dtype=dtype), torch.randn(3, cell.state_size, dtype=dtype)
    x[1, 1] = bad
    with torch.no_grad():
        found, expected = native(cell, x, s0)[0], reference(cell, x, s0)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_non_linearities_are_right_to_a_few_units_in_the_last_place(dtype):
    z = torch.cat([torch.linspace(-100, 100, 20_001), torch.logspace(-30, 2, 2_000), -torch.logspace(-30, 2, 2_000)])
    z = z.double().to(dtype)
    for name in ("tanh", "sigmoid"):
        cell = Elman(1, 1, activation=name, bias=False).to(dtype).requires_grad_(False)
        cell.weight_ih.fill_(1), cell.weight_hh.fill_(0)
        found = native(cell, z[None, :, None], z.new_zeros(len(z), 1))[0].flatten().double()
        exact = getattr(torch, name)(z.double())
        seen = exact.abs() > 2e-38  # sigmoid goes no lower in float32
        error = ((found - exact) / exact).abs()[seen]
        assert error.max() < 4 * torch.finfo(dtype).eps, name


def test_denormals_are_left_as_they_are():
    assert not denormals_are_flushed()
    cell = Elman(1, 40, activation="identity", bias=False).requires_grad_(False)
    cell.weight_ih.zero_(), cell.weight_hh.copy_(torch.eye(40) * 0.1)
    s0 = torch.full((6, 40), 1e-37)
    outputs, _ = native(cell, torch.zeros(3, 6, 1), s0)
    torch.testing.assert_close(outputs[:, 0, 0], torch.tensor([1e-38, 1e-39, 1e-40]), atol=0, rtol=1e-4)
    assert not denormals_are_flushed()


def test_gradients_in_several_threads_at_once_are_those_of_one():
    torch.manual_seed(0)
    cells = [LSTM(12, 40).double(), GRU(12, 40).double(), Elman(12, 40).double()] * 2
    points = [(torch.randn(30, 8, 12).double(), torch.randn(8, cell.state_size).double()) for cell in cells]
    expected = [everything(native, cell, *point) for cell, point in zip(cells, points, strict=True)]
    found = [None] * len(cells)

    def work(i):
        for _ in range(5):
            found[i] = everything(native, cells[i], *points[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(cells))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs, 1e-12)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_goes_on_alone():
    torch.manual_seed(0)
    cell, x, s0 = GRU(8, 64).requires_grad_(False), torch.randn(20, 16, 8), torch.zeros(16, 64)
    expected = native(cell, x, s0)[0]
    child = os.fork()
    if not child:
        gc.disable()
        same = torch.allclose(native(cell, x, s0)[0], expected, atol=1e-6)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_interrupt_leaves_kernels_that_go_on_computing():
    """Ctrl-C in the middle of a loop of two threads: it is raised at once, and what is computed after is right."""
    code = """
import time, torch
from retrograd.bptt.native import native
from retrograd.cells import LSTM

cell, x, s0 = LSTM(64, 96), torch.randn(40, 16, 64), torch.zeros(16, 192)
expected = native(cell, x, s0)[0]
try:
    print("ready", flush=True)
    while True:
        native(cell, x, s0)[0].sum().backward()
except KeyboardInterrupt:
    print(torch.equal(native(cell, x, s0)[0], expected), flush=True)
"""
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30)[0] == "True\n"
    assert child.returncode == 0
