"""A look at a model without the further measures, and what frames are given to draw."""

import dataclasses
from collections.abc import Iterable

import pytest

from retrograd.reports.plots.frame import Frame
from tests.reports import examples
from tests.reports.measured import NAMES


@pytest.fixture(scope="module")
def end():
    return dataclasses.replace(examples.full().measurements["end"], **dict.fromkeys(NAMES))


@pytest.fixture
def calls(monkeypatch):
    """What the frames were given to draw: the method's name and its arguments."""
    found = []

    def spied(kind, original):
        def wrapped(self, *args, **kwargs):
            args = [list(x) if isinstance(x, Iterable) and not isinstance(x, str) else x for x in args]
            found.append((kind, args, kwargs))
            return original(self, *args, **kwargs)

        return wrapped

    for kind in ("line", "dots", "across", "down", "triangles", "crosses", "band", "area"):
        monkeypatch.setattr(Frame, kind, spied(kind, getattr(Frame, kind)))
    return found
