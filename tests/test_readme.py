"""What the README promises runs: its Python, its commands, and the examples."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.small import here, small
from tests.cli.test_commands import MODEL

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def desk(tmp_path, text):
    """A folder with the files that the README names."""
    (tmp_path / "notes.txt").write_text(text.read_text())
    (tmp_path / "other.txt").write_text(text.read_text()[:500])
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def test_the_python_in_the_readme_runs(desk):
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    assert code
    fast = "import retrograd.experiments.work as t; t.DEFAULT_MINUTES = 0.02\n"
    subprocess.run([sys.executable, "-c", fast + code], cwd=desk, check=True, capture_output=True, timeout=240)


def test_the_commands_in_the_readme_run(desk, monkeypatch):
    monkeypatch.chdir(desk)
    lines = [
        line.split("#")[0].strip() for language, block in BLOCKS if language == "sh" for line in block.splitlines()
    ]
    commands = [line for line in lines if line.startswith("retrograd ") and "demo" not in line]
    assert len(commands) >= 6
    for line in commands:
        arguments = shlex.split(line.removeprefix("retrograd "))
        if "--resume" in arguments:
            arguments[-1] = "12"  # steps
        elif "--config" not in arguments:
            arguments = small(arguments)
        done = here(arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}"


def test_the_scripts_of_the_readme_are_there_and_can_be_run():
    for name in re.findall(r"^(scripts/\w+)", "\n".join(block for _, block in BLOCKS), re.MULTILINE):
        assert (ROOT / name).stat().st_mode & 0o111, name


def test_the_map_names_every_part_of_the_house_and_nothing_else():
    [tree] = [block for language, block in BLOCKS if language == "text" and "retrograd/" in block]
    named = set(re.findall(r"^    (\w+)(?:/|\.py)", tree, re.MULTILINE))
    parts = {p.stem for p in (ROOT / "retrograd").iterdir() if p.suffix in ("", ".py") and not p.name.startswith("_")}
    assert named == parts


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_run(path, tmp_path):
    subprocess.run([sys.executable, str(path)], cwd=tmp_path, check=True, capture_output=True, timeout=240)


ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `benchmarks/results/(\w+)\.json` \|$", README, re.MULTILINE)


@pytest.mark.parametrize(("what", "figure", "name"), ROWS)
def test_figures_in_the_readme_are_those_of_the_benchmark(what, figure, name):
    """Every number of the row, as it is rounded there, is a number of the file."""
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    measured = list(numbers(result))
    shown = re.findall(r"\d+(?:\.\d+)?", re.sub(r"\(.*?\)", "", figure))
    assert shown
    for number in shown:
        places = len(number.partition(".")[2])
        scales = (1, 100, 1e-3, 1e-6) if "%" in figure or "B" in figure else (1,)
        assert any(f"{x * scale:.{places}f}" == number for x in measured for scale in scales), (what, number)


def numbers(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


def test_there_is_a_table_of_figures():
    assert len(ROWS) >= 7
