"""Captioning: a picture is looked at once, then a sentence is written about it.

    data.train     a folder with captions.tsv, rows of FILE TAB CAPTION, and the pictures, all of one size, grey or in
                   colour; without one, coloured shapes in relation are drawn (shapes.py)
    need           the middle caption's length: the last word's gradient must reach the state before the first

Validation and test are folders of their own, or the captions of the last task.held_out pictures each (one in twenty
where that is not said); a picture with several captions is several examples, all in one split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import ConfigError, DataError
from retrograd.tasks import shapes, tables, written
from retrograd.tasks.collected import Collection
from retrograd.tasks.pictures import read_picture, words_for
from retrograd.tasks.tables import Row
from retrograd.tasks.tokenizers import NONE, Fitted
from retrograd.tasks.window import Sizes

CAPTIONS = "captions.tsv"
HOLDS = "a picture's file and its caption"
TRAINED, HELD_OUT, SEED = 16_000, 1_000, 6_000_011  # of the drawn set, which is the same for every run


@dataclass(frozen=True)
class Captioned:
    picture: Tensor  # (C, height, width) bytes
    caption: str


Splits = tuple[list[Captioned], list[Captioned], list[Captioned]]


def captioning(settings: config.Config, fitted: Fitted = NONE) -> Collection:
    """The pictures as examples. Raises DataError for pictures or captions that cannot be read, UsageError for keys that
    do not fit."""
    if settings.task.length is not None:
        raise ConfigError("A caption is as long as it is: leave task.length out for the task captioning.")
    splits = captioned(settings)
    tokenizer = fitted[0] or written.fit([each.caption for each in splits[0]], settings.data)
    train, valid, test = (
        [written.example(each.picture, each.caption, tokenizer) for each in split] for split in splits
    )
    channels, height, width = train[0].source.shape  # type: ignore[union-attr]
    return Collection(
        train,
        valid,
        test,
        Sizes(tokenizer.size, tokenizer.size, source=channels, height=height, width=width),
        guess=written.guess(train),
        need=int(median(len(e.targets) for e in train)),
        unit=tokenizer.unit,
        tokenizer=tokenizer,
        written=tuple((f"picture {i}", each.caption) for i, each in enumerate(splits[2], start=1)),
    )


def captioned(settings: config.Config) -> Splits:
    """The pictures and their captions in three splits. Raises DataError."""
    data, task = settings.data, settings.task
    if not tables.given(settings):
        return _drawn(task.examples or TRAINED, task.held_out or HELD_OUT)
    rows = [row for folder in data.train for row in _rows(folder)]
    by_file: dict[Path, list[Row]] = {}
    for row in rows:
        by_file.setdefault(_file(row), []).append(row)
    cuts = written.cut(list(by_file.values()), data, task.held_out)
    train, valid, test = ([row for group in cut for row in group] for cut in cuts)
    valid = _rows(data.valid) if data.valid else valid
    test = _rows(data.test) if data.test else test
    return _read(train, valid, test)


def write(folder: str | Path, pictures: Sequence[Captioned]) -> None:
    """The pictures as PNG and captions.tsv, as `captioned` reads them."""
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, each in enumerate(pictures, start=1):
        pixels = each.picture.permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(pixels).save(folder / f"{i:05}.png")
        lines.append(f"{i:05}.png\t{each.caption}\n")
    (folder / CAPTIONS).write_text("".join(lines), encoding="utf-8")


def _drawn(train: int, held_out: int) -> Splits:
    """What is held out is drawn first, so that it is the same however much is trained on."""
    generator = torch.Generator().manual_seed(SEED)
    of_train, of_valid, of_test = shapes.scenes(generator)
    test, valid = _some(of_test, held_out, generator), _some(of_valid, held_out, generator)
    return _some(of_train, train, generator), valid, test


def _some(scenes: list[shapes.Scene], count: int, generator: torch.Generator) -> list[Captioned]:
    pictures, captions = shapes.drawn(scenes, count, generator)
    return [Captioned(*each) for each in zip(pictures, captions, strict=True)]


def _rows(folder: str | Path) -> list[Row]:
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is no folder; captioning needs one with {CAPTIONS} and the pictures that it names.")
    return tables.rows(Path(folder) / CAPTIONS, holds=HOLDS)


def _file(row: Row) -> Path:
    """Where a row's picture lies. Raises DataError for a place outside the folder of the captions."""
    folder = Path(row.path).parent.resolve()
    if "\0" in row.left:
        raise DataError(f"{row.place}: {row.left!r} is no name of a file.")
    file = (folder / row.left).resolve()
    if not file.is_relative_to(folder):
        raise DataError(f"{row.place}: {row.left} leads out of the folder {folder}; put the picture inside it.")
    return file


def _read(*splits: Sequence[Row]) -> Splits:
    """Every file is read once, and all pictures are like the first."""
    read: dict[Path, Tensor] = {}
    for row in (row for split in splits for row in split):
        file = _file(row)
        if file not in read:
            read[file] = _picture(row, file)
            first = next(iter(read.values()))
            if read[file].shape != first.shape:
                raise DataError(
                    f"{row.place}: the picture {row.left} is {words_for(read[file])}, and the first one "
                    f"{words_for(first)}; bring them all to one size."
                )
    train, valid, test = ([Captioned(read[_file(row)], row.right) for row in split] for split in splits)
    return train, valid, test


def _picture(row: Row, file: Path) -> Tensor:
    try:
        return read_picture(file)
    except DataError as error:
        raise DataError(f"{row.place}: {error}") from None
