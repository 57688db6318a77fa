"""Sequential digits: an image is read pixel by pixel, and named at the end.

    step    1       2       ...     height * width
    input   one pixel's grey, 0 to 1, row by row
    target                          the class

task.permuted reads the pixels in one random order, the same for all images: what lay side by side is then far apart.
An image is as long as it has pixels, so task.length is not for this task. The gradient must travel back from the last
pixel to the first that is not the same in all training images. The best answer that looks at nothing costs the entropy
of the training labels, ln(10) where digits are equally frequent. Le, Jaitly and Hinton (2015), on MNIST.

    no data         the 1,797 images of 8x8 pixels that come with scikit-learn (an extra): 64 steps
    data.train      MNIST's IDX files, plain or .gz, images with their labels beside them; or a folder of pictures, in
                    grey or in colour (read as greys), with a subfolder for each class
    data.valid      more of the same; where a split is not given, a tenth of the shuffled training images is taken
    data.test
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from retrograd import config
from retrograd.errors import ConfigError, DataError, MissingExtra, UsageError
from retrograd.tasks.collected import Collected, Collection, Example
from retrograd.tasks.guess import entropy
from retrograd.tasks.idx import images_and_labels, size
from retrograd.tasks.pictures import grey, read_picture
from retrograd.tasks.window import IGNORED, Sizes

SPLIT_SEED, PERMUTATION_SEED = 5_000_011, 6_000_011
TENTH = 10


@dataclass(frozen=True, eq=False)
class Images:
    pixels: Tensor  # (N, height, width), 0 to 1
    labels: Tensor  # (N,), into the classes
    classes: tuple[str, ...]
    origin: str  # where they come from, for a message

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor) -> "Images":
        return Images(self.pixels[chosen], self.labels[chosen], self.classes, self.origin)


def digits(settings: config.Config) -> Collected:
    """Raises DataError for files that are not such images, MissingExtra without files and without scikit-learn."""
    if settings.task.length is not None:
        raise ConfigError("An image is as long as it has pixels: leave task.length out for the task digits.")
    train, valid, test = _splits(settings.data)
    steps = train.pixels[0].numel()
    order = torch.arange(steps)
    if settings.task.permuted:
        order = torch.randperm(steps, generator=torch.Generator().manual_seed(PERMUTATION_SEED))
    tested = _examples(test, order)
    collection = Collection(
        train=_examples(train, order),
        valid=_examples(valid, order),
        test=tested,
        sizes=Sizes(1, len(train.classes), numbers=True),
        guess=entropy(train.labels.tolist()),
        need=steps - 1 - _first_telling(train.pixels.flatten(1)[:, order]),
        unit="answer",
        groups=_by_class(tested, test),
        grouped_by="class",
        labels=train.classes,
    )
    return Collected(settings, collection)


def _examples(images: Images, order: Tensor) -> list[Example]:
    """The targets of a class are one tensor, however many images it has."""
    targets = torch.full((len(images.classes), len(order)), IGNORED)
    targets[:, -1] = torch.arange(len(images.classes))
    pixels = images.pixels.flatten(1)[:, order].unsqueeze(-1)
    return [Example(x, targets[label]) for x, label in zip(pixels, images.labels.tolist(), strict=True)]


def _by_class(examples: list[Example], images: Images) -> dict[str, Sequence[Example]]:
    asked = {
        name: [examples[i] for i in (images.labels == k).nonzero().flatten().tolist()]
        for k, name in enumerate(images.classes)
    }
    return {name: found for name, found in asked.items() if found}


def _first_telling(pixels: Tensor) -> int:
    """The first step, from 0, of (N, T) at which not all are the same."""
    varies = (pixels != pixels[0]).any(0)
    return int(varies.int().argmax())


def _splits(data: config.Data) -> tuple[Images, Images, Images]:
    """What is not given is cut from the training images, in an order that is the same for every run."""
    if not data.train and (data.valid or data.test):
        raise UsageError(
            "The task digits was given images to validate or test on and none to train on; give those too."
        )
    train = _read(data.train) if data.train else _scikit_learn()
    if len(set(train.labels.tolist())) < 2:
        raise DataError(f"The images in {train.origin} are all of one class; a model has nothing to learn from them.")
    given = [_like(train, _read([path], train.classes)) if path else None for path in (data.valid, data.test)]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    parts: list[Images] = []
    share = len(train) // TENTH
    for own in given:
        cut = share if own is None else 0
        parts.append(train[order[:cut]] if own is None else own)
        order = order[cut:]
    return train[order], parts[0], parts[1]


def _like(train: Images, other: Images) -> Images:
    if other.pixels.shape[1:] != train.pixels.shape[1:]:
        raise DataError(
            f"The images in {other.origin} have {size(other.pixels)} pixels, and those trained on {size(train.pixels)}."
        )
    return other


def _read(paths: Sequence[str], classes: tuple[str, ...] | None = None) -> Images:
    """The images at these paths. `classes`: the ones that are known; where there are none, those that are found."""
    if Path(paths[0]).is_dir():
        if len(paths) > 1:
            raise UsageError(f"The task digits takes one folder of images; got {len(paths)} paths.")
        return _folder(Path(paths[0]), classes)
    images, labels = images_and_labels(paths)
    known = classes or tuple(str(k) for k in range(int(labels.max()) + 1))
    ids = {name: k for k, name in enumerate(known)}
    for label in sorted(set(labels.tolist())):
        if str(label) not in ids:
            raise DataError(f"The label {label} of {paths[0]} is none of those trained on: {', '.join(known)}.")
    return Images(images / 255, torch.tensor([ids[str(label)] for label in labels.tolist()]), known, paths[0])


def _folder(root: Path, classes: tuple[str, ...] | None) -> Images:
    """A subfolder for each class; names that begin with a dot are left out."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"There is no subfolder in {root}; expected one for each class, with its images.")
    known = classes or tuple(folder.name for folder in folders)
    for folder in folders:
        if folder.name not in known:
            raise DataError(f"The class of the folder {folder} is none of those trained on: {', '.join(known)}.")
    files = [file for folder in folders for file in _files(folder)]
    pixels = [grey(read_picture(file)) for file in files]
    for file, x in zip(files, pixels, strict=True):
        if x.shape != pixels[0].shape:
            raise DataError(
                f"{file} has {size(x)} pixels, and {files[0]} has {size(pixels[0])}; scale them to one size."
            )
    labels = torch.tensor([known.index(file.parent.name) for file in files])
    return Images(torch.stack(pixels) / 255, labels, known, str(root))


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not files:
        raise DataError(f"There is no image in {folder}; put the images of its class in it, or leave it out.")
    return files


def _scikit_learn() -> Images:
    try:
        found = import_module("sklearn.datasets").load_digits()
    except ImportError:
        raise MissingExtra("The task digits without files of images", "sklearn") from None
    pixels = torch.tensor(found.images, dtype=torch.float32) / 16
    classes = tuple(str(name) for name in found.target_names)
    return Images(pixels, torch.tensor(found.target), classes, "scikit-learn")
