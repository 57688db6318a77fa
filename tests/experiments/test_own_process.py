"""A process of its own for training keeps the memory that its steps free."""

import ctypes
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from retrograd.experiments.own_process import begin_own_process
if sys.argv[1] == "begun":
    begin_own_process()

def step():
    a, b = torch.ones(2_000_000), torch.ones(3_000_000)
    return a.sum() + b.sum()

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


def pages(how):
    """That the system clears for a step."""
    return float(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library is not glibc")
def test_memory_that_one_step_frees_is_there_for_the_next():
    assert pages("begun") < 5
    assert pages("not begun") > 100
