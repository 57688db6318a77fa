"""Removing takes the named runs and nothing else, and all of them or none."""

import pytest

from retrograd import config
from retrograd.errors import RunError
from retrograd.experiments.archive.removal import removable, remove
from retrograd.runs import Run


def made(path):
    (path / "checkpoints" / "step-000010").mkdir(parents=True)
    (path / "checkpoints" / "step-000010" / "model.safetensors").write_bytes(b"x" * 100)
    (path / "config.toml").write_text(config.dump(config.make({})))
    Run(path).event("started")
    return path


def test_the_named_runs_are_gone_and_their_neighbours_are_not(tmp_path):
    a, b, c = (made(tmp_path / name) for name in "abc")
    remove(removable([a, c, str(a) + "/", tmp_path / "b" / ".." / "a"]))
    assert list(tmp_path.iterdir()) == [b]


def test_a_broken_run_can_be_removed(tmp_path):
    run = made(tmp_path / "run")
    (run / "config.toml").write_text("[nonsense")
    (run / "events.jsonl").write_text("nonsense\nnonsense\n")
    remove(removable([run]))
    assert not run.exists()


def test_a_run_that_is_being_written_is_refused_and_nothing_is_removed(tmp_path):
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    with Run(b).writing(), pytest.raises(RunError, match="b is being written"):
        removable([a, b])
    found = removable([a, b])  # ... and one that is gone on with between the question and the answer
    with Run(b).writing(), pytest.raises(RunError, match="b is being written"):
        remove(found)
    assert (a / "config.toml").exists()
    assert (b / "config.toml").exists()


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "config.toml").write_text("[site]\n")
    made(tmp_path / "demo" / "text")
    (tmp_path / "file").write_text("")
    for name in ("site", "file"):
        with pytest.raises(RunError, match=f"{name} is not a run, so it is not removed"):
            removable([tmp_path / name])
    with pytest.raises(RunError, match="It holds runs: text"):
        removable([tmp_path / "demo"])
    with pytest.raises(RunError, match="No run is at"):
        removable([tmp_path / "none"])


def test_a_link_to_a_run_is_refused(tmp_path):
    run = made(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for name in ("link", "link/", "dangling"):
        with pytest.raises(RunError, match="is a link to"):
            removable([f"{tmp_path}/{name}"])


def test_links_inside_a_run_are_removed_and_what_they_lead_to_is_not(tmp_path):
    run, other = made(tmp_path / "run"), made(tmp_path / "other")
    (tmp_path / "text.txt").write_text("kept")
    (run / "text").symlink_to(tmp_path / "text.txt")
    (run / "before").symlink_to(other)
    (run / "checkpoints" / "step-000020").symlink_to(other / "checkpoints" / "step-000010")
    remove(removable([run]))
    assert not run.exists()
    assert (tmp_path / "text.txt").read_text() == "kept"
    assert (other / "checkpoints" / "step-000010" / "model.safetensors").exists()


def test_a_run_that_holds_another_is_refused(tmp_path):
    run = made(tmp_path / "run")
    made(run / "again" / "inner")
    with pytest.raises(RunError, match="holds another run, again/inner"):
        removable([run])
