"""What may befall the files that a command reads; each is given the folder that they lie in."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

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
