"""Weights from elsewhere, to start from: tensors by name, and nothing else.

.safetensors   by its own reader                 .pt .pth .bin   by torch's reader of tensors only, which runs no code

Ours go by their own names. Others' go by torch's names of recurrent layers, `weight_ih_l0` and so on behind any one
prefix; an embedding and a softmax beside them are told by their shapes.
"""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from retrograd.errors import DataError, RetrogradError
from retrograd.models import Network, Recurrent

RECURRENT = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)")
WANTED = "It must be a .safetensors file, or a .pt of tensors by name."
LISTED = 8  # of what else a file holds


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a file. Raises DataError where it holds anything else, with the list of it."""
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder. {WANTED}")
    if not path.is_file():
        raise DataError(f"No weights file is at {path}. {WANTED}")
    try:
        found = load_file(str(path)) if path.suffix == ".safetensors" else _read_torch(path)
    except RetrogradError:
        raise
    except Exception as error:  # what a damaged or hostile file makes torch's reader raise has no common class
        reason = (str(error).strip().splitlines() or [""])[0].split(". ")[0]
        raise DataError(
            f"The weights in {path} cannot be read as tensors ({type(error).__name__} {reason}). {WANTED}"
        ) from None
    if not isinstance(found, Mapping):
        raise DataError(f"{path} holds a {type(found).__name__}; expected tensors by name (a state dict).")
    others = [f"{name} ({type(value).__name__})" for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise DataError(f"{path} holds more than tensors: {_listed(others)}. Save the state dict alone.")
    for name, tensor in found.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
            kind = f"{tensor.dtype} {tensor.layout} on {tensor.device}".replace("torch.", "")
            raise DataError(f"The weights' {name} is {kind}; expected dense real numbers, such as float32.")
    return {str(name): tensor for name, tensor in found.items()}


def _read_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path) and (code := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))):
        raise DataError(
            f"{path} holds more than tensors: {_listed(code)}. None of it was read. Save the state dict alone."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that torch did not write: what they hold is told below
        return torch.load(path, map_location="cpu", weights_only=True)


def load_into(model: Network, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors into the model: all of ours, or a recurrent module of torch's with what stands beside it.

    Raises DataError where one fits nowhere, or one is missing, and changes nothing then.
    """
    own = dict(model.named_parameters(remove_duplicate=False))  # a tied one has two names
    ours = set(tensors) <= set(own)
    if ours:
        places = {name: name for name in tensors}
    elif isinstance(model, Recurrent):
        places = _places(model, tensors)
    else:
        raise DataError(
            f"The weights are {_listed(list(tensors))}; expected this model's own names: {_listed(list(own))}."
        )
    filled = {own[place] for place in places.values()}
    asked = [name for name, p in model.named_parameters() if p not in filled and (ours or name.startswith("stack."))]
    if asked:
        raise DataError(f"The weights lack {_listed(asked)}, which the model has; set the model's cell and layers.")
    for name, place in places.items():
        wanted, came = tuple(own[place].shape), tuple(tensors[name].shape)
        if wanted != came:
            raise DataError(f"The weights' {name} is {came}, the model's {place} is {wanted}; set the model's sizes.")
        if not tensors[name].isfinite().all():
            raise DataError(f"The weights' {name} holds a NaN or an infinity. Take an earlier save.")
    with torch.no_grad():
        for name, place in places.items():
            own[place].copy_(tensors[name])


def _places(model: Recurrent, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Where each of another's tensors goes."""
    matches = {name: match for name in tensors if (match := RECURRENT.fullmatch(name))}
    if len({match[1] for match in matches.values()}) != 1:
        raise DataError(
            f"The weights are {_listed(list(tensors))}; expected this model's own names, or torch's names of one "
            f"recurrent module, such as rnn.weight_ih_l0."
        )
    layers = {f"_l{depth}": f"stack.cells.{depth}." for depth in range(len(model.stack.layers))}
    own = {name: p.shape for name, p in model.named_parameters()}
    places: dict[str, str] = {}
    for name, match in matches.items():
        place = layers.get(f"_l{match[3]}", "") + match[2]
        _require(place in own, name, own)
        places[name] = place
    free = {name: shape for name, shape in own.items() if name not in places.values()}
    others = [name for name in tensors if name not in matches]
    for name in others:
        if free.get(name) == tensors[name].shape:  # its name is ours too
            places[name] = name
            del free[name]
    for name in others:
        if name in places:
            continue
        fitting = [place for place, shape in free.items() if shape == tensors[name].shape]
        _require(len(fitting) == 1, name, free)
        places[name] = fitting[0]
        del free[fitting[0]]
    return places


def _require(fits: bool, name: str, places: Mapping[str, torch.Size]) -> None:
    if not fits:
        wanted = ", ".join(f"{own} {tuple(shape)}" for own, shape in places.items())
        raise DataError(
            f"The weights' {name} fits none of the places that are left in the model, or several: {wanted}."
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
