"""Bad input, one table: one clear sentence on stderr, the right exit code, no traceback, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "some text that is long enough to be learned from, line after line\n" * 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad")
    files = {
        "good.txt": GOOD.encode(),
        "empty.txt": b"",
        "one.txt": b"a" * 4000,
        "short.txt": b"too short",
        "latin.txt": b"caf\xe9 " * 500,
        "broken.toml": b"[model\n",
        "foreign.toml": b"[model]\nhiden = 3\n",
    }
    for name, raw in files.items():
        (path / name).write_bytes(raw)
    (path / "folder").mkdir()
    return path


def retrograd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retrograd", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


TABLE = [
    (["train"], 2, "No text was given"),
    (["train", "none.txt"], 2, "No text file is at"),
    (["train", "folder"], 2, "is a directory"),
    (["train", "empty.txt"], 2, "is empty"),
    (["train", "one.txt"], 2, "one type of character only"),
    (["train", "short.txt"], 2, "fewer than the window of 64"),
    (["train", "latin.txt"], 2, "Convert it, or model its bytes with --level byte."),
    (["train", "good.txt", "--cell", "lstn"], 2, "the nearest is 'lstm'"),
    (["train", "good.txt", "--level", "chars"], 2, "the nearest is 'char'"),
    (["train", "good.txt", "--init", "ortogonal"], 2, "the nearest is 'orthogonal'"),
    (["train", "good.txt", "--backend", "fussed"], 2, "the nearest is 'fused'"),
    (["train", "good.txt", "--device", "tpu"], 2, "There is no device 'tpu' here"),
    (["train", "good.txt", "--hidden", "0"], 2, "model.hidden does not fit"),
    (["train", "good.txt", "--hidden", "many"], 2, "--hidden"),
    (["train", "good.txt", "--windw", "3"], 2, "--window"),
    (["train", "good.txt", "--set", "model.hiden=3"], 2, "the nearest is model.hidden"),
    (["train", "good.txt", "--set", "modle.hidden=3"], 2, "the nearest is model"),
    (["train", "good.txt", "--set", "nonsense"], 2, "--set takes section.key=value"),
    (["train", "good.txt", "--set", "task=lnguage"], 2, "the nearest is 'language'"),
    (["train", "good.txt", "--config", "none.toml"], 2, "No config file is at"),
    (["train", "good.txt", "--config", "broken.toml"], 2, "is not valid TOML"),
    (["train", "good.txt", "--config", "foreign.toml"], 2, "the nearest is model.hidden"),
    (["train", "good.txt", "--valid", "none.txt"], 2, "No text file is at"),
    (["train", "good.txt", "--out", "good.txt"], 2, "already exists and is not empty"),
    (["generate", "none"], 2, "No run is at"),
    (["generate", "folder"], 2, "is not a run: it holds no config.toml"),
    (["evaluate", "folder", "good.txt"], 2, "is not a run"),
    (["report", "folder"], 2, "is not a run"),
    (["diagnose", "good.txt"], 2, "is not a run"),
    (["trian"], 2, "trian"),
    (["train", "good.txt", "--steps", "5", "--minutes", "1"], 2, "give one of minutes, steps and epochs"),
    (["train", "good.txt", "--steps", "5", "--set", "training.epochs=2", "--set", "training.minutes=2"], 2, "give one"),
    (["train", "good.txt", "--seed", "99999999999999999999"], 2, "training.seed does not fit"),
    (["train", "good.txt", "--lr", "inf"], 2, "training.lr does not fit"),
    (["train", "good.txt", "--threads", "100000"], 2, "training.threads does not fit"),
    (["train", "good.txt", "--set", "model.embedding_range=-1"], 2, "model.embedding_range does not fit"),
    (["train", "good.txt", "--level", "word", "--set", "data.vocabulary=1"], 2, "data.vocabulary does not fit"),
    (["train", "good.txt", "--device", "meta"], 2, "device"),
    (["train", "good.txt", "--set", "task=recall"], 2, "makes its own examples"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), TABLE)
def test_bad_input_is_one_sentence_and_an_exit_code(folder, arguments, code, sentence):
    before = sorted(folder.rglob("*"))
    done = retrograd(*arguments, cwd=folder)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    if done.stderr.startswith("retrograd: "):
        assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_an_existing_run_is_never_written_over(trained, text):
    before = {p: p.read_bytes() for p in trained.run.path.rglob("*") if p.is_file()}
    done = retrograd("train", str(text), "--out", str(trained.run.path), cwd=text.parent)
    assert done.returncode == 2
    assert "Name another folder with --out" in done.stderr
    assert {p: p.read_bytes() for p in trained.run.path.rglob("*") if p.is_file()} == before


def test_text_that_is_not_there_any_more_does_not_hinder_generate_or_diagnose(trained, tmp_path):
    for verb in ("generate", "diagnose", "report"):
        done = retrograd(verb, str(trained.run.path), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
