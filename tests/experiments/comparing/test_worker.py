"""One run brought to its end, from wherever it stands, to the same bits as a training that was never stopped."""

import _thread
import shutil
import threading
from pathlib import Path

import pytest

from retrograd import config
from retrograd.experiments.comparing import worker
from retrograd.experiments.comparing.worker import Leash, brought_to_its_end, put_back, set_aside
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


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    monkeypatch.setattr("retrograd.reports.html.page", lambda report, run: "")  # a second for each run


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


class Watched:
    """A lock that says when this thread asks for it, and is then asked for by it alone."""

    def __init__(self):
        self.lock, self.asked, self.main = threading.RLock(), threading.Event(), threading.get_ident()

    def __enter__(self):
        if threading.get_ident() == self.main:
            self.asked.set()
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)


def test_what_can_be_saved_is_not_interrupted_at_the_last_moment(monkeypatch):
    """It is pulled while there is nothing to save; by the time that the interruption is sent there is."""
    leash, real, sending, told = held(), _thread.interrupt_main, threading.Event(), []
    leash._lock = Watched()

    def slowly():
        sending.set()
        leash._lock.asked.wait(20)
        told.append(leash.saves)
        real()

    monkeypatch.setattr(worker._thread, "interrupt_main", slowly)
    puller = threading.Thread(target=leash.let_go)
    try:
        puller.start()
        assert sending.wait(20)
        leash.may_save()
        puller.join()
        threading.Event().wait(0.05)
    except KeyboardInterrupt:
        pytest.fail("what could be saved was interrupted")
    assert told == [False], "between the look and the interruption it does not change"
    assert leash.saves
    assert leash.pulled.is_set()


def test_once_there_is_something_to_save_nothing_is_interrupted(monkeypatch):
    sent = []
    monkeypatch.setattr(worker._thread, "interrupt_main", lambda: sent.append(1))
    leash = held()
    leash.may_save()
    leash.let_go()
    assert not sent
    other = held()
    other.let_go()
    other.let_go()
    assert sent == [1], "once is enough"


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


def test_a_run_that_another_was_to_replace_is_put_back(quick, whole, tmp_path):
    shutil.copytree(whole, set_aside(tmp_path / "lstm-1"))
    draft = tmp_path / ".lstm-1.4711-99.half"
    draft.mkdir()
    (draft / "config.toml").write_text("# the rest is lacking")
    end = ended(tmp_path / "lstm-1", quick)
    assert end.status == "finished"
    assert Run(tmp_path / "lstm-1").events() == Run(whole).events(), "it was not begun anew"
    assert weights(tmp_path / "lstm-1") == weights(whole)
    assert not list(tmp_path.glob(".*.half"))


def test_one_that_was_replaced_is_not_put_back(tmp_path):
    for folder, text in ((tmp_path / "lstm-1", "new"), (set_aside(tmp_path / "lstm-1"), "old")):
        folder.mkdir()
        (folder / "config.toml").write_text(text)
    put_back(tmp_path / "lstm-1")
    assert (tmp_path / "lstm-1" / "config.toml").read_text() == "new"
