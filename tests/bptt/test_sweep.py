"""Gradients taken back together by the kernels against each one alone, step by step, through dense Jacobians."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrograd.bptt.native import Maps, library, swept
from retrograd.numerics import unit

pytestmark = pytest.mark.usefixtures("instructions")
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}


def drawn(shape, entries, *, scale=1.0):
    """Maps whose steps neither grow nor shrink much, times `scale`, and what enters at each of `entries`."""
    T, B, M, G, H = shape
    torch.manual_seed(T + B + H)
    to_a, direct = torch.randn(T, B, M, G, H).double(), torch.randn(T, B, M, M, H).double()
    weight = torch.randn(G * H, H).double() / math.sqrt(G * H * M)
    return Maps(scale * to_a, scale * direct / math.sqrt(M), weight), torch.randn(len(entries), B, M * H).double()


def one_by_one(maps, at, entering):
    """ln |.| (E, T+1, B), and the sum of all (T+1, B, S): each entry by itself, scaled to length 1 after every step."""
    T, B, M, G, H = maps.to_a.shape
    log_norms = torch.full((len(at), T + 1, B), -torch.inf, dtype=torch.float64)
    total = torch.zeros(T + 1, B, M * H, dtype=torch.float64)
    W = maps.weight.view(G, H, H)
    for e, begin in enumerate(at):
        for b in range(B):
            d, log = entering[e, b].clone(), 0.0
            for k in range(begin, -1, -1):
                if k < begin:
                    J = torch.zeros(M, H, M, H, dtype=torch.float64)
                    for m in range(M):
                        J[m, :, 0] = torch.einsum("gi,gij->ij", maps.to_a[k, b, m], W)
                        for c in range(M):
                            J[m, :, c] += maps.direct[k, b, m, c].diag()
                    d = J.view(M * H, M * H).T @ d
                size = d.norm()
                log_norms[e, k, b] = log + size.log()
                total[k, b] += d * torch.tensor(log, dtype=torch.float64).exp()
                d, log = d / size, log + float(size.log())
    return log_norms, total


def by_kernels(maps, at, entering, dtype=torch.float64):
    units, logs = unit(entering)
    maps = Maps(*(x.to(dtype) for x in maps))
    return swept(maps, torch.tensor(at), units.to(dtype), logs.nan_to_num(0, 0, 0), entering.to(dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", [(1, 1), (1, 3), (2, 4)], ids=["elman", "gru", "lstm"])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 37)),
    share=st.floats(0.05, 1.0),
    threads=st.sampled_from([1, 2, 3]),
)
def test_together_they_are_each_alone(cell, dtype, shape, share, threads):
    (T, B, H), (parts, gates) = shape, cell
    at = sorted(
        set(torch.randperm(T, generator=torch.Generator().manual_seed(T))[: math.ceil(share * T)].add(1).tolist())
    )
    maps, entering = drawn((T, B, parts, gates, H), at)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        log_norms, total = by_kernels(maps, at, entering, dtype)
    finally:
        torch.set_num_threads(before)
    logs, sums = one_by_one(maps, at, entering)
    torch.testing.assert_close(log_norms, logs, atol=TOLERANCE[dtype] * T, rtol=0)
    scale = float(sums.abs().max())
    torch.testing.assert_close(total.double() / scale, sums / scale, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scale", [1e-9, 1e-30, 1e9])
def test_what_no_number_could_hold_is_told_by_its_logarithm(dtype, scale):
    T, at = 40, [1, 17, 40]
    maps, entering = drawn((T, 2, 2, 4, 5), at, scale=scale)
    logs, _ = one_by_one(maps, at, entering)
    assert float(logs[2, 0].abs().min()) > 700, "no float64 holds it"
    log_norms, _ = by_kernels(maps, at, entering, dtype)
    torch.testing.assert_close(log_norms, logs, atol=TOLERANCE[dtype] * T, rtol=0)


def test_zero_stays_zero_and_nan_ends_in_its_own_row():
    at = [2, 5, 6]
    maps, entering = drawn((6, 2, 1, 3, 7), at)
    entering[0, 0], entering[1, 1, 3] = 0.0, torch.nan
    log_norms, _ = by_kernels(maps, at, entering)
    truth, _ = one_by_one(maps, at, torch.where(entering.isnan(), 1.0, entering))
    assert bool((log_norms[0, :, 0] == -torch.inf).all())
    assert bool(log_norms[1, :6, 1].isnan().all())
    assert bool((log_norms[1, 6] == -torch.inf).all()), "it is not there yet"
    for e, b in ((0, 1), (1, 0), (2, 0), (2, 1)):
        torch.testing.assert_close(log_norms[e, :, b], truth[e, :, b], atol=1e-11, rtol=0)


def test_no_memory_is_said(monkeypatch):
    class Full:
        def retrograd_sweep(self, *_):
            return 1

    monkeypatch.setattr(library(), "_library", Full())
    with pytest.raises(MemoryError, match="No memory for 1 gradients of 3 units; take fewer entries"):
        by_kernels(drawn((2, 1, 1, 1, 3), [2])[0], [2], torch.ones(1, 1, 3).double())
