"""The tensors inside what a function is called with and what it returns: tuples, lists and dicts of any depth.

leaves((x, (h, c)))  ->  ((0,), x), ((1, 0), h), ((1, 1), c)          a path is the keys that lead to a tensor
"""

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


def at(tree: Any, path: Path) -> Tensor | None:
    """The tensor at that path, or None where there is none."""
    for key in path:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
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
        other = type(tree).__new__(type(tree))  # such as an output class that is a dict of its attributes
        other.__dict__.update(getattr(tree, "__dict__", {}))
        other.update(new)
        return other
    if isinstance(tree, tuple | list):
        values = [mapped(value, change, (*path, i)) for i, value in enumerate(tree)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree
