"""Several taps: what they read, how far each takes a gradient in a step, and nets whose answer is known."""

import pytest
import torch

from retrograd.bptt import bptt
from retrograd.cells import Elman, MultiTap, make_cell
from retrograd.errors import ConfigError
from tests.contracts import B, H, T, X, cell_of, point

EXACT = {"atol": 1e-12, "rtol": 1e-12}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def linear(taps, *weights, size=1):
    """h(t) = sum over taps of W h(t-d)."""
    cell = MultiTap(1, size, taps=taps, activation="identity", bias=False).double()
    with torch.no_grad():
        for W, w in zip(cell.weight_hh.split(size, -1), weights, strict=True):
            W.copy_(torch.as_tensor(w, dtype=torch.float64))
    return cell


def total(cell, steps, entering):
    """dL/ds[t] for t = 0 .. steps, of a loss whose gradient is on the last h alone."""
    d = torch.zeros(steps, 1, cell.hidden_size, dtype=torch.float64)
    d[-1] = entering
    x = torch.randn(steps, 1, cell.input_size, dtype=torch.float64)
    return bptt(cell, x, torch.randn(1, cell.state_size, dtype=torch.float64), d).state_gradients[:, 0]


def test_the_tap_of_one_step_alone_is_an_elman_cell():
    one, plain = MultiTap(X, H, taps=(1,)).double(), Elman(X, H).double()
    one.load_state_dict(plain.state_dict())
    x, s = point(plain)
    delta = torch.randn_like(s)
    ours, theirs = (cell.linearize(cell.project(x[0]), s) for cell in (one, plain))
    assert torch.equal(ours.state, theirs.state)
    assert all(torch.equal(a, b) for a, b in zip(ours.pullback(delta), theirs.pullback(delta), strict=True))
    assert list(ours.paths(delta)) == ["tap 1"]


def test_the_state_is_what_was_put_out_the_latest_first():
    cell = MultiTap(X, H, taps=(2, 5))
    s, put_out = torch.randn(B, 5 * H), []
    for x in torch.randn(T, B, X):
        s = cell.step(x, s)
        put_out.append(cell.output(s))
    assert cell.state_size == s.shape[1] == 5 * H
    assert torch.equal(s, torch.cat(put_out[: -5 - 1 : -1], dim=1))


def test_a_step_reads_what_was_put_out_at_its_taps_alone():
    cell = MultiTap(X, H, taps=(2, 5))
    x, s = torch.randn(B, X), torch.randn(B, 5 * H)
    before = cell.output(cell.step(x, s))
    for place in range(1, 6):
        other = s.clone()
        other[:, (place - 1) * H : place * H] += 1
        assert torch.equal(cell.output(cell.step(x, other)), before) == (place not in (2, 5))


@pytest.mark.parametrize("weights", [(0.5, 0.3), (-0.9, 0.4), (1.1, -0.5)])
def test_a_single_linear_unit_is_its_polynomial_and_its_companion_matrix(weights):
    """p(l) = w_1 p(l-1) + w_4 p(l-4): how much of h(t-l) is in h(t); and J is the companion matrix of that."""
    w_1, w_4 = weights
    cell = linear((1, 4), w_1, w_4)
    companion = torch.tensor([[w_1, 0, 0, w_4], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.float64)
    J = cell.jacobian(torch.randn(1, 1).double(), torch.randn(1, 4).double())
    torch.testing.assert_close(J[0], companion, **EXACT)
    p = [1.0]
    for l in range(1, 41):
        p.append(w_1 * p[l - 1] + (w_4 * p[l - 4] if l >= 4 else 0))
    G = total(cell, 40, 1.0)
    torch.testing.assert_close(G.flip(0)[:, 0], torch.tensor(p, dtype=torch.float64), **EXACT)
    for l in range(41):
        torch.testing.assert_close(G[40 - l], torch.linalg.matrix_power(companion, l)[0], **EXACT)


@pytest.mark.parametrize("d", [1, 3, 8])
def test_a_single_tap_takes_a_gradient_back_in_strides_of_its_length(d):
    """One application of W every d steps: a power of it at each multiple of d, and exactly nothing in between."""
    W, g = torch.randn(H, H, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    G = total(linear((d,), W, size=H), 33, g)
    for l in range(34):
        at_h = G[33 - l, :H]
        if l % d:
            assert not at_h.any()
        else:
            torch.testing.assert_close(at_h, g @ torch.linalg.matrix_power(W, l // d), **EXACT)
        waiting = g @ torch.linalg.matrix_power(W, -(-l // d))  # the register keeps its length on the way
        assert G[33 - l].norm().item() == pytest.approx(waiting.norm().item(), rel=1e-12)


def test_a_path_is_autograds_gradient_at_a_copy_of_the_state_that_this_path_alone_reads():
    cell = cell_of("multi-tap")
    x, s = point(cell)
    delta = torch.randn_like(s)
    copies = {name: s.clone().requires_grad_() for name in ("tap 1", "tap 4", "shift")}
    z = cell.project(x[0]) + cell.bias_hh
    z = z + copies["tap 1"][:, :H] @ cell.weight_hh[:, :H].T + copies["tap 4"][:, 3 * H :] @ cell.weight_hh[:, H:].T
    new = torch.cat([z.tanh(), copies["shift"][:, : 3 * H]], 1)
    torch.testing.assert_close(new, cell.step(x[0], s), **EXACT)
    truth = dict(zip(copies, torch.autograd.grad(new, list(copies.values()), delta), strict=True))
    paths = cell.linearize(cell.project(x[0]), s).paths(delta)
    assert list(paths) == list(truth)
    for name, piece in paths.items():
        torch.testing.assert_close(piece, truth[name], **EXACT)


def test_of_a_single_tap_there_is_one_path_its_register_and_all():
    cell = MultiTap(X, H, taps=(3,)).double()
    x, s = point(cell)
    local, delta = cell.linearize(cell.project(x[0]), s), torch.randn_like(s)
    [(name, piece)] = local.paths(delta).items()
    assert name == "tap 3"
    assert torch.equal(piece, local.pullback(delta)[0])


def test_each_taps_block_is_square_and_has_its_name():
    cell = MultiTap(X, H, taps=(4, 1, 9))
    assert cell.taps == (1, 4, 9)
    assert {name: W.shape for name, W in cell.recurrent_blocks.items()} == dict.fromkeys(
        ("tap 1", "tap 4", "tap 9"), (H, H)
    )
    assert torch.equal(torch.cat(list(cell.recurrent_blocks.values()), 1), cell.weight_hh)
    assert repr(cell) == "MultiTap(3, 5, taps=(1, 4, 9), activation='tanh')"


def test_a_linearised_step_keeps_its_taps_in_another_precision_and_at_a_time():
    cell = cell_of("multi-tap")
    x, s = point(cell)
    whole = cell.linearize(cell.project(x), s.expand(T, -1, -1))
    assert whole.to(torch.float32)[2].taps == (1, 4)
    assert whole.to(torch.float32).weight_hh.dtype == torch.float32


@pytest.mark.parametrize("taps", [(), (0,), (1, 1), (-4,), (1.5,), (True,), (1025,), ("1",)])
def test_what_are_no_taps_is_said_with_what_came(taps):
    with pytest.raises(ConfigError, match=r"different whole numbers of steps from 1 to 1,024, such as \(1, 4\); got"):
        make_cell("multi-tap", X, H, taps=taps)
