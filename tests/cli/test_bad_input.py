"""Bad input, one table: one clear sentence on stderr, the right exit code, no traceback, nothing lost, nothing left.

Each row has a folder of its own with a finished run, the same run as a kill has left it ("stopped"), and some texts.
"""

import hashlib
import io
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from retrograd import numerics
from retrograd.cli import main, signals
from retrograd.runs import Run
from retrograd.training import checkpoint

FILES = {
    "good.txt": b"some text that is long enough to be learned from, line after line\n" * 60,
    "empty.txt": b"",
    "one.txt": b"a" * 4000,
    "short.txt": b"too short",
    "latin.txt": b"caf\xe9 " * 500,
    "broken.toml": b"[model\n",
    "foreign.toml": b"[model]\nhiden = 3\n",
}
Damage = Callable[[Path], object]  # given the row's folder
Change = Callable[[Path], object]  # given one file


def put(name: str, content: str | bytes) -> Damage:
    return lambda folder: write(folder / name, content)


def write(file: Path, content: str | bytes) -> None:
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def gone(pattern: str) -> Damage:
    return each(pattern, Path.unlink)


def cut(pattern: str) -> Damage:
    return each(pattern, lambda file: os.truncate(file, file.stat().st_size // 2))


def altered(pattern: str) -> Damage:
    """One bit of one byte in the middle."""

    def alter(file):
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)

    return each(pattern, alter)


def each(pattern: str, change: Change) -> Damage:
    def damage(folder):
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            change(path)

    return damage


def swapped(old: str, new: str) -> Change:
    def change(file):
        before = file.read_text(encoding="utf-8")
        assert old in before
        file.write_text(before.replace(old, new), encoding="utf-8")

    return change


def swap(pattern: str, old: str, new: str) -> Damage:
    return each(pattern, swapped(old, new))


def line(name: str, number: int, content: str) -> Damage:
    """One line of a log, replaced."""

    def change(file):
        lines = file.read_text().splitlines()
        lines[number - 1] = content
        file.write_text("\n".join(lines) + "\n")

    return each(f"*/{name}", change)


def linked(name: str) -> Damage:
    """The file or folder lies elsewhere, and a link in its place."""

    def damage(folder):
        (folder / name).rename(folder / "elsewhere")
        (folder / name).symlink_to(folder / "elsewhere")

    return damage


def nested(folder: Path) -> None:
    shutil.copytree(folder / "stopped", folder / "run" / "inner")


def forged(pattern: str, change: Change) -> Damage:
    """Files changed, and their checksums with them."""

    def forge(file):
        old = hashlib.sha256(file.read_bytes()).hexdigest()
        change(file)
        swapped(old, hashlib.sha256(file.read_bytes()).hexdigest())(file.parent / "SHA256SUMS")

    return each(pattern, forge)


def text(file: Path) -> None:
    file.write_text("{ some text")


def only(file: Path) -> None:
    """One tensor, of a shape that no model has."""
    save_file({"embedding.weight": torch.zeros(2, 2)}, str(file))


def larger(file: Path) -> None:
    """The measured slice with a token that the vocabulary lacks."""
    slice_ = load_file(str(file))
    slice_["inputs"][0, 0] = 10_000
    save_file(slice_, str(file))


def numbers(**changes) -> Change:
    return lambda file: write(file, json.dumps(json.loads(file.read_text()) | changes))


def tokenizer(content: str) -> Damage:
    return forged("*/tokenizer.json", lambda file: write(file, content))


def latest(**names: str) -> Damage:
    return each("*/checkpoints/latest.json", lambda file: write(file, json.dumps(names)))


class Hostile:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("this-was-run"),)


def saved(value: object) -> Damage:
    return lambda folder: torch.save(value, folder / "w.pt")


def pickled(folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps({"weight_ih_l0": Hostile()}))


def tensors(**values: torch.Tensor) -> Damage:
    return lambda folder: save_file(values, str(folder / "w.safetensors"))


def both(first: Damage, second: Damage) -> Damage:
    def damage(folder):
        first(folder)
        second(folder)

    return damage


