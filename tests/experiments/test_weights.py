"""Weights from elsewhere: tensors by name and nothing else, and none in the wrong place."""

import argparse
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from retrograd import config
from retrograd.errors import DataError
from retrograd.experiments import weights
from retrograd.experiments.build import build, load
from retrograd.experiments.training import resume, train, training
from retrograd.tasks.window import Sizes
from retrograd.training import checkpoint
from tests.experiments.test_resuming import RECALL, killed
from tests.experiments.test_training import changed

V = 11


class Theirs(nn.Module):
    """Somebody's language model."""

    def __init__(self, kind=nn.LSTM, hidden=16, layers=2) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, 8)
        self.rnn = kind(8, hidden, layers)
        self.decoder = nn.Linear(hidden, V)

    def forward(self, x):
        return self.decoder(self.rnn(self.encoder(x))[0])


def ours(**model):
    settings = {"model": {"hidden": 16, "embedding": 8, "layers": 2, "dropout": 0.0, "cell": "lstm", **model}}
    return build(config.make(settings), Sizes(V, V)).eval()


@pytest.mark.parametrize(("kind", "cell"), [(nn.RNN, "elman"), (nn.GRU, "gru"), (nn.LSTM, "lstm")])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_anothers_model_computes_the_same_here(tmp_path, kind, cell, suffix):
    theirs, path = Theirs(kind), tmp_path / f"model{suffix}"
    (torch.save if suffix == ".pt" else save_file)(theirs.state_dict(), path)
    model = ours(cell=cell)
    weights.load_into(model, weights.read(path))
    x = torch.randint(V, (7, 3))
    torch.testing.assert_close(model(x)[0], theirs(x))


def test_the_recurrent_layers_alone_will_do(tmp_path):
    theirs, model = nn.LSTM(8, 16, 2), ours()
    weights.load_into(model, theirs.state_dict())
    assert torch.equal(model.stack.layers[1].weight_hh, theirs.weight_hh_l1)


def test_a_run_starts_from_the_weights_of_another(trained, small, tmp_path):
    point = trained.run.checkpoints / "step-000030" / "model.safetensors"
    planned = next(iter(training(changed(small, model={"weights": str(point)}), out=tmp_path / "run")))
    first, last = load(planned.run.path), load(trained.run.path, which="last")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True))


