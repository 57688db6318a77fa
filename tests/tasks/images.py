"""Small sets of images on disk: IDX files as MNIST has them, and a folder with a subfolder for each class."""

import gzip
import struct
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def idx(x: Tensor) -> bytes:
    """Bytes of any shape as an IDX file."""
    return bytes([0, 0, 8, x.dim()]) + struct.pack(f">{x.dim()}I", *x.shape) + bytes(x.flatten().tolist())


def mnist(
    folder: Path, *, count: int = 40, height: int = 3, width: int = 2, classes: int = 4, part: str = "train"
) -> str:
    """A pair of IDX files under MNIST's own names, the labels compressed; the path of the images."""
    draw = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, height, width), generator=draw, dtype=torch.uint8)
    path = folder / f"{part}-images-idx3-ubyte"
    path.write_bytes(idx(images))
    labels = torch.arange(count, dtype=torch.uint8) % classes
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return str(path)


def pictures(folder: Path, greys: dict[str, list[int]], *, size: tuple[int, int] = (3, 2)) -> str:
    """Images of one grey each, by class; the path of the folder."""
    for name, values in greys.items():
        (folder / name).mkdir(parents=True)
        for i, grey in enumerate(values):
            Image.new("L", size, grey).save(folder / name / f"{i:03d}.png")
    return str(folder)
