"""Pictures as bytes (C, height, width): one channel where they are grey, three in colour."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retrograd.errors import DataError

CHANNELS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # modes of a file, and as what they are read
LUMA, WHOLE = (19_595, 38_470, 7_471), 2**16  # 0.299 red, 0.587 green, 0.114 blue, in parts of the whole


def read_picture(path: str | Path) -> Tensor:
    """One picture. Raises DataError for a file that is missing, is no picture, or is neither grey nor RGB."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a picture that is too large, or damaged
            with Image.open(path) as image:
                mode = image.mode
                pixels = np.array(image.convert(CHANNELS[mode])) if mode in CHANNELS else None
    except FileNotFoundError:
        raise DataError(f"No picture is at {path}.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a directory, no picture.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no picture that can be read; expected PNG, JPEG or the like.") from None
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise DataError(f"The picture {path} cannot be read: {error}.") from None
    if pixels is None:
        raise DataError(f"The picture {path} is of the kind {mode}; save it in grey (L) or colour (RGB), 8 bits each.")
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1).contiguous()


def grey(picture: Tensor) -> Tensor:
    """Its greys, (height, width) bytes: of colours their luma (ITU-R BT.601), to the nearest."""
    if len(picture) == 1:
        return picture[0]
    weights = torch.tensor(LUMA, dtype=torch.int32).view(3, 1, 1)
    return ((picture * weights).sum(0) + WHOLE // 2).div(WHOLE, rounding_mode="floor").to(torch.uint8)


def words_for(picture: Tensor) -> str:
    """Its size in words: "32 x 24 in colour", width first."""
    channels, height, width = picture.shape
    return f"{width} x {height} {'in grey' if channels == 1 else 'in colour'}"
