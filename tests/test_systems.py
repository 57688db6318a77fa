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
SHOWN = {  # part of a command, and what it must print
    "train notes.txt": "perplexity",
    "--model ngram": "share never seen",
    "report counts": "order",
    "--model window": "looks back  4",
    "--cell multi-tap": "taps",
    "--task sentiment": "Success by kind",
    "label ": "%",
    "train --task translation": "exact match",
    "coloured-shapes": "exact match",
    "agreement": "Accuracy by attractors: pronoun",
    "train --task tagging": "Success by context",
    "train --task recall": "Success by gap",
    "train --task copying": "Success by blanks",
    "train --task adding": "Success by length",
    "train --task temporal-order": "Success by length",
    "latch --set": "Success by length",
    "train --task digits": "Success by class",
    "-adding.toml": "squared error",
    "diagnose ": "How far back the gradient reaches",
    "diagnose rnn --all": "bound",
    "diagnose recall --all": "depth",
    "report clipped": "share of steps clipped",
    "explore paths": "autograd",
    "explore tied": "autograd",
    "explore eigenvalues": "spectral radius",
    "explore optimizers": "2.871375",
    "compare notes.txt": "told apart",
}


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
    allowed = (0, 3) if arguments[0] == "diagnose" else (0,)  # 3: a finding that is an error
    assert done.exit_code in allowed, f"{arguments}\n{done.output}"
    assert done.output
    shown = [word for part, word in SHOWN.items() if part in " ".join(arguments)]
    assert all(word in done.output for word in shown), f"{arguments}\n{done.output}"


@pytest.mark.parametrize("arguments", [c for c in COMMANDS if not needs_an_extra(c)], ids=" ".join)
def test_a_command_of_the_page_runs_and_prints_what_it_is_for(arguments, desk, monkeypatch):
    run(arguments, desk, monkeypatch)


@pytest.mark.extra
@pytest.mark.parametrize("arguments", [c for c in COMMANDS if needs_an_extra(c)], ids=" ".join)
def test_a_command_of_the_page_that_needs_an_extra_runs_too(arguments, desk, monkeypatch):
    run(arguments, desk, monkeypatch)
