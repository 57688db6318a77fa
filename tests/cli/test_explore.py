"""retrograd explore: what it prints, what it writes, and one sentence with exit code 2 for what cannot be."""

import subprocess
import sys

import pytest

from retrograd import runs
from retrograd.cli.explore import app
from retrograd.explore import EXPLORATIONS

FAST = {
    "scalar": [],
    "eigenvalues": ["--matrix", "0.5 1; -1 0.5"],
    "derivatives": [],
    "depth": ["--layers", "5", "--width", "8"],
    "optimizers": [],
    "paths": [],
    "tied": [],
    "taps": ["--taps", "1 2,3", "--size", "8", "--steps", "20"],
    "forgetting": ["--cells", "rnn lstm:forget_bias=3", "--size", "8", "--steps", "12"],
}


@pytest.fixture
def explore(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        """The exit code, and what was printed on stdout and on stderr."""
        with pytest.raises(SystemExit) as left:
            app(args=list(map(str, arguments)), prog_name="retrograd explore")
        return left.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", FAST)
def test_it_prints_a_title_a_sentence_and_a_table_in_eighty_columns(explore, name):
    code, shown, errors = explore(name, *FAST[name])
    assert (code, errors) == (0, "")
    title, sentence, table = shown.split("\n\n")
    assert title.count("\n") == 0
    assert sentence.endswith(".")
    assert len(table.splitlines()) > 1
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("name", FAST)
def test_its_json_is_one_object_and_the_files_are_told_on_stderr(explore, name):
    code, shown, errors = explore(name, *FAST[name], "--json", "--csv", "new/it.csv")
    assert code == 0
    assert {"title", "said"} < runs.from_json(shown).keys()
    assert errors == "Wrote new/it.csv.\n"


def test_the_list_tells_each_of_them_in_one_whole_line(explore):
    code, shown, _ = explore("--help")
    told = {line.split()[0]: line for line in shown.split("Commands:")[1].splitlines() if line.strip()}
    assert code == 0
    assert set(told) == set(EXPLORATIONS)
    assert all(line.endswith(".") and not line.endswith("...") for line in told.values())


def test_the_page_and_the_pictures_are_written_beside_what_is_printed(explore, tmp_path):
    files = {kind: tmp_path / f"it.{kind}" for kind in ("html", "png", "svg", "csv")}
    flags = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    code, shown, _ = explore("optimizers", *flags)
    assert code == 0
    assert [f"Wrote {file}." for file in files.values()] == shown.splitlines()[:4]
    assert "2.05281375     -0.4612075" in shown
    heads = (b"<!doctype html>", b"\x89PNG", b"<?xml", b"optimiser,step")
    assert all(file.read_bytes().startswith(head) for file, head in zip(files.values(), heads, strict=True))
    files["png"].write_bytes(b"mine")
    assert explore("optimizers", "--png", files["png"])[0] == 2
    assert files["png"].read_bytes() == b"mine"
    assert explore("optimizers", "--png", files["png"], "--force")[0] == 0
    assert files["png"].read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("eigenvalues --matrix 1,2;3", "must be square"),
        ("eigenvalues --matrix ;", "got no number"),
        ("eigenvalues --matrix a", "got 'a'"),
        ("eigenvalues --matrix inf", "finite number, got inf"),
        ("eigenvalues --matrix 1 --start default", "not both"),
        ("eigenvalues --matrix 1 --vector 1,2", "takes 1 number, got 2"),
        ("eigenvalues --start ortogonal", "nearest is 'orthogonal'"),
        ("eigenvalues --start forget_bias", "needs a gate"),
        ("eigenvalues --size -3", "Size must be a whole number from 1"),
        ("eigenvalues --seed -1", "Seed must be"),
        ("scalar --steps 1", "before the last of the 1 steps"),
        ("scalar --weights x", "--weights takes numbers"),
        ("scalar --activations tahn", "nearest is 'tanh'"),
        ("scalar --start nan", "finite"),
        ("derivatives --reach -1 --png new/x.png", "The reach must be"),
        ("depth --layers 0", "Layers must be"),
        ("depth --width 100000", "Width must be"),
        ("optimizers --quadratic 1,2", "takes 3 numbers, got 2"),
        ("optimizers --momentum 1", "under 1"),
        ("paths --steps 0", "Steps must be"),
        ("paths --activation tahn", "nearest is 'tanh'"),
        ("tied --rate 0", "rate must be a positive number, got 0"),
        ("tied --updates 0", "Updates must be"),
        ("tied --start ortogonal", "nearest is 'orthogonal'"),
        ("taps --taps 1,x", "--taps takes sets of whole numbers, such as '1 4 1,4'; got '1,x'"),
        ("taps --taps 0", "different whole numbers of steps from 1"),
        ("taps --taps 400 --size 64", "at most 4,096, got 400 times 64"),
        ("taps --start identity --taps 1,4", "of 2 taps, which would grow"),
        ("forgetting --cells lstn", "nearest is 'lstm'"),
        ("forgetting --steps 2", "Steps must be a whole number from 8"),
        ("derivatives --png there/there.txt", "is there already"),
        ("derivatives --png there", "is a folder"),
        ("derivatives --png there/there.txt/x.png", "is a file"),
        ("derivatives --png a --svg a", "same name"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(explore, tmp_path, arguments, said):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "there.txt").write_text("mine")
    code, shown, errors = explore(*arguments.split())
    assert (code, shown) == (2, "")
    assert errors.startswith("retrograd: ")
    assert errors.count("\n") == 1
    assert said in errors
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["there", "there.txt"]
    assert (tmp_path / "there" / "there.txt").read_text() == "mine"


def test_help_needs_nothing_heavy():
    code = "import retrograd.cli.explore, sys; print([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
