"""docs/systems.md has a row for each of the 35 systems, and every command in it runs, in order, at a small size."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.small import here, small

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "systems.md").read_text()
COMMANDS = [shlex.split(found) for found in re.findall(r"`retrograd ([^`]*)`", PAGE) if "RUN" not in found]
EXTRA = {"naive-bayes", "digits", "bayes"}  # need scikit-learn


def needs_an_extra(arguments: list[str]) -> bool:
    return bool(EXTRA & set(arguments))


@pytest.fixture(scope="module")
def desk(text, tmp_path_factory):
    """A folder with the files that the page names."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "notes.txt").write_text(text.read_text())
    (folder / "hello.txt").write_text("hello\n" * 200)
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


def test_every_system_has_a_row():
    rows = re.findall(r"^\| (S\d+) \|", PAGE, re.MULTILINE)
    assert sorted(rows, key=lambda row: int(row[1:])) == [f"S{n}" for n in range(1, 36)]


def test_every_system_has_an_example():
    rows = re.findall(r"^\| `(examples/\w+\.py)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert sorted(path for path, _ in rows) == sorted(f"examples/{p.name}" for p in (ROOT / "examples").glob("*.py"))
    assert {row for _, named in rows for row in named.split(", ")} == {f"S{n}" for n in range(1, 36)}


def run(arguments, desk, monkeypatch):
    monkeypatch.chdir(desk)
    done = here(small(arguments))
    assert done.exit_code in (0, 3), f"{arguments}\n{done.output}"  # 3: a diagnosis with an error in it
    return done.output


@pytest.mark.parametrize("arguments", [c for c in COMMANDS if not needs_an_extra(c)], ids=" ".join)
def test_a_command_of_the_page_runs(arguments, desk, monkeypatch):
    assert run(arguments, desk, monkeypatch)


@pytest.mark.extra
@pytest.mark.parametrize("arguments", [c for c in COMMANDS if needs_an_extra(c)], ids=" ".join)
def test_a_command_of_the_page_that_needs_an_extra_runs(arguments, desk, monkeypatch):
    assert run(arguments, desk, monkeypatch)
