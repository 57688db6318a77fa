"""What is measured decides, once for each shape and machine, and nothing else is touched by measuring."""

import json
import math
import time

import pytest
import torch

from retrograd.bptt import timings
from retrograd.bptt.embedded import Embedded, numbers
from retrograd.bptt.timings import Pass
from retrograd.cells import GRU

LARGE = Pass(64, 256)  # steps and batch that are worth measuring for a layer of 16


class Candidate:
    """Next to no work, so many seconds later, or never: what sleeps is slower whatever else the machine does."""

    def __init__(self, seconds=0.0, *, fails=False):
        self.seconds, self.fails, self.calls, self.read = seconds, fails, 0, None

    def __call__(self, cell, x, s0):
        self.calls += 1
        if self.fails:
            raise RuntimeError("out of resource: shared memory")
        time.sleep(self.seconds)
        self.read = type(x)
        all_of_it = numbers(x).sum() + s0.sum() + sum(p.sum() for p in cell.parameters())
        return all_of_it.expand(*x.shape[:2], cell.hidden_size), s0


@pytest.fixture(autouse=True)
def remembered(tmp_path, monkeypatch):
    """An empty memory, in the process and on disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(timings, "_known", {})
    monkeypatch.setattr(timings, "ROUNDS", 2)
    return tmp_path / "retrograd" / "backends.json"


def test_the_faster_one_is_taken_in_whatever_order_they_come():
    cell, quick, slow = GRU(8, 16), Candidate(), Candidate(0.1)
    assert timings.fastest(cell, {"slow": slow, "quick": quick}, LARGE) == "quick"
    timings._known.clear()
    assert timings.fastest(GRU(8, 17), {"quick": quick, "slow": slow}, LARGE) == "quick"


@pytest.mark.parametrize(("types", "read"), [(65, Embedded), (0, torch.Tensor), (1 << 20, torch.Tensor)])
def test_tokens_are_timed_as_they_are_read(types, read):
    """With their table where they repeat, and by another entry than numbers; also where gradients are switched off."""
    candidates = {"b": Candidate(0.1), "a": Candidate()}
    with torch.no_grad():
        assert timings.fastest(GRU(8, 16), candidates, LARGE._replace(types=types)) == "a"
    assert issubclass(candidates["a"].read, read)
    timings.fastest(GRU(8, 16), candidates, LARGE)
    assert candidates["a"].calls == timings.ROUNDS * (2 if read is Embedded else 1)


@pytest.mark.parametrize(("first", "taken"), [(1.04, "a"), (1.06, "b"), (math.inf, "b")])
def test_of_two_that_are_as_quick_the_first_is_taken(first, taken):
    assert timings.quickest({"b": 1.0, "a": first}, ["a", "b"]) == taken


def test_what_takes_no_time_is_not_measured():
    first, second = Candidate(1.0), Candidate()
    assert timings.fastest(GRU(8, 16), {"first": first, "second": second}, Pass(4, 4)) == "first"
    assert first.calls == second.calls == 0


def test_a_shape_is_measured_once_and_by_the_next_process_not_at_all(remembered, monkeypatch):
    cell, candidates = GRU(8, 16), {"a": Candidate(), "b": Candidate(0.1)}
    assert timings.fastest(cell, candidates, LARGE) == "a"
    calls = candidates["a"].calls
    assert timings.fastest(cell, candidates, Pass(LARGE.steps - 3, LARGE.batch - 5)) == "a", (
        "rounded up to the same powers of two"
    )
    monkeypatch.setattr(timings, "_known", {})
    assert timings.fastest(cell, candidates, LARGE) == "a"
    assert candidates["a"].calls == calls
    [(name, seconds)] = json.loads(remembered.read_text()).items()
    assert "GRU(8, 16)" in name
    assert set(seconds) == {"a", "b"}
    assert timings.fastest(cell, candidates, Pass(4 * LARGE.steps, LARGE.batch)) == "a"
    assert candidates["a"].calls > calls, "another shape is another measurement"


def test_what_is_remembered_is_believed(remembered):
    cell, candidates = GRU(8, 16), {"a": Candidate(), "b": Candidate(0.1)}
    timings.fastest(cell, candidates, LARGE)
    [name] = json.loads(remembered.read_text())
    remembered.write_text(json.dumps({name: {"a": 2.0, "b": 1.0}}))
    timings._known.clear()
    assert timings.fastest(cell, candidates, LARGE) == "b"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}', '{"x": {"a": "soon"}}'])
def test_a_memory_that_cannot_be_read_is_measured_anew(remembered, content):
    remembered.parent.mkdir()
    remembered.write_text(content)
    assert timings.fastest(GRU(8, 16), {"a": Candidate(), "b": Candidate(0.1)}, LARGE) == "a"
    assert len(json.loads(remembered.read_text())) == 1


def test_where_nothing_can_be_written_it_is_measured_once_in_the_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    candidates = {"a": Candidate(), "b": Candidate(0.1)}
    for _ in range(2):
        assert timings.fastest(GRU(8, 16), candidates, LARGE) == "a"
    assert candidates["a"].calls == timings.ROUNDS


def test_a_kernel_that_does_not_fit_after_all_is_never_taken():
    candidates = {"broken": Candidate(fails=True), "slow": Candidate(0.1)}
    assert timings.fastest(GRU(8, 16), candidates, LARGE) == "slow"


def test_measuring_draws_nothing_and_leaves_the_layer_alone():
    cell = GRU(8, 16)
    before, state = [p.clone() for p in cell.parameters()], torch.get_rng_state()
    with torch.no_grad():
        timings.fastest(cell, {"a": Candidate(), "b": Candidate()}, LARGE)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(cell.parameters(), before, strict=True))