LSTM = nn.LSTM(8, 16)
STATE = {name: p.detach() for name, p in LSTM.named_parameters()}
NAN = STATE | {"bias_ih_l0": torch.full((64,), torch.nan)}
THEIRS = "import torch\nX = torch.ones(9, 2)\ndef make():\n return torch.nn.Linear(2, 2), lambda m: "
TRAIN = "train good.txt --hidden 16 --set model.embedding=8"
PT, SAFETENSORS = f"{TRAIN} --weights w.pt", f"{TRAIN} --weights w.safetensors"
RESUME = "train --resume stopped"
LATEST = "*/checkpoints/latest.json"
MODEL, TRAINING, NUMBERS, SUMS = (
    f"*/checkpoints/*/{name}" for name in ("model.safetensors", "training.safetensors", "checkpoint.json", "SHA256SUMS")
)
other_sizes = swap("*/config.toml", "hidden = 16", "hidden = 17")
other_cell = swap("*/config.toml", "lstm", "gru")
foreign_key = swap("*/config.toml", "hidden =", "hiden =")
no_vocabulary = forged(NUMBERS, numbers(vocabulary="many"))
one_type_more = forged("*/tokenizer.json", swapped('["<unk>", ', '["<unk>", "Z", '))
other_level = forged("*/tokenizer.json", swapped('"char"', '"chars"'))
no_place = forged(NUMBERS, numbers(at=None))
foreign_place = forged(NUMBERS, numbers(at={"step": "x"}))

