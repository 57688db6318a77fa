"""One run brought to its end, from wherever it stands, to the same bits as a training that was never stopped."""

import threading
from pathlib import Path

import pytest

from retrograd import config
from retrograd.experiments.comparing.worker import Leash, brought_to_its_end
from retrograd.experiments.training import train
from retrograd.runs import Run
from retrograd.training import checkpoint
from tests.cli.command import everything
from tests.experiments.test_training import changed

HEARD = []


def held() -> Leash:
    """One that nobody pulls."""
    return Leash(threading.Event().wait)


def ended(folder: Path, settings: config.Config, leash: Leash | None = None, tell=HEARD.append):
    return brought_to_its_end(folder, settings, leash or held(), tell)


def weights(folder: Path) -> bytes:
    return (checkpoint.find(Run(folder).checkpoints, "last").path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def quick(small):
    return changed(small, training={"steps": 12}, measure={"every": 0})


@pytest.fixture(scope="module")
def whole(quick, tmp_path_factory):
    return train(quick, out=tmp_path_factory.mktemp("whole") / "run").run.path


def test_it_is_the_training_that_anybody_gets(quick, whole, tmp_path):
    HEARD.clear()
    end = ended(tmp_path / "lstm-1", quick)
    assert (end.status, end.reason) == ("finished", "")
    assert end.context["steps"] >= 1
    assert weights(tmp_path / "lstm-1") == weights(whole)
    assert all(0 < told["progress"] <= 1 for told in HEARD)
    assert HEARD


def test_it_is_saved_where_it_is_let_go_and_goes_on_from_there(quick, whole, tmp_path):
    leash = held()
    end = ended(tmp_path / "lstm-1", quick, leash, lambda told: leash.let_go())
    assert (end.status, end.context) == ("preempted", None)
    run = Run(tmp_path / "lstm-1")
    assert run.status() == "preempted"
    assert 0 < checkpoint.find(run.checkpoints, "last").step < 12
    assert ended(run.path, quick).status == "finished"
    assert weights(run.path) == weights(whole)


def test_one_that_has_finished_is_left_as_it_is(quick, whole):
    before = everything(whole)
    end = ended(whole, quick)
    assert (end.status, end.context["why"]) == ("finished", "")
    assert everything(whole) == before


def test_before_there_is_anything_to_save_it_is_ended_at_once(quick, tmp_path, monkeypatch):
    leash = held()

    def pulled(*_, **__):
        leash.let_go()  # which interrupts this thread
        threading.Event().wait(20)
        raise AssertionError("it was not interrupted")

    monkeypatch.setattr("retrograd.experiments.comparing.worker.training", pulled)
    assert ended(tmp_path / "lstm-1", quick, leash).status == "preempted"
    assert not (tmp_path / "lstm-1").exists()


def test_one_that_did_not_stay_finite_fails_and_is_not_tried_again(quick, tmp_path):
    wild = changed(quick, training={"lr": 1e30, "clip_norm": 0.0, "returns": 0, "warmup": 0.0})
    end = ended(tmp_path / "lstm-1", wild)
    assert end.status == "failed"
    assert "stopped being finite" in end.reason or "is not finite" in end.reason
    before = everything(tmp_path / "lstm-1")
    again = ended(tmp_path / "lstm-1", wild)
    assert (again.status, again.reason) == ("failed", end.reason)
    assert everything(tmp_path / "lstm-1") == before


def test_what_it_cannot_do_is_a_sentence(quick, tmp_path):
    end = ended(tmp_path / "lstm-1", changed(quick, data={"train": [str(tmp_path / "none.txt")]}))
    assert end.status == "failed"
    assert "No text file is at" in end.reason


def test_what_a_killed_process_left_half_made_is_cleared_away(quick, tmp_path):
    (tmp_path / ".lstm-1.4711-99.half").mkdir()
    (tmp_path / ".lstm-12.4711-99.half").mkdir()
    ended(tmp_path / "lstm-1", changed(quick, data={"train": ["none.txt"]}))
    assert [path.name for path in tmp_path.glob("*.half")] == [".lstm-12.4711-99.half"], "the other is another run's"
