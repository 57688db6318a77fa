"""IDX, the files that MNIST comes in, plain or compressed by gzip.

00 00 08 n      bytes, of n axes: 3 for images (N, height, width), 1 for labels (N)
n times uint32  the size of each axis, highest byte first
the bytes       the last axis runs fastest
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from retrograd.errors import DataError
from retrograd.tasks import files

GZIP = b"\x1f\x8b"
IMAGES, LABELS = 3, 1  # axes


def images_and_labels(paths: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Of all the files together: images (N, height, width) and labels (N,), of bytes.

    Labels that are not among the files are looked for beside the images, under MNIST's own names: images-idx3 there,
    labels-idx1 here. Raises DataError.
    """
    read = [(path, read_idx(path)) for path in paths]
    images = [(path, x) for path, x in read if x.dim() == IMAGES]
    labels = [(path, x) for path, x in read if x.dim() == LABELS]
    if not images:
        raise DataError(f"{paths[0]} holds labels; give the file of their images too.")
    if not labels:
        labels = [(path, read_idx(path)) for path in (labels_beside(path) for path, _ in images)]
    if len(images) != len(labels):
        raise DataError(f"{len(images)} files of images and {len(labels)} of labels do not fit; give as many of each.")
    for (path, x), (other, y) in zip(images, labels, strict=True):
        if y.dim() != LABELS or len(x) != len(y):
            raise DataError(f"{other} must hold a label for each of the {len(x)} images in {path}; it holds {len(y)}.")
        if x.shape[1:] != images[0][1].shape[1:]:
            raise DataError(f"{path} has images of {size(x)} pixels, and {images[0][0]} of {size(images[0][1])}.")
    return torch.cat([x for _, x in images]), torch.cat([y for _, y in labels])


def labels_beside(path: str) -> str:
    """The file of the labels that belong to this one of images. Raises DataError where there is none."""
    file = Path(path)
    name = file.name.replace("images", "labels").replace("idx3", "idx1")
    names = [name, f"{name}.gz", name.removesuffix(".gz")]
    found = next((other for other in names if other != file.name and (file.parent / other).exists()), None)
    if found is None:
        raise DataError(
            f"{path} has no labels beside it, such as {file.parent / name}; give the file of its labels too."
        )
    return str(file.parent / found)


def read_idx(path: str) -> Tensor:
    """Images (N, height, width) or labels (N,). Raises DataError where it is neither, or cut."""
    raw = _bytes(path)
    axes = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else 0
    if axes not in (IMAGES, LABELS):
        raise DataError(
            f"{path} is no IDX file of images or labels: expected it to begin with 00 00 08 and 03 or 01, "
            f"got {raw[:4].hex(' ') or 'nothing'}."
        )
    begin = 4 + 4 * axes
    if len(raw) < begin:
        raise DataError(f"The IDX file {path} ends before it says how much it holds.")
    shape = struct.unpack(f">{axes}I", raw[4:begin])
    if len(raw) - begin != math.prod(shape):
        raise DataError(
            f"The IDX file {path} says that it holds {' x '.join(map(str, shape))} bytes, and holds "
            f"{len(raw) - begin}; it may have been cut."
        )
    if not math.prod(shape):
        raise DataError(f"The IDX file {path} is empty.")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=begin).view(shape)


def size(images: Tensor) -> str:
    """Of each image of (..., height, width), as width by height."""
    height, width = images.shape[-2:]
    return f"{width}x{height}"


def _bytes(path: str) -> bytes:
    raw = files.content(Path(path), "images or labels in IDX form")
    try:
        return gzip.decompress(raw) if raw[:2] == GZIP else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The IDX file {path} cannot be read: {str(error).rstrip('.')}.") from None
