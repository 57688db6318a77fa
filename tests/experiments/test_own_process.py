"""A process of its own for training keeps the memory that its steps free."""

import ctypes
import os
import subprocess
import sys

import pytest

STEPS = """
import resource, statistics, sys, torch
from retrograd.experiments.own_process import begin_own_process
if sys.argv[1] == "begun":
    begin_own_process()

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(6_000_000) for _ in range(3)]  # 24 MB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(statistics.median(step() for _ in range(21)))
"""


def pages(how):
    """That the system clears for a step, in the middle of several, where glibc hands back all that is large at once."""
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    run = subprocess.run([sys.executable, "-c", STEPS, how], env=env, capture_output=True, text=True, check=True)
    return float(run.stdout)


GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


@pytest.mark.skipif(not GLIBC, reason="this C library is not glibc")
def test_memory_that_one_step_frees_is_there_for_the_next():
    assert pages("begun") < 5
    assert pages("not begun") > 1000
