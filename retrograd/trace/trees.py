"""The tensors inside what a function is called with and what it returns: tuples, lists, dicts and dataclasses.

leaves((x, (h, c)))  ->  ((0,), x), ((1, 0), h), ((1, 1), c)          a path is the keys that lead to a tensor
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

Path = tuple[Any, ...]


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor with its path."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, tuple | list):
        for i, value in enumerate(tree):
            yield from leaves(value, (*path, i))
    elif _is_record(tree):
        for one in dataclasses.fields(tree):
            yield from leaves(getattr(tree, one.name, None), (*path, one.name))


def at(tree: Any, path: Path) -> Tensor | None:
    """The tensor at that path, or None where there is none."""
    for key in path:
        if isinstance(tree, Tensor):
            return None
        try:
            tree = getattr(tree, key) if _is_record(tree) and not isinstance(tree, Mapping) else tree[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            return None
    return tree if isinstance(tree, Tensor) else None


def mapped(tree: Any, change: Callable[[Path, Tensor], Tensor], path: Path = ()) -> Any:
    """The same tree with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(path, tree)
    if isinstance(tree, dict):
        new = {key: mapped(value, change, (*path, key)) for key, value in tree.items()}
        if type(tree) is dict:
            return new
        other = copy.copy(tree)
        for key, value in new.items():  # one by one: an output class may set its attributes along with its items
            other[key] = value
        return other
    if isinstance(tree, tuple | list):
        values = [mapped(value, change, (*path, i)) for i, value in enumerate(tree)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    if _is_record(tree) and any(leaves(tree)):
        other = copy.copy(tree)
        for one in dataclasses.fields(tree):
            if hasattr(tree, one.name):
                value = mapped(getattr(tree, one.name), change, (*path, one.name))
                object.__setattr__(other, one.name, value)  # also of one that is frozen
        return other
    return tree


def _is_record(tree: Any) -> bool:
    return dataclasses.is_dataclass(tree) and not isinstance(tree, type)
