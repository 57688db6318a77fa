"""The public API is a list of names, and each is what it says."""

import ast
from pathlib import Path

import pytest

import retrograd as rg

ROOT = Path(__file__).parent.parent


def test_there_are_about_thirty_names():
    assert 20 <= len(rg.__all__) <= 45
    assert len(set(rg.__all__)) == len(rg.__all__)


@pytest.mark.parametrize("name", rg.__all__)
def test_every_name_is_there_and_says_what_it_is(name):
    thing = getattr(rg, name)
    own = (thing.__doc__ or "").removeprefix(f"{name}(")  # what dataclass writes is no sentence
    assert isinstance(thing, dict) or own == thing.__doc__
    assert name in dir(rg)


def test_no_name_hides_a_module():
    modules = {path.stem for path in (ROOT / "retrograd").iterdir()}
    assert not modules & set(rg.__all__)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "retrograd" / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert seen == set(rg.__all__)


def test_a_name_that_is_not_there_lists_those_that_are():
    with pytest.raises(AttributeError, match=r"retrograd has no 'trian'; it has .*train"):
        rg.trian  # noqa: B018
