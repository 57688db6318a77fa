"""A checkpoint comes back bit for bit, or is refused by name."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from retrograd import runs
from retrograd.errors import RunError, SaveFailed, UnknownName
from retrograd.training import checkpoint
from retrograd.training.pointer import written


class Tied(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.softmax = nn.Linear(width, 7)
        self.softmax.weight = self.embedding.weight


def test_weights_come_back_bit_for_bit_tied_ones_too(tmp_path):
    model, other = Tied(), Tied()
    checkpoint.save(tmp_path, model, step=3, best=1.0, info={"vocabulary": 7})
    found = checkpoint.find(tmp_path)
    checkpoint.restore(found, other)
    assert (found.step, found.info) == (3, {"vocabulary": 7})
    assert other.softmax.weight is other.embedding.weight
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for step, best in ((1, 2.0), (2, 1.0), (3, None), (4, None), (5, None)):
        checkpoint.save(tmp_path, Tied(), step=step, best=best, info={})
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000002", "step-000004", "step-000005"]
    assert checkpoint.find(tmp_path).step == 2
    assert checkpoint.find(tmp_path, "last").step == 5
    assert checkpoint.pointed(tmp_path).newest_first == ["step-000005", "step-000004", "step-000002"]


def test_a_step_that_comes_twice_does_not_overwrite_the_one_that_is_kept(tmp_path):
    first, second = Tied(), Tied()
    checkpoint.save(tmp_path, first, step=3, best=1.0, info={})
    again = checkpoint.save(tmp_path, second, step=3, best=None, info={})
    assert again.path.name == "step-000003.2"
    restored = Tied()
    checkpoint.restore(checkpoint.find(tmp_path), restored)
    assert torch.equal(restored.embedding.weight, first.embedding.weight)


def test_a_checkpoint_that_was_whole_before_the_pointer_named_it_is_written_anew(tmp_path):
    checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})
    (tmp_path / "step-000002").mkdir()
    assert checkpoint.save(tmp_path, Tied(), step=2, best=None, info={}).path.name == "step-000002"
    assert checkpoint.find(tmp_path, "last").step == 2


@pytest.mark.parametrize("failing", ["write_bytes", "rename"])
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, monkeypatch, failing):
    checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.Path, failing, full)
    with pytest.raises(SaveFailed, match=r"could not be written: No space left .* are intact"):
        checkpoint.save(tmp_path, Tied(), step=2, best=1.0, info={})
    monkeypatch.undo()
    assert checkpoint.find(tmp_path).step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step-000001"]


def test_a_checkpoint_is_synced_before_it_gets_its_name_and_pointed_to_last(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(runs, "sync", lambda path: done.append(path.name))
    rename, write = Path.rename, runs.write
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append(f"-> {to.name}"), rename(self, to))[1])
    monkeypatch.setattr(runs, "write", lambda path, text: (write(path, text), done.append(path.name)))
    checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})
    named = done.index("-> step-000001")
    assert {"model.safetensors", "training.safetensors", "checkpoint.json", "SHA256SUMS"} < set(done[:named])
    assert done[named - 1].startswith(".step-000001.")
    assert done[-1] == "latest.json"


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={}).path
    names = ["SHA256SUMS", "checkpoint.json", "model.safetensors", "training.safetensors"]
    assert sorted(p.name for p in path.iterdir()) == names


def test_the_checksums_are_those_that_sha256sum_reads(tmp_path):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={}).path
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=path, check=True, capture_output=True)


def test_one_changed_bit_is_found(tmp_path):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={}).path
    for name in ("model.safetensors", "training.safetensors", "checkpoint.json"):
        raw = (path / name).read_bytes()
        (path / name).write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
        with pytest.raises(RunError, match=f"{name} was cut or altered"):
            checkpoint.find(tmp_path)
        (path / name).write_bytes(raw)
    assert checkpoint.find(tmp_path).step == 1


def resealed(path, name, raw):
    """Another content, with the checksum that belongs to it."""
    (path / name).write_bytes(raw)
    lines = (path / "SHA256SUMS").read_text().splitlines()
    sums = [f"{hashlib.sha256(raw).hexdigest()}  {name}" if line.endswith(name) else line for line in lines]
    (path / "SHA256SUMS").write_text("\n".join(sums) + "\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: (p / "model.safetensors").write_bytes(b"cut"), r"model\.safetensors was cut or altered"),
        (lambda p: (p / "model.safetensors").unlink(), "is missing"),
        (lambda p: (p / "training.safetensors").write_bytes(b""), r"training\.safetensors was cut or altered"),
        (lambda p: (p / "SHA256SUMS").unlink(), "cannot be verified"),
        (lambda p: (p / "SHA256SUMS").write_bytes(b"\xff"), "cannot be verified"),
        (lambda p: (p / "SHA256SUMS").write_text(""), "was cut or altered"),
        (lambda p: resealed(p, "checkpoint.json", b"{"), "cannot be read"),
        (lambda p: resealed(p, "checkpoint.json", b"[1]"), "cannot be read"),
        (lambda p: resealed(p, "checkpoint.json", b'{"schema": 99, "step": 1}'), "has schema 99"),
        (lambda p: resealed(p, "model.safetensors", b"foreign"), "cannot be read"),
        (lambda p: p.rename(p.parent / "elsewhere"), "step-000001 is not there, though latest.json names it"),
        (lambda p: p.symlink_to(p.rename(p.parent / "elsewhere")), "is a link"),
        (lambda p: (p.parent / "latest.json").write_text('{"best": "../../elsewhere"}'), "names '../../elsewhere'"),
        (lambda p: (p.parent / "latest.json").write_text("["), "cannot be read"),
        (lambda p: (p.parent / "latest.json").unlink(), "is gone, or names no checkpoint"),
    ],
)
def test_a_spoilt_checkpoint_is_refused_by_name(tmp_path, spoil, sentence):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={}).path
    spoil(path)
    with pytest.raises(RunError, match=sentence):
        checkpoint.restore(checkpoint.find(tmp_path), Tied())


def test_weights_of_another_shape_are_refused(tmp_path):
    found = checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})
    with pytest.raises(RunError, match=r"do not fit the model of config\.toml"):
        checkpoint.restore(found, Tied(width=5))


def test_the_pointer_never_leads_out_of_the_folder(tmp_path):
    inside = tmp_path / "run" / "checkpoints"
    inside.mkdir(parents=True)
    checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})
    (inside / "latest.json").write_text(json.dumps({"best": "../../step-000001"}))
    with pytest.raises(RunError, match=r"names '../../step-000001', which is no checkpoint of this run"):
        checkpoint.find(inside)


def test_only_the_best_and_the_last_can_be_asked_for(tmp_path):
    checkpoint.save(tmp_path, Tied(), step=1, best=1.0, info={})
    with pytest.raises(UnknownName, match="the nearest is 'last'"):
        checkpoint.find(tmp_path, "lasst")


def test_a_checkpoint_that_is_dropped_while_it_is_read_is_read_as_the_next_best(tmp_path):
    """As when a training replaces its best between the look at the pointer and the look at the weights."""
    checkpoint.save(tmp_path, Tied(), step=1, best=2.0, info={}, milestone=False)
    seen = []

    def use(found):
        seen.append(found.step)
        if len(seen) == 1:
            for step, best in ((2, 1.0), (3, None), (4, None)):
                checkpoint.save(tmp_path, Tied(), step=step, best=best, info={})
        checkpoint.restore(found, model := Tied())
        return model

    assert isinstance(checkpoint.steadily(tmp_path, "best", use), Tied)
    assert seen == [1, 2]


def test_one_that_is_gone_for_good_is_refused_all_the_same(tmp_path):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=2.0, info={}).path
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="step-000001 is not there"):
        checkpoint.steadily(tmp_path, "best", lambda found: found)


def test_what_is_not_ours_is_never_dropped(tmp_path):
    (tmp_path / "step-000001-keep").mkdir()
    for step in range(1, 6):
        checkpoint.save(tmp_path, Tied(), step=step, best=None, info={})
    assert (tmp_path / "step-000001-keep").is_dir()
    assert [path.name for path in written(tmp_path)] == ["step-000004", "step-000005"]
