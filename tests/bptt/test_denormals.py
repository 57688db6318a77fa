"""Denormal numbers are flushed in every thread that computes, and nothing of it is left behind."""

import os
import subprocess
import sys

import pytest
import torch

from retrograd.bptt.denormals import denormals_are_flushed, flush_denormals
from retrograd.bptt.native import library

KERNELS = not isinstance(library(), str)


def surviving() -> int:
    return int((torch.full((1 << 20,), 1e-40) * 1.0 != 0).sum())


def test_denormals_are_flushed_on_every_thread_inside_the_block_and_on_none_after():
    with flush_denormals(True):
        assert denormals_are_flushed()
        assert surviving() == 0
        with flush_denormals(False):
            assert surviving() == 1 << 20
        assert surviving() == 0
    assert not denormals_are_flushed()
    assert surviving() == 1 << 20


def test_from_the_start_every_kernel_of_every_thread_flushes():
    code = (
        "import torch; from retrograd.bptt.denormals import flush_from_the_start; flush_from_the_start();"
        "x = torch.full((512, 512), 1e-40); print(bool((x @ torch.eye(512)).any()), bool((x.repeat(9, 1) * 1.0).any()))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "False"]


def test_the_setting_is_restored_when_the_block_raises():
    with pytest.raises(ValueError, match="inside"), flush_denormals(True):
        raise ValueError("inside")
    assert not denormals_are_flushed()


@pytest.mark.skipif(not KERNELS, reason="each worker's setting is reached by the kernels' library")
def test_the_workers_flush_in_matrix_products_too_inside_the_block_and_not_after():
    """In a process of two threads; without it half of the product's rows would keep their denormals."""
    code = """
import torch
from retrograd.bptt.denormals import flush_denormals
x, one = torch.full((512, 512), 1e-40), torch.eye(512)
def left(): return int((x @ one != 0).sum()), int((x.repeat(9, 1) * 1.0 != 0).sum())
print(*left())
with flush_denormals(True):
    print(*left())
    with flush_denormals(False):
        print(*left())
    print(*left())
print(*left())
"""
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    all_of_them = f"{512 * 512} {9 * 512 * 512}"
    assert shown.splitlines() == [all_of_them, "0 0", all_of_them, "0 0", all_of_them]
