"""A checkpoint comes back bit for bit, or is refused by name."""

import json

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from retrograd.errors import RunError, SaveFailed, UnknownName
from retrograd.training import checkpoint


class Tied(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.softmax = nn.Linear(width, 7)
        self.softmax.weight = self.embedding.weight


def test_weights_come_back_bit_for_bit_tied_ones_too(tmp_path):
    model, other = Tied(), Tied()
    checkpoint.save(tmp_path, model, step=3, best=True, info={"vocabulary": 7})
    found = checkpoint.find(tmp_path)
    checkpoint.restore(found, other)
    assert (found.step, found.info) == (3, {"vocabulary": 7})
    assert other.softmax.weight is other.embedding.weight
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_last_and_the_best_are_kept(tmp_path):
    for step, best in ((1, True), (2, False), (3, True), (4, False), (5, False)):
        checkpoint.save(tmp_path, Tied(), step=step, best=best, info={})
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000003", "step-000005"]
    assert checkpoint.find(tmp_path).step == 3
    assert checkpoint.find(tmp_path, "last").step == 5


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, Tied(), step=1, best=True, info={})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_model", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, Tied(), step=2, best=True, info={})
    assert checkpoint.find(tmp_path).step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step-000001"]


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=True, info={}).path
    assert sorted(p.name for p in path.iterdir()) == ["checkpoint.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:50]),
            "cannot be read",
        ),
        (lambda p: (p / "model.safetensors").unlink(), "cannot be read"),
        (lambda p: (p / "checkpoint.json").write_text("{"), "cannot be read"),
        (lambda p: (p / "checkpoint.json").write_text('{"schema": 99, "step": 1}'), "has schema 99"),
        (lambda p: (p.parent / "latest.json").write_text('{"best": "../../elsewhere"}'), "cannot be read"),
        (lambda p: (p.parent / "latest.json").write_text("["), "cannot be read"),
        (lambda p: (p.parent / "latest.json").unlink(), "holds no checkpoint yet"),
    ],
)
def test_a_spoilt_checkpoint_is_refused_by_name(tmp_path, spoil, sentence):
    path = checkpoint.save(tmp_path, Tied(), step=1, best=True, info={}).path
    spoil(path)
    with pytest.raises(RunError, match=sentence):
        checkpoint.restore(checkpoint.find(tmp_path), Tied())


def test_weights_of_another_shape_are_refused(tmp_path):
    found = checkpoint.save(tmp_path, Tied(), step=1, best=True, info={})
    with pytest.raises(RunError, match=r"do not fit the model of config\.toml"):
        checkpoint.restore(found, Tied(width=5))


def test_the_pointer_never_leads_out_of_the_folder(tmp_path):
    inside = tmp_path / "run" / "checkpoints"
    inside.mkdir(parents=True)
    checkpoint.save(tmp_path, Tied(), step=1, best=True, info={})
    (inside / "latest.json").write_text(json.dumps({"best": "../../step-000001"}))
    with pytest.raises(RunError, match=r"checkpoints/step-000001 cannot be read"):
        checkpoint.find(inside)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_model", full)
    with pytest.raises(SaveFailed, match=r"could not be written to .*No space left"):
        checkpoint.save(tmp_path, Tied(), step=2, best=True, info={})


def test_only_the_best_and_the_last_can_be_asked_for(tmp_path):
    checkpoint.save(tmp_path, Tied(), step=1, best=True, info={})
    with pytest.raises(UnknownName, match="the nearest is 'last'"):
        checkpoint.find(tmp_path, "lasst")