# name, what happens to the files, arguments, exit code, part of the sentence
TABLE = [
    # texts and flags
    ("no text", None, "train", 2, "No text was given"),
    ("no such text", None, "train none.txt", 2, "No text file is at"),
    ("a folder as text", None, "train folder", 2, "is a directory"),
    ("an empty text", None, "train empty.txt", 2, "is empty"),
    ("one character", None, "train one.txt", 2, "one type of character only"),
    ("a short text", None, "train short.txt", 2, "fewer than the window of 64"),
    ("not UTF-8", None, "train latin.txt", 2, "Convert it, or model its bytes with --level byte."),
    ("no such cell", None, "train good.txt --cell lstn", 2, "the nearest is 'lstm'"),
    ("no such level", None, "train good.txt --level chars", 2, "the nearest is 'char'"),
    ("no such start", None, "train good.txt --init ortogonal", 2, "the nearest is 'orthogonal'"),
    ("no such backend", None, "train good.txt --backend fussed", 2, "the nearest is 'fused'"),
    ("no such device", None, "train good.txt --device tpu", 2, "There is no device 'tpu' here"),
    ("a device that holds nothing", None, "train good.txt --device meta", 2, "device"),
    ("no units", None, "train good.txt --hidden 0", 2, "model.hidden does not fit"),
    ("more units than memory", None, "train good.txt --hidden 10_000_000", 1, "There is not enough memory. Try a"),
    ("units in words", None, "train good.txt --hidden many", 2, "--hidden"),
    ("a flag misspelt", None, "train good.txt --windw 3", 2, "--window"),
    ("a verb misspelt", None, "trian", 2, "trian"),
    ("a key misspelt", None, "train good.txt --set model.hiden=3", 2, "the nearest is model.hidden"),
    ("a section misspelt", None, "train good.txt --set modle.hidden=3", 2, "the nearest is model"),
    ("no key", None, "train good.txt --set nonsense", 2, "--set takes section.key=value"),
    ("a task misspelt", None, "train good.txt --set task=lnguage", 2, "the nearest is 'language'"),
    ("a text for recall", None, "train good.txt --set task=recall", 2, "makes its own examples"),
    ("no such config", None, "train good.txt --config none.toml", 2, "No config file is at"),
    ("a config cut", None, "train good.txt --config broken.toml", 2, "is not valid TOML"),
    ("a config with a foreign key", None, "train good.txt --config foreign.toml", 2, "the nearest is model.hidden"),
    ("a folder as config", None, "train good.txt --config folder", 2, "folder cannot be read"),
    ("no such validation text", None, "train good.txt --valid none.txt", 2, "No text file is at"),
    ("two budgets", None, "train good.txt --steps 5 --minutes 1", 2, "give one of minutes, steps and epochs"),
    ("two budgets set", None, f"{TRAIN} --set training.epochs=2 --set training.minutes=2", 2, "give one of"),
    ("a budget in two places", None, "train good.txt --steps 5 --set training.epochs=1", 2, "got epochs and steps"),
    ("a seed too large", None, "train good.txt --seed 99999999999999999999", 2, "training.seed does not fit"),
    ("an infinite rate", None, "train good.txt --lr inf", 2, "training.lr does not fit"),
    ("too many threads", None, "train good.txt --threads 100000", 2, "training.threads does not fit"),
    ("a negative range", None, "train good.txt --set model.embedding_range=-1", 2, "embedding_range does not fit"),
    ("a tiny vocabulary", None, "train good.txt --set data.vocabulary=1", 2, "data.vocabulary does not fit"),
    ("out is a file", None, "train good.txt --out good.txt", 2, "already exists and is not empty"),
    ("out is a run", None, "train good.txt --out run", 2, "Name another folder with --out"),
    ("out lies in a file", None, f"{TRAIN} --out good.txt/run", 2, "cannot be made"),
    # weights from elsewhere
    ("no such weights", None, f"{TRAIN} --weights none.pt", 2, "No weights file is at"),
    ("a text as weights", None, f"{TRAIN} --weights good.txt", 2, "cannot be read as tensors"),
    ("a text as safetensors", put("w.safetensors", "text"), SAFETENSORS, 2, "cannot be read as tensors"),
    ("a pickle that runs code", pickled, PT, 2, "cannot be read as tensors"),
    ("a .pt that runs code", saved({"a": Hostile()}), PT, 2, "None of it was read. Save the state dict alone."),
    ("a whole module", saved(LSTM), PT, 2, "Save the state dict alone"),
    ("more than tensors", saved(STATE | {"epoch": 3}), PT, 2, "epoch (int)"),
    ("a list of tensors", saved(list(STATE.values())), PT, 2, "expected tensors by name"),
    ("weights of another size", saved(nn.LSTM(8, 3).state_dict()), PT, 2, "set the model's sizes"),
    ("weights of another cell", saved(nn.GRU(8, 16).state_dict()), PT, 2, "set the model's sizes"),
    ("weights of one layer more", saved(nn.LSTM(8, 16, 2).state_dict()), PT, 2, "fits none of the places"),
    ("a NaN in the weights", saved(NAN), PT, 2, "bias_ih_l0 holds a NaN or an infinity"),
    ("no recurrent weights", tensors(a=torch.ones(3)), SAFETENSORS, 2, "expected this model's own names"),
    ("safetensors cut", both(tensors(**STATE), cut("w.safetensors")), SAFETENSORS, 2, "cannot be read as tensors"),
    (".pt cut", both(saved(STATE), cut("w.pt")), PT, 2, "cannot be read as tensors"),
    # no run
    ("generate from nothing", None, "generate none", 2, "No run is at"),
    ("generate from a folder", None, "generate folder", 2, "is not a run: it holds no config.toml"),
    ("evaluate a folder", None, "evaluate folder good.txt", 2, "is not a run"),
    ("report on a folder", None, "report folder", 2, "is not a run"),
    ("diagnose a file", None, "diagnose good.txt", 2, "is not a run"),
    ("resume nothing", None, "train --resume none", 2, "No run is at none"),
    ("resume a folder", None, "train --resume folder", 2, "is not a run: it holds no config.toml"),
    ("list a file", None, "runs list good.txt", 2, "No folder is at good.txt"),
    ("show nothing", None, "runs show none", 2, "No run is at none"),
    ("show a folder", None, "runs show folder", 2, "is not a run"),
    ("compare with nothing", None, "runs compare run none", 2, "No run is at none"),
    ("compare one run", None, "runs compare run", 2, "takes two runs at least"),
    ("verify nothing", None, "runs verify none", 2, "No run is at none"),
    ("verify a folder", None, "runs verify folder", 2, "is not a run"),
    ("remove nothing", None, "runs rm none --yes", 2, "No run is at none"),
    ("remove a folder", None, "runs rm folder --yes", 2, "is not a run, so it is not removed"),
    ("remove a run and a folder", None, "runs rm run folder --yes", 2, "is not a run, so it is not removed"),
    ("remove without a yes", None, "runs rm run", 2, "Add --yes"),
    ("remove what holds a run", nested, "runs rm run --yes", 2, "holds another run, inner"),
    # asked of a run
    ("a negative temperature", None, "generate run --temperature -1", 2, "The temperature must be 0, or from"),
    ("no temperature", None, "generate run --temperature nan", 2, "The temperature must be 0, or from"),
    ("none of the likeliest", None, "generate run --top-k 0", 2, "top_k must be at least 1"),
    ("nothing to write", None, "generate run --length 0", 2, "The length must be at least 1"),
    ("a negative seed", None, "generate run --seed -1", 2, "The seed must be from 0"),
    ("evaluate on nothing", None, "evaluate run none.txt", 2, "No text file is at none.txt"),
    ("evaluate on an empty text", None, "evaluate run empty.txt", 2, "is empty"),
    ("evaluate on what is not UTF-8", None, "evaluate run latin.txt", 2, "is not UTF-8 text"),
    ("no such file of a model", None, "diagnose none.py:make", 2, "No file is at none.py; expected FILE.py:FUNCTION"),
    ("a model without a function", put("m.py", "x = 1"), "diagnose m.py", 2, "m.py names no function"),
    ("no such function", put("m.py", "def made(): pass"), "diagnose m.py:make", 2, "the nearest is 'made'"),
    ("a function that gives nothing", put("m.py", "def make(): pass"), "diagnose m.py:make", 2, "got NoneType"),
    (
        "a function that gives one thing",
        put("m.py", "def make(): return [1]"),
        "diagnose m.py:make",
        2,
        "got list of int",
    ),
    ("a file that is no Python", put("m.py", "\nx ="), "diagnose m.py:make", 1, "m.py, line 2 raised SyntaxError"),
    (
        "a function that raises",
        put("m.py", "def make():\n 1/0"),
        "diagnose m.py:make",
        1,
        "m.py, line 2 raised ZeroDiv",
    ),
    (
        "a file that exits",
        put("m.py", "import sys\nsys.exit(0)"),
        "diagnose m.py:make",
        1,
        "m.py, line 2 raised System",
    ),
    (
        "a loss that raises",
        put("m.py", THEIRS + "1/0"),
        "diagnose m.py:make",
        1,
        "m.py, line 4 raised ZeroDivisionError",
    ),
    ("a loss that is a list", put("m.py", THEIRS + "[1]"), "diagnose m.py:make", 1, "must be a tensor"),
    ("a model without recurrence", put("m.py", THEIRS + "m(X).sum(1)"), "diagnose m.py:make", 1, "there is no state"),
    ("a need of nothing", None, "diagnose run --need 0", 2, "--need is a number of steps"),
    ("the page over a text", None, "report run --html good.txt", 2, "write over it with --force"),
    ("the page over a folder", None, "report run --html folder", 2, "is a folder"),
    ("the page in a file", None, "report run --html good.txt/page.html", 2, "folder good.txt cannot be made"),
    ("figures over a file", None, "report run --figures good.txt", 2, "is a file"),
    ("figures over a run", None, "report run --figures run", 2, "is not empty"),
    ("figures in a file", None, "report run --figures good.txt/figures", 2, "good.txt/figures cannot be made"),
    # resuming
    ("resume what has finished", None, "train --resume run", 2, "Give a larger budget, such as --steps."),
    ("resume what has used up its budget", None, "train --resume run --steps 30", 2, "has taken 30 steps"),
    ("resume with another model", None, f"{RESUME} --hidden 32", 2, "got model.hidden. Only its budget"),
    ("resume with a key", None, f"{RESUME} --set model.hidden=3", 2, "got model.hidden. Only its budget"),
    ("resume with a text", None, "train good.txt --resume stopped", 2, "got data.train. Only its budget"),
    ("resume elsewhere", None, f"{RESUME} --out else", 2, "leave --out and --config out"),
    ("resume with a config", None, f"{RESUME} --config run/config.toml", 2, "leave --out and --config out"),
    ("the text has changed", put("mat.txt", "other text\n" * 300), RESUME, 2, "must see the same text"),
    ("the text is gone", gone("mat.txt"), RESUME, 2, "No text file is at"),
    # a run's files
    ("config.toml cut", put("run/config.toml", "[model\n"), "generate run", 2, "is not valid TOML"),
    ("config.toml cut", put("stopped/config.toml", "[model\n"), RESUME, 2, "is not valid TOML"),
    ("config.toml with a foreign key", foreign_key, "runs show run", 2, "nearest is model.hidden"),
    ("config.toml with a foreign key", foreign_key, RESUME, 2, "nearest is model.hidden"),
    ("config.toml of other sizes", other_sizes, "generate run", 2, "do not fit the model of config.toml"),
    ("config.toml of other sizes", other_sizes, RESUME, 2, "hidden was 16 and is 17. Put it back"),
    ("config.toml of another cell", other_cell, "diagnose run", 2, "do not fit the model of config.toml"),
    ("config.toml is no text", put("run/config.toml", b"\xff\xfe"), "runs show run", 2, "config.toml cannot be read"),
    ("events.jsonl altered", line("events.jsonl", 1, "{"), "runs show run", 2, "Line 1 of run/events.jsonl"),
    ("events.jsonl altered", line("events.jsonl", 1, "{"), RESUME, 2, "does not tell which data the run began with"),
    ("events.jsonl gone", gone("*/events.jsonl"), RESUME, 2, "does not tell which data the run began with"),
    ("metrics.jsonl altered", line("metrics.jsonl", 2, "{"), RESUME, 2, "Line 2 of stopped/metrics.jsonl"),
    ("metrics.jsonl altered", line("metrics.jsonl", 2, "[1]"), "runs show run", 2, "Line 2 of run/metrics.jsonl"),
    ("metrics.jsonl without a step", line("metrics.jsonl", 2, '{"step": "x"}'), RESUME, 2, "Line 2 of stopped"),
    ("probe.safetensors cut", cut("*/probe.safetensors"), "diagnose run", 2, "was cut or altered"),
    ("probe.safetensors gone", gone("*/probe.safetensors"), "diagnose run", 2, "probe.safetensors is missing"),
    ("probe.safetensors foreign", forged("*/probe.safetensors", only), "diagnose run", 2, "probe.safetensors lacks"),
    ("probe.safetensors of another run", forged("*/probe.safetensors", larger), "diagnose run", 2, "another run's"),
    ("tokenizer.json cut", cut("*/tokenizer.json"), "generate run", 2, "was cut or altered"),
    ("tokenizer.json cut", cut("*/tokenizer.json"), RESUME, 2, "was cut or altered"),
    ("tokenizer.json gone", gone("*/tokenizer.json"), "evaluate run good.txt", 2, "tokenizer.json is missing"),
    ("tokenizer.json gone", gone("*/tokenizer.json"), RESUME, 2, "tokenizer.json is missing"),
    ("tokenizer.json of another run", one_type_more, "generate run", 2, "one of the two is another run's"),
    ("tokenizer.json of another run", one_type_more, RESUME, 2, "do not fit the model"),
    ("tokenizer.json of another level", other_level, "generate run", 2, "the nearest is 'char'"),
    ("tokenizer.json without types", tokenizer('{"level": "char", "types": []}'), "generate run", 2, "is not a tokeni"),
    ("tokenizer.json of numbers", tokenizer('{"level": "char", "types": 3}'), "generate run", 2, "is not a tokenizer"),
    ("tokenizer.json is a list", tokenizer("[]"), "generate run", 2, "is not a tokenizer"),
    ("report.json cut", cut("run/report.json"), "report run", 2, "The report is not JSON"),
    ("report.json cut", cut("run/report.json"), "runs show run", 2, "is not JSON"),
    ("report.json gone", gone("run/report.json"), "report run", 2, "has no report yet"),
    (
        "report.json of another version",
        swap("run/report.json", '"schema": 2', '"schema": 9'),
        "report run",
        2,
        "schema 9",
    ),
    ("report.json is no report", put("run/report.json", '{"schema": 2}'), "report run", 2, "The report cannot be read"),
    ("report.json is no text", put("run/report.json", b"\xff"), "report run", 2, "is not UTF-8 text"),
    ("report.json is a list", put("run/report.json", "[]"), "runs compare run stopped", 2, "holds no JSON object"),
    # links
    ("remove a link", linked("run"), "runs rm run --yes", 2, "run is a link to"),
    ("checkpoints elsewhere", linked("run/checkpoints"), "generate run", 2, "a run's files lie in the run"),
    ("checkpoints elsewhere", linked("stopped/checkpoints"), RESUME, 2, "a run's files lie in the run"),
    ("events.jsonl elsewhere", linked("stopped/events.jsonl"), RESUME, 2, "a run's files lie in the run"),
    ("metrics.jsonl elsewhere", linked("stopped/metrics.jsonl"), RESUME, 2, "a run's files lie in the run"),
    ("tokenizer.json elsewhere", linked("run/tokenizer.json"), "generate run", 2, "is missing, or a link"),
    (".lock elsewhere", linked("stopped/.lock"), RESUME, 2, "a run's files lie in the run"),
    (".lock elsewhere", linked("run/.lock"), "runs rm run --yes", 2, "a run's files lie in the run"),
    (
        "latest.json leads out",
        latest(best="../../other"),
        "generate run",
        2,
        "names '../../other', which is no checkpoint",
    ),
    ("latest.json leads up", latest(best=".."), "generate run", 2, "names '..', which is no"),
    # checkpoints
    ("latest.json cut", cut(LATEST), "generate run", 2, "latest.json cannot be read"),
    ("latest.json cut", cut(LATEST), RESUME, 2, "latest.json cannot be read"),
    ("latest.json gone", gone(LATEST), "evaluate run good.txt", 2, "latest.json is gone"),
    ("latest.json gone", gone(LATEST), RESUME, 2, "latest.json is gone"),
    (
        "latest.json is a list",
        put("run/checkpoints/latest.json", "[]"),
        "generate run",
        2,
        "latest.json cannot be read",
    ),
    ("latest.json points at nothing", latest(last="step-000009"), "diagnose run", 2, "step-000009 is not there"),
    ("latest.json points at nothing", latest(last="step-000009"), RESUME, 2, "step-000009 is not there"),
    ("model.safetensors cut", cut(MODEL), "generate run", 2, "model.safetensors was cut or altered"),
    ("model.safetensors altered", altered(MODEL), "evaluate run good.txt", 2, "model.safetensors was cut or altered"),
    ("model.safetensors altered", altered(MODEL), RESUME, 2, "model.safetensors was cut or altered"),
    ("model.safetensors gone", gone(MODEL), "diagnose run", 2, "model.safetensors is missing"),
    ("model.safetensors foreign", forged(MODEL, only), "generate run", 2, "do not fit the model"),
    ("model.safetensors foreign", forged(MODEL, only), RESUME, 2, "do not fit the model"),
    ("model.safetensors is a text", forged(MODEL, text), "generate run", 2, "cannot be read"),
    ("training.safetensors cut", cut(TRAINING), "generate run", 2, "training.safetensors was cut or altered"),
    ("training.safetensors altered", altered(TRAINING), RESUME, 2, "training.safetensors was cut or altered"),
    ("training.safetensors gone", gone(TRAINING), RESUME, 2, "training.safetensors is missing"),
    ("training.safetensors foreign", forged(TRAINING, only), RESUME, 2, "random.cpu' is missing"),
    ("training.safetensors is a text", forged(TRAINING, text), RESUME, 2, "cannot be read"),
    ("checkpoint.json cut", cut(NUMBERS), "generate run", 2, "checkpoint.json was cut or altered"),
    ("checkpoint.json altered", altered(NUMBERS), RESUME, 2, "checkpoint.json was cut or altered"),
    ("checkpoint.json gone", gone(NUMBERS), "evaluate run good.txt", 2, "checkpoint.json is missing"),
    ("checkpoint.json is a text", forged(NUMBERS, text), "generate run", 2, "cannot be read"),
    ("checkpoint.json of another version", forged(NUMBERS, numbers(schema=9)), "generate run", 2, "has schema 9"),
    ("checkpoint.json of another version", forged(NUMBERS, numbers(schema=9)), RESUME, 2, "has schema 9"),
    ("checkpoint.json without a place", no_place, RESUME, 2, "cannot be gone on from"),
    ("checkpoint.json of a foreign place", foreign_place, RESUME, 2, "cannot be gone on from"),
    ("checkpoint.json of another vocabulary", forged(NUMBERS, numbers(vocabulary=3)), "generate run", 2, "do not fit"),
    ("checkpoint.json without a vocabulary", no_vocabulary, "generate run", 2, "how large its vocabulary is"),
    ("SHA256SUMS cut", cut(SUMS), "generate run", 2, "was cut or altered"),
    ("SHA256SUMS gone", gone(SUMS), "generate run", 2, "cannot be verified"),
    ("SHA256SUMS gone", gone(SUMS), RESUME, 2, "cannot be verified"),
]


