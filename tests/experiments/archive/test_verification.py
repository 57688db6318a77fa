"""Every file that is spoiled is named, the others are ok, and a healthy run is whole."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_bytes

from retrograd import checksums, config, runs
from retrograd.checksums import SUMS
from retrograd.errors import RunError
from retrograd.experiments.archive.verification import verify
from retrograd.runs import Run
from retrograd.training import checkpoint


@pytest.fixture
def run(trained, tmp_path):
    """A copy that may be spoiled."""
    return Run(shutil.copytree(trained.run.path, tmp_path / "run"))


def newest(run):
    return run.checkpoints / checkpoint.pointed(run.checkpoints).last


def problems(run):
    return {checked.file: checked.problem for checked in verify(run.path).files if checked.problem}


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def altered(path):
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)


def signed(folder):
    """Checksums of what lies there now: whoever alters a file may write them anew."""
    names = [line.split()[1] for line in (folder / SUMS).read_text().splitlines()]
    (folder / SUMS).write_text(checksums.lines((name, (folder / name).read_bytes()) for name in names))


def written(raw):
    """A change that whoever made it has signed: the file then holds `raw`."""

    def change(path):
        path.write_bytes(raw(path) if callable(raw) else raw)
        signed(path.parent)

    return change


def probe(**changed):
    return written(lambda p: to_bytes({name: changed.get(name, same)(t) for name, t in load_file(p).items()}))


def same(tensor):
    return tensor


def test_a_healthy_run_is_whole_and_every_file_of_it_is_named(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    torch.manual_seed(7)
    state = torch.get_rng_state()
    found = verify(run.path)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.whole
    assert [checked.verdict for checked in found.files] == ["ok"] * len(found.files)
    small = ["config.toml", "metrics.jsonl", "events.jsonl", "tokenizer.json", "probe.safetensors", "report.json"]
    kept = sorted(f"checkpoints/{path.name}" for path in run.checkpoints.glob("step-*"))
    assert [checked.file for checked in found.files] == [*small, "checkpoints/latest.json", *kept]
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


SMALL = {
    "not TOML": ("config.toml", lambda p: p.write_text("[model"), "is not valid TOML"),
    "an unknown key": ("config.toml", lambda p: replace(p, "hidden = 16", "hiden = 16"), "model.hidden"),
    "no config": ("config.toml", lambda p: p.unlink(), "no config.toml"),
    "a broken line": ("metrics.jsonl", lambda p: p.write_text("{\n" + p.read_text()), "Line 1 of"),
    "a line without step": ("metrics.jsonl", lambda p: p.write_text('{"loss": 1}\n{"step": 1}\n'), "step"),
    "an event without a time": (
        "events.jsonl",
        lambda p: p.write_text('{"event": "started"}\n' + p.read_text()),
        "has no time",
    ),
    "no events": ("events.jsonl", lambda p: p.unlink(), "is missing"),
    "a line of events": ("events.jsonl", lambda p: p.write_text("3\n" + p.read_text()), "Line 1 of"),
    "no tokenizer": ("tokenizer.json", lambda p: p.unlink(), "is missing"),
    "another's tokenizer": ("tokenizer.json", lambda p: replace(p, '"a", ', '"A", '), "its checksum differs"),
    "half a tokenizer": ("tokenizer.json", written(lambda p: p.read_bytes()[:40]), "is not a tokenizer"),
    "a smaller one": (
        "tokenizer.json",
        written(lambda p: p.read_bytes().replace(b'"a", ', b"")),
        "and the checkpoints",
    ),
    "another level": ("tokenizer.json", written(b'{"level": "byte"}'), "Its level is byte"),
    "no probe": ("probe.safetensors", lambda p: p.unlink(), "is missing"),
    "half a probe": ("probe.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), "its checksum differs"),
    "no safetensors": ("probe.safetensors", written(b"no tensors"), "cannot be read"),
    "a probe of other ids": ("probe.safetensors", probe(inputs=lambda x: x + 99), "it is another run's"),
    "a probe of floats": ("probe.safetensors", probe(inputs=torch.Tensor.float), "does not hold inputs of the model's"),
    "a probe of two shapes": ("probe.safetensors", probe(inputs=lambda x: x[:-1].contiguous()), "of one shape"),
    "half a report": ("report.json", lambda p: p.write_text(p.read_text()[:3000]), "not JSON"),
    "another schema": ("report.json", lambda p: replace(p, '"schema": 4', '"schema": 1'), "has schema 1"),
    "another's report": ("report.json", lambda p: replace(p, '"hidden": 16', '"hidden": 17'), "Its hidden is 17"),
    "no report": ("report.json", lambda p: p.unlink(), "though the run has finished"),
    "no pointer's JSON": ("checkpoints/latest.json", lambda p: p.write_text("{"), "cannot be read"),
    "a pointer to nothing": (
        "checkpoints/latest.json",
        lambda p: p.write_text(json.dumps({**json.loads(p.read_text()), "best": "step-009999"})),
        "step-009999, which is not there",
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_spoiled_file_is_named_with_what_is_wrong(run, name):
    file, spoil, reason = SMALL[name]
    spoil(run.path / file)
    found = problems(run)
    assert reason in found[file]
    others = {other for other in found if not other.startswith("checkpoints/step-")}
    assert others == {file}, "no file is blamed for another"


WEIGHTS = {
    "an altered byte": (lambda p: altered(p / "model.safetensors"), "checksum differs"),
    "cut training state": (lambda p: (p / "training.safetensors").write_bytes(b"x" * 50), "checksum differs"),
    "no checksums": (lambda p: (p / "SHA256SUMS").unlink(), "cannot be verified"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "is missing"),
    "no numbers": (lambda p: (p / "checkpoint.json").unlink(), "is missing"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_spoiled_checkpoint_is_named_and_the_others_are_ok(run, name):
    spoil, reason = WEIGHTS[name]
    spoil(newest(run))
    found = problems(run)
    assert list(found) == [f"checkpoints/{newest(run).name}"]
    assert reason in found[f"checkpoints/{newest(run).name}"]


def _other_optimizer(folder):
    tensors = load_file(folder / "training.safetensors")
    name = next(name for name, tensor in tensors.items() if name.startswith("optimizer.") and tensor.dim() == 2)
    save_file({**tensors, name: torch.zeros(3, 3)}, folder / "training.safetensors")


SIGNED = {
    "weights of another shape": (
        lambda p: save_file(
            {k: v[:, :-1].contiguous() if v.dim() == 2 else v for k, v in load_file(p / "model.safetensors").items()},
            p / "model.safetensors",
        ),
        "do not fit the model of config.toml",
    ),
    "another optimiser's state": (_other_optimizer, "does not fit"),
    "another step": (lambda p: replace(p / "checkpoint.json", '"step": 30', '"step": 31'), "under the name of another"),
    "no sizes": (lambda p: replace(p / "checkpoint.json", '"sizes"', '"size"'), "what its model reads and answers"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_checkpoint_of_another_run_does_not_pass_for_its_checksums(run, name):
    spoil, reason = SIGNED[name]
    spoil(newest(run))
    signed(newest(run))
    found = problems(run)
    assert list(found) == [f"checkpoints/{newest(run).name}"]
    assert reason in found[f"checkpoints/{newest(run).name}"]


def test_a_config_of_another_model_is_told_by_every_checkpoint(run):
    settings = config.merge(config.read(run.path / "config.toml"), {"model": {"layers": 2}})
    (run.path / "config.toml").write_text(config.dump(config.make(settings)))
    found = problems(run)
    for path in run.checkpoints.glob("step-*"):
        assert "do not fit the model" in found[f"checkpoints/{path.name}"]


@pytest.mark.parametrize("log", ["metrics.jsonl", "events.jsonl"])
def test_a_torn_last_line_is_a_note(run, log):
    with open(run.path / log, "a") as file:
        file.write('{"step": 99, "lo')
    found = verify(run.path)
    assert found.whole
    [checked] = [checked for checked in found.files if checked.file == log]
    assert checked.verdict == "ok; the last line was cut (16 bytes) and will be dropped"


def test_what_a_killed_process_left_is_a_note(run):
    (run.checkpoints / ".step-000040.123.half").mkdir()
    (run.checkpoints / "damaged-step-000020").mkdir()
    shutil.copytree(newest(run), run.checkpoints / "step-000030.2")
    notes = {checked.file: checked.note for checked in verify(run.path).files if checked.note}
    assert set(notes) == {
        "checkpoints/.step-000040.123.half",
        "checkpoints/damaged-step-000020",
        "checkpoints/step-000030.2",
    }
    assert verify(run.path).whole


def test_what_is_no_run_is_refused_and_the_result_survives_json(run, tmp_path):
    from dataclasses import asdict

    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="is not a run"):
        verify(tmp_path / "folder")
    assert runs.from_json(runs.to_json(asdict(verify(run.path))))["files"]
