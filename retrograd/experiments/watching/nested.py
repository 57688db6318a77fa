"""Tensors inside what a model is given and what it returns: tuples, lists, dicts, dataclasses, packed sequences.

leaves(output)                  -> ("0", tensor), ("1.0", tensor) ...       every tensor, and its path
mapped(arguments, change)       -> the same structure, change(path, tensor) in each tensor's place
encoded(arguments)              -> (plain JSON, tensors by path)            and `decoded` back; nothing is pickled
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from retrograd.errors import NotMeasured
from retrograd.runs import NAMES

Change = Callable[[str, Tensor], Any]
DEEP, LONG = 8, 10_000  # a structure is not entered further down, nor a list that is longer
PLAIN = frozenset({bool, int, float, str, type(None)})


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its path; of a packed sequence its rows, as "data"."""
    if isinstance(value, Tensor):
        yield path, value
    elif type(value) not in PLAIN:
        for name, item in _items(value, path):
            yield from leaves(item, f"{path}.{name}" if path else name)


def mapped(value: Any, change: Change, path: str = "") -> Any:
    """A copy of the structure with other tensors in it; what is neither a tensor nor holds one stays what it is."""
    if isinstance(value, Tensor):
        return change(path, value)
    items = _items(value, path)
    found = {name: mapped(item, change, f"{path}.{name}" if path else name) for name, item in items}
    if all(found[name] is item for name, item in items):
        return value
    if isinstance(value, PackedSequence):
        return value._replace(**found)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*found.values())
    if isinstance(value, tuple | list):
        return type(value)(found.values())
    changed = copy.copy(value)
    for key, item in zip(_keys(value), found.values(), strict=True):
        if isinstance(value, Mapping):
            changed[key] = item
        else:
            object.__setattr__(changed, key, item)  # a dataclass, which may be frozen
    return changed


def _items(value: Any, path: str) -> list[tuple[str, Any]]:
    kind = type(value)
    if kind in PLAIN or path.count(".") >= DEEP:
        return []
    if kind is PackedSequence:
        return [("data", value.data)]  # the rest is how it is packed
    if kind is tuple or kind is list or isinstance(value, tuple | list):
        return [(str(i), item) for i, item in enumerate(value)] if len(value) <= LONG else []
    if kind is dict or isinstance(value, Mapping):
        return [(str(key), value[key]) for key in value] if len(value) <= LONG else []
    return [(key, getattr(value, key, None)) for key in _keys(value)]


def _keys(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    return []


def encoded(value: Any, name: str) -> tuple[Any, dict[str, Tensor]]:
    """What JSON can hold, and the tensors, named after `name` and their path.

    Raises NotMeasured, with the name of the argument, for an object that is neither a tensor nor plain.
    """
    tensors: dict[str, Tensor] = {}

    def code(x: Any, path: str) -> Any:
        if isinstance(x, Tensor):
            tensors[path] = x.detach()
            return {"tensor": path}
        if isinstance(x, PackedSequence):
            return {"packed": [code(part, f"{path}.{field}") for field, part in zip(x._fields, x, strict=True)]}
        if type(x) in (tuple, list, torch.Size):
            return {"list" if type(x) is list else "tuple": [code(item, f"{path}.{i}") for i, item in enumerate(x)]}
        if type(x) is dict:
            return {"dict": [[code(key, path), code(item, f"{path}.{key}")] for key, item in x.items()]}
        if type(x) in PLAIN:  # some words are how the file writes what JSON has no number for
            return {"text": list(x)} if x in NAMES else x
        if isinstance(x, torch.dtype | torch.device):
            return {type(x).__name__: str(x).removeprefix("torch.")}
        raise NotMeasured(
            f"{path} is a {type(x).__name__}, which cannot be kept: only tensors, plain values and tuples, lists and "
            "dicts of them are written, never a pickle."
        )

    return code(value, name), tensors


def decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What was encoded, with these tensors in it."""
    if not isinstance(value, dict):
        return value
    [(kind, inside)] = value.items()
    return DECODERS[kind](inside, lambda item: decoded(item, tensors), tensors)


DECODERS: dict[str, Callable[[Any, Callable[[Any], Any], Mapping[str, Tensor]], Any]] = {
    "tensor": lambda name, _, tensors: tensors[name],
    "text": lambda letters, *_: "".join(letters),
    "dtype": lambda name, *_: getattr(torch, name),
    "device": lambda name, *_: torch.device(name),
    "tuple": lambda items, decode, _: tuple(map(decode, items)),
    "list": lambda items, decode, _: list(map(decode, items)),
    "dict": lambda items, decode, _: {decode(key): decode(item) for key, item in items},
    "packed": lambda items, decode, _: PackedSequence(*map(decode, items)),
}