@pytest.fixture
def here(trained, text, tmp_path, monkeypatch):
    for name, raw in FILES.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "folder").mkdir()
    shutil.copy(text, tmp_path / "mat.txt")
    run = shutil.copytree(trained.run.path, tmp_path / "run")
    swapped(str(text), str(tmp_path / "mat.txt"))(run / "config.toml")
    (tmp_path / "run" / ".lock").touch()
    stopped = shutil.copytree(run, tmp_path / "stopped")
    events = (stopped / "events.jsonl").read_text().splitlines(keepends=True)
    (stopped / "events.jsonl").write_text("".join(line for line in events if '"finished"' not in line))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(numerics, "flush_from_the_start", lambda: None)  # it is for a process of its own
    return tmp_path


def everything(folder: Path) -> dict[str, object]:
    """All that is in a folder, to the byte; the file that a lock is held by may come."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            kept[str(path)] = os.readlink(path)
        elif path.name != ".lock":
            kept[str(path)] = path.is_dir() or path.read_bytes()
    return kept


def one_sentence(shown: str, errors: str) -> None:
    assert not shown
    assert "Traceback" not in errors
    if not errors.startswith("Usage: "):  # of click's own
        assert errors.startswith("retrograd: ")
        assert errors.count("\n") == 1


def in_process(arguments: str, monkeypatch) -> object:
    """The command in this process, asked by nobody: what it leaves with."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    monkeypatch.setattr(sys, "argv", ["retrograd", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def command(arguments: str) -> list[str]:
    return [sys.executable, "-m", "retrograd", *shlex.split(arguments)]


