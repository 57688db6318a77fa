"""The house is a test: who may import whom, how long a file may be, and what must not be there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "retrograd"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYER = {
    "errors": 1,
    "checksums": 1,
    "numerics": 1,
    "config": 2,
    "runs": 2,
    "init": 2,
    "cells": 3,
    "bptt": 4,
    "models": 5,
    "tasks": 5,
    "training": 5,
    "trace": 5,
    "measures": 6,
    "diagnosis": 7,
    "remedies": 7,
    "reports": 8,
    "experiments": 9,
    "explore": 9,
    "board": 9,
    "cli": 10,
}
STRANGERS = {"models", "tasks", "training", "trace"}  # on one layer, and none knows another
LEARN = {"models", "tasks", "training"}
EXPLAIN = {"trace", "measures", "diagnosis", "remedies", "reports"}
RARE = {
    "matplotlib",
    "jinja2",
    "tensorboard",
    "starlette",
    "sklearn",
    "tokenizers",
    "sacrebleu",
    "lightning",
    "transformers",
    "ray",
}
HEAVY = {"torch", "safetensors", "pydantic", "rich", "numpy"}

MAX_FILE, MAX_FUNCTION = 400, 50


def unit(path: Path) -> str:
    """The part of the house a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> list[str]:
    """Every module that a file imports, in full; those under TYPE_CHECKING are not imported."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def ours(path: Path) -> set[str]:
    names = (name.split(".") for name in imports(path))
    return {parts[1] for parts in names if parts[0] == "retrograd" and len(parts) > 1}


HOUSE = [path for path in FILES if unit(path) not in ("__init__", "__main__")]
MODULES = [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in HOUSE]


@pytest.mark.parametrize("path", MODULES)
def test_imports_go_down(path):
    me = unit(path)
    for other in ours(path) - {me}:
        assert other in LAYER, f"{path} imports retrograd.{other}, which has no place in the house"
        assert LAYER[other] <= LAYER[me], f"{me} (layer {LAYER[me]}) imports {other} (layer {LAYER[other]})"
        assert not {me, other} <= STRANGERS, f"{me} and {other} must not know each other"


@pytest.mark.parametrize("path", MODULES)
def test_learning_and_explaining_meet_in_experiments_only(path):
    me, others = unit(path), ours(path)
    if me in LEARN:
        assert not others & EXPLAIN
    if me in EXPLAIN:
        assert not others & LEARN


@pytest.mark.parametrize("path", MODULES)
def test_rare_packages_are_imported_where_they_are_used(path):
    top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not top & RARE
    if unit(path) == "cli" and path.stem != "live":
        assert not top & HEAVY, "the command line must answer --help without loading these"


def test_opinions_touch_no_tensor_and_reports_compute_nothing():
    for path in HOUSE:
        if unit(path) in ("diagnosis", "reports"):
            assert "torch" not in {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("path", MODULES)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = body[-1].end_lineno - body[0].lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES)
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_nothing_is_called_utils_and_nothing_is_left_to_do():
    for path in FILES:
        assert "util" not in path.stem
        assert "TODO" not in path.read_text(), path


def test_nothing_reads_a_pickle():
    for path in FILES:
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"pickle", "shelve", "marshal", "dill", "joblib"}, path
        loads = re.findall(r"torch\.load\(.*", path.read_text())  # others' weights: tensors only, no code is run
        assert all("weights_only=True" in load for load in loads), path


@pytest.mark.parametrize("statement", ["import retrograd", "import retrograd.cli.app"])
def test_torch_is_loaded_only_where_it_is_needed(statement):
    heavy = sorted(HEAVY | RARE)
    code = f"{statement}; import sys; print([name for name in {heavy!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_tests_mirror_the_package():
    tests = Path(__file__).parent
    for folder in (path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"):
        assert list((tests / folder.name).glob("test_*.py")), f"tests/{folder.name} has no test"
