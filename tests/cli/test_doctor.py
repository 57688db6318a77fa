"""doctor tells what trains here, in a table and as JSON, with kernels and without."""

import json

import pytest

from retrograd.bptt.native import library
from retrograd.bptt.timings import EQUAL
from tests.cli.small import here


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One small layer is enough to see the table."""
    monkeypatch.setattr("retrograd.cli.doctor.HIDDEN", (8,))
    monkeypatch.setattr("retrograd.cli.doctor.SHAPE", (4, 2))


def test_it_names_the_kernels_and_how_fast_each_backend_is():
    done = here(["doctor"])
    assert done.exit_code == 0
    kernels = library()
    named = "torch's, for" if isinstance(kernels, str) else f"native, {kernels.path}"
    assert named in done.output
    for layer in ("Elman(8, 8", "GRU(8, 8)", "LSTM(8, 8)"):
        [line] = [line for line in done.output.splitlines() if line.startswith(layer)]
        assert " ms" in line
        assert line.split()[-1] in ("native", "fused")


def test_as_json_it_has_every_figure():
    found = json.loads(here(["doctor", "--json"]).output)
    assert {"torch", "processor", "kernels", "timings", "extras", "speed"} <= set(found)
    for one in found["speed"]:
        times = one["milliseconds"]
        assert times[one["trains on"]] <= EQUAL * min(times.values())
        assert all(t > 0 for t in times.values())


def test_without_kernels_it_says_why_and_what_to_do(monkeypatch):
    monkeypatch.setattr("retrograd.bptt.native.library", lambda: "RETROGRAD_KERNELS=off")
    output = here(["doctor"]).output
    assert "torch's, for RETROGRAD_KERNELS=off. To build them: install g++ or clang" in output