def retrograd(arguments: str, **options) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.run(command(arguments), text=True, check=False, timeout=120, **options)


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]}-{row[2].split()[0]}" for row in TABLE])
def test_bad_input_is_one_sentence_and_an_exit_code(here, capsys, monkeypatch, row):
    _, damage, arguments, code, sentence = row
    if damage:
        damage(here)
    before = everything(here)
    left = in_process(arguments, monkeypatch)
    shown, errors = capsys.readouterr()
    assert sentence in errors
    assert left == code
    one_sentence(shown, errors)
    assert everything(here) == before


REAL = ["no text", "a pickle that runs code", "show nothing", "checkpoint.json cut"]


@pytest.mark.parametrize("row", [row for row in TABLE if row[0] in REAL], ids=lambda row: row[0])
def test_a_process_of_its_own_says_the_same(here, row):
    _, damage, arguments, code, sentence = row
    if damage:
        damage(here)
    before = everything(here)
    done = retrograd(arguments)
    assert sentence in done.stderr
    assert done.returncode == code
    one_sentence(done.stdout, done.stderr)
    assert everything(here) == before


@pytest.mark.parametrize("arguments", [RESUME, "runs rm run stopped --yes"])
def test_a_run_that_another_process_writes_is_left_alone(here, capsys, monkeypatch, arguments):
    before = everything(here)
    with Run(here / "stopped").writing():
        assert in_process(arguments, monkeypatch) == 2
    shown, errors = capsys.readouterr()
    assert "stopped is being written" in errors
    one_sentence(shown, errors)
    assert everything(here) == before


