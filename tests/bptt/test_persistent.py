"""The Triton kernels are the plain loop, in float32 to 1e-5 of the largest: on a GPU, else in Triton's interpreter.

The interpreter is chosen by an environment variable when the kernels are first imported, and numpy, in which it works,
warns of the infinities that some of the tests are about.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from retrograd.bptt.persistent import no_program, operation, persistent
from retrograd.bptt.reference import reference
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.errors import ShapeError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # read by triton as it is imported, which torch may do
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
HERE = INTERPRETED or DEVICE == "cuda"
FORMS = {
    "elman-tanh": (Elman, {}),
    "elman-relu": (Elman, {"activation": "relu"}),
    "elman-sigmoid": (Elman, {"activation": "sigmoid"}),
    "gru": (GRU, {}),
    "lstm": (LSTM, {}),
}
BOTH = (persistent, reference)
TOLERANCE = 1e-5  # of the largest element
X, H, B, T = 3, 5, 5, 4


def kernel(test):
    """Runs kernels. In the interpreter numpy warns of infinities."""
    for mark in (
        pytest.mark.extra,
        pytest.mark.skipif(not HERE, reason="runs in the interpreter, in a process of its own"),
        pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    ):
        test = mark(test)
    return test


@pytest.mark.extra
@pytest.mark.skipif(HERE, reason="the tests below run in this process")
@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_what_is_claimed_below_holds_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", __file__, "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout, "this test alone is not run again"


def cell_of(form, *, sizes=(X, H), **options):
    make, fixed = FORMS[form]
    torch.manual_seed(7)
    return make(*sizes, **fixed, **options).to(DEVICE)


def point(cell, *, steps=T, batch=B):
    torch.manual_seed(0)
    x, s0 = torch.randn(steps, batch, cell.input_size), torch.randn(batch, cell.state_size)
    return x.to(DEVICE), s0.to(DEVICE)


def everything(run, cell, x, s0):
    """Outputs, last state, and the gradients of a loss on both at x, s0 and each parameter."""
    x, s0 = x.detach().requires_grad_(), s0.detach().requires_grad_()
    outputs, last = run(cell, x, s0)
    torch.manual_seed(1)
    loss = sum((y * torch.randn(y.shape).to(y)).sum() for y in (outputs, last))
    wanted = {"x": x, "s0": s0, **dict(cell.named_parameters())}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return {"outputs": outputs, "last": last, **dict(zip(wanted, gradients, strict=True))}


def assert_same(cell, x, s0, *, through=lambda run: run):
    found, expected = (everything(through(run), cell, x, s0) for run in BOTH)
    for name, truth in expected.items():
        finite = truth.detach().nan_to_num(0, 0, 0).abs().flatten()
        scale = max(finite.tolist(), default=0)
        torch.testing.assert_close(
            found[name], truth, rtol=0, atol=TOLERANCE * scale, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}"
        )


@kernel
@pytest.mark.parametrize(("rows", "bias"), [(1, True), (4, True), (4, False)])
@pytest.mark.parametrize("form", FORMS)
def test_a_sequence_is_the_plain_loop_in_every_number(form, rows, bias, monkeypatch):
    """However many sequences a program takes: the batch is a multiple of none but one."""
    monkeypatch.setattr(operation, "_rows", lambda x: rows)
    cell = cell_of(form, bias=bias)
    assert_same(cell, *point(cell))


@kernel
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("hidden", "steps", "batch"),
    [(H, 1, B), (H, T, 1), (1, T, B), (15, 2, 8), (16, 2, 3), (17, 3, 4), (33, 2, 9), (H, 25, 2)],
)
def test_no_size_is_too_small_or_too_odd(form, hidden, steps, batch):
    cell = cell_of(form, sizes=(X, hidden))
    assert_same(cell, *point(cell, steps=steps, batch=batch))


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_nothing_gives_nothing(form):
    cell = cell_of(form)
    assert_same(cell, *point(cell, batch=0))


@kernel
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-4, 30.0])
def test_small_and_large_numbers_are_as_right(form, size):
    """Relative to the largest of the tensor; outputs of 1e-4 would lose half their digits in 1 - exp(-2z)."""
    cell = cell_of(form)
    x, s0 = point(cell)
    with torch.no_grad():
        for bias in (cell.bias_ih, cell.bias_hh):
            bias.zero_()
    assert_same(cell, x * size, s0 * min(size, 1.0))


@kernel
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["x", "s0"])
def test_what_is_no_finite_number_goes_where_it_goes_in_the_plain_loop(form, value, place):
    cell = cell_of(form)
    x, s0 = point(cell, steps=3)
    (x[1] if place == "x" else s0)[1, 0] = value
    assert_same(cell, x, s0)


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_a_layer_used_twice_sums_its_gradients(form):
    cell = cell_of(form, sizes=(H, H))

    def twice(run):
        def runs(cell, x, s0):
            outputs, last = run(cell, x, s0)
            return run(cell, outputs, last)

        return runs

    assert_same(cell, *point(cell), through=twice)


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_two_halves_are_the_whole(form):
    cell = cell_of(form)

    def halved(run):
        def runs(cell, x, s0):
            first, s = run(cell, x[:2], s0)
            second, s = run(cell, x[2:], s)
            return torch.cat([first, second]), s

        return runs

    x, s0 = point(cell)
    torch.testing.assert_close(
        everything(halved(persistent), cell, x, s0), everything(persistent, cell, x, s0), atol=1e-6, rtol=1e-5
    )


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_tensors_need_not_lie_in_one_piece(form):
    cell = cell_of(form)
    x, s0 = point(cell)
    x, s0 = x.transpose(0, 1).contiguous().transpose(0, 1), s0.T.contiguous().T
    cell.weight_hh.data = cell.weight_hh.data.T.contiguous().T
    cell.weight_ih.data = cell.weight_ih.data.T.contiguous().T
    assert_same(cell, x, s0)


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_a_loss_on_the_outputs_or_on_the_last_state_alone_is_enough(form):
    cell = cell_of(form)
    x, s0 = point(cell)
    for which in (0, 1):
        found, expected = (torch.autograd.grad(run(cell, x, s0)[which].sum(), cell.weight_hh) for run in BOTH)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_frozen_weights_get_no_gradient_and_the_input_still_does(form):
    cell = cell_of(form).requires_grad_(False)
    x, s0 = point(cell)
    x.requires_grad_()
    found, expected = (torch.autograd.grad(run(cell, x, s0)[0].sum(), x) for run in BOTH)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@kernel
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["weights", "outputs"])
def test_what_the_way_back_needs_may_not_change_before(form, what):
    cell = cell_of(form)
    outputs, _ = persistent(cell, *point(cell))
    with torch.no_grad():
        (cell.weight_hh if what == "weights" else outputs).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize(
    ("shape", "state", "message"),
    [
        ((T, B, X + 1), (B, H), r"x must be \(time, batch, 3\)"),
        ((0, B, X), (B, H), "at least one step"),
        ((T, B, X), (B, 2 * H), "first state must be"),
    ],
)
def test_wrong_shapes_are_named(shape, state, message):
    with pytest.raises(ShapeError, match=message):
        persistent(GRU(X, H), torch.zeros(shape), torch.zeros(state))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Additive(X, H), "for Elman with tanh, relu or sigmoid, GRU and LSTM only"),
        (Elman(X, H, activation="identity"), "for Elman with tanh, relu or sigmoid, GRU and LSTM only"),
        (LSTM(X, 129), "at most 128 units, and this LSTM has 129"),
        (GRU(X, H).double(), "in float32, and the weights in float64"),
        (GRU(X, H), "run on a GPU, and the weights are on the device 'cpu'"),
    ],
)
def test_a_cell_that_does_not_fit_is_told_why(cell, reason):
    assert reason in no_program(cell)


@pytest.mark.parametrize(("there", "reason"), [(True, None), (False, r"pip install 'retrograd[triton]'")])
def test_on_a_gpu_triton_alone_is_wanting(there, reason, monkeypatch):
    monkeypatch.setattr(operation, "_has_triton", lambda: there)
    with FakeTensorMode():
        cell = LSTM(X, 128)
        cell.weight_ih = torch.nn.Parameter(torch.empty(4 * 128, X, device="cuda"))
        found = no_program(cell)
    assert found is None if reason is None else reason in found


def test_the_kernels_are_imported_where_they_run():
    """Torch imports triton of its own accord, so that whether it is loaded says nothing."""
    for path in Path(operation.__file__).parent.glob("[!k]*.py"):
        at_the_top = [line for line in path.read_text().splitlines() if line.startswith(("import", "from"))]
        assert at_the_top
        assert not [line for line in at_the_top if "triton" in line or "kernels" in line]