def saved(value, path, **options):
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda p: p / "none.pt", "No weights file is at"),
        (lambda p: saved({"model": {}, "epoch": 3}, p / "x.pt"), r"more than tensors: model \(dict\), epoch \(int\)"),
        (lambda p: saved({"a": torch.ones(1), "args": argparse.Namespace(x=1)}, p / "x.pt"), r"argparse\.Namespace"),
        (lambda p: saved(nn.Linear(2, 2), p / "x.pt"), r"more than tensors: .*torch\.nn\.modules\.linear\.Linear"),
        (
            lambda p: saved({"a": argparse.Namespace()}, p / "x.pt", _use_new_zipfile_serialization=False),
            "cannot be read as tensors",
        ),
        (lambda p: saved([torch.ones(2)], p / "x.pt"), "holds a list; expected tensors by name"),
        (lambda p: (p / "x.pt").write_text("no weights") and p / "x.pt", "cannot be read as tensors"),
        (lambda p: (p / "x.safetensors").write_text("no weights") and p / "x.safetensors", "cannot be read as tensors"),
        (
            lambda p: (
                (p / "x.pt").write_bytes(saved({"a": torch.ones(9)}, p / "y.pt").read_bytes()[:300]) and p / "x.pt"
            ),
            "cannot be read as tensors",
        ),
    ],
)
def test_what_is_not_tensors_by_name_is_refused_with_what_it_holds(tmp_path, write, sentence):
    with pytest.raises(DataError, match=sentence):
        weights.read(write(tmp_path))


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Trap()}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"more than tensors: .*open"):
        weights.read(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (lambda: nn.LSTM(8, 17, 2).state_dict(), r"weight_ih_l0 is \(68, 8\), the model's .* is \(64, 8\)"),
        (lambda: nn.LSTM(8, 16, 3).state_dict(), "weight_ih_l2 fits none of the places"),
        (lambda: nn.LSTM(8, 16, 2, bidirectional=True).state_dict(), "reverse fits none of the places"),
        (lambda: {"w": torch.ones(2)}, "expected this model's own names, or torch's names of one recurrent module"),
        (lambda: {"a.weight_ih_l0": torch.ones(2), "b.weight_ih_l0": torch.ones(2)}, "one recurrent module"),
        (
            lambda: Theirs().state_dict() | {"extra.weight": torch.ones(V, 8)},
            "extra.weight fits none of the places that are left",
        ),
        (lambda: Theirs().state_dict() | {"decoder.bias": torch.full((V,), math.nan)}, "holds a NaN"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(tensors, sentence):
    model = ours()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(DataError, match=sentence):
        weights.load_into(model, tensors())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_tensor_of_our_own_name_goes_to_its_place_before_one_of_the_same_shape(tmp_path):
    """As where the embedding is as wide as the hidden layer, so that embedding and softmax look alike."""
    model, theirs = ours(embedding=16), nn.LSTM(16, 16, 2).state_dict()
    embedding, out = torch.randn(V, 16), torch.randn(V, 16)
    weights.load_into(model, {"out.weight": out, **theirs, "embedding.weight": embedding, "out.bias": torch.ones(V)})
    assert torch.equal(model.embedding.weight, embedding)
    assert torch.equal(model.softmax.weight, out)


def test_a_tied_model_takes_its_own_state_dict_with_both_names(tmp_path):
    first, second = (ours(embedding=16, tied=True) for _ in range(2))
    torch.save(first.state_dict(), tmp_path / "tied.pt")
    assert {"embedding.weight", "softmax.weight"} < set(first.state_dict())
    weights.load_into(second, weights.read(tmp_path / "tied.pt"))
    assert all(map(torch.equal, first.parameters(), second.parameters()))


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({}, "The weights lack embedding.weight, stack.cells.0.weight_ih"),
        ({"softmax.bias": torch.zeros(V)}, "The weights lack embedding.weight"),
        (dict(nn.LSTM(8, 16).state_dict()), r"The weights lack stack.cells.1.weight_ih, .* set the model's cell and"),
        (dict(nn.LSTM(8, 16, 2, bias=False).state_dict()), "The weights lack stack.cells.0.bias_ih"),
        ({"softmax.bias": torch.zeros(V, dtype=torch.complex64)}, "is complex64 strided on cpu; expected dense real"),
        ({"softmax.bias": torch.zeros(V).to_sparse()}, "is float32 sparse_coo on cpu"),
        ({"softmax.bias": torch.zeros(V, device="meta")}, "is float32 strided on meta"),
        ({"softmax.bias": torch.zeros(V, dtype=torch.int64)}, "is int64 strided on cpu"),
    ],
)
def test_what_is_missing_or_is_no_plain_number_is_named(tmp_path, tensors, sentence):
    torch.save(tensors, tmp_path / "some.pt")
    model = ours()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(DataError, match=sentence):
        weights.load_into(model, weights.read(tmp_path / "some.pt"))
    assert all(map(torch.equal, before, model.parameters()))


def test_a_run_goes_on_without_the_weights_that_it_began_with(small, tmp_path):
    first = train(changed(changed(small, **RECALL), training={"steps": 2}), out=tmp_path / "first").run
    file = tmp_path / "w.safetensors"
    file.write_bytes((checkpoint.find(first.checkpoints).path / checkpoint.WEIGHTS).read_bytes())
    run = killed(changed(changed(small, **RECALL), model={"weights": str(file)}), tmp_path / "run", 3)
    file.unlink()
    assert resume(run.path).status == "finished"