def test_verify_finds_all_that_is_damaged_and_changes_nothing(here, capsys, monkeypatch):
    for damage in (cut(MODEL), cut("*/tokenizer.json"), cut("*/report.json"), line("events.jsonl", 1, "[]")):
        damage(here)
    before = everything(here)
    assert in_process("runs verify run", monkeypatch) == 1
    shown, errors = capsys.readouterr()
    assert not errors
    for name in ("checkpoints/step-000030", "tokenizer.json", "report.json", "events.jsonl"):
        assert any(said.split()[0] == name and not said.endswith("ok") for said in shown.splitlines()[1:])
    assert everything(here) == before


def test_characters_that_the_model_never_saw_can_be_asked_for(here, capsys, monkeypatch):
    assert in_process("generate run --prompt 'the \u20ac' --length 5", monkeypatch) == 0
    assert capsys.readouterr().out.startswith("the \ufffd")


# Signals, and streams that are closed: in a process of its own

SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 129, "SIGHUP")]
SIGNALLED = """
import os, sys
class Arriving:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), NUMBER)
from retrograd.cli import main, signals
sys.meta_path.insert(0, Arriving())
main()
"""


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
@pytest.mark.parametrize("module", ["typer", "torch"])
def test_a_signal_while_it_starts_leaves_at_once(here, number, code, name, module):
    before = everything(here)
    script = SIGNALLED.replace("MODULE", repr(module)).replace("NUMBER", str(int(number)))
    arguments = [sys.executable, "-c", script, "train", "good.txt", "--out", "new"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"retrograd: Stopped by {name}.\n")
    assert everything(here) == before


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
def test_a_signal_while_the_text_is_read_leaves_at_once(here, number, code, name):
    os.mkfifo(here / "slow.txt")
    arguments = command("train slow.txt --hidden 16 --out new")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with open(here / "slow.txt", "wb"):  # which waits until it is being read
        process.send_signal(number)
        shown, errors = process.communicate(timeout=120)
    assert (process.returncode, shown, errors) == (code, "", f"retrograd: Stopped by {name}.\n")
    assert not list(here.glob("*new*"))


def test_a_signal_that_is_ignored_as_nohup_has_it_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled(signals.leave):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("arguments", ["runs show run", "generate run", "runs --help"])
def test_a_pipe_that_is_closed_early_is_silence(here, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = retrograd(arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_training_whose_pipe_is_closed_ends_and_can_be_gone_on_with(here):
    reading, writing = os.pipe()
    os.close(reading)
    done = retrograd("train mat.txt --hidden 16 --window 16 --steps 5 --out new", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
    assert Run(here / "new").status() == "preempted"
    assert checkpoint.find(here / "new" / "checkpoints", "last").step == 0


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_start_do_no_harm(here, closing):
    before = everything(here)
    for arguments, code in (("runs list .", 0), ("runs rm run", 2)):
        shell = ["sh", "-c", f"{shlex.join(command(arguments))} {closing}"]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert everything(here) == before


def test_a_full_disk_behind_stdout_is_one_sentence(here):
    with open("/dev/full", "w") as full:
        done = retrograd("runs show run", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "retrograd: The system refused a file operation: No space left on device.\n"
