"""retrograd fix: predicted, applied, measured again, and a short training of both."""

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from retrograd.cli import fix as verb
from retrograd.cli import target
from retrograd.cli.app import app
from retrograd.errors import UsageError
from retrograd.experiments.fixing import fix
from retrograd.reports.sparkline import BLOCKS
from tests.cli.command import everything, one_sentence, retrograd

MODEL = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy

T, V = 16, 6

class Recall(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(V, 8), nn.RNN(8, 32), nn.Linear(32, V)

    def forward(self, x):
        return self.head(self.rnn(self.embedding(x))[0][-1])

def batches():
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(V, (T, 16), generator=generator)

def loss(model, tokens):
    return cross_entropy(model(tokens), tokens[0])

def make():
    torch.manual_seed(0)
    return Recall(), loss, batches

def one_batch():
    torch.manual_seed(0)
    model, tokens = Recall(), next(batches())
    return model, lambda m: loss(m, tokens)

def healthy():
    model, loss = one_batch()
    model.rnn = nn.GRU(8, 32)
    with torch.no_grad():
        model.rnn.bias_ih_l0[32:64] = 5
    return model, loss
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    """In this process, which is faster; (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_it_shows_both_measurements_both_curves_and_who_won(here):
    done = retrograd("fix", "model.py:make", "--need", "15", "--apply", "calibrated", "--steps", "150", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert said.startswith("calibrated (start): Orthogonal recurrent weights")
    assert "the gradient reached" in said
    assert "It was taken back." in said
    assert "The loss through 150 steps (Adam 0.003, clipped to 1), from 0 to" in said
    assert said.endswith("It learns with the remedy alone.")
    curves = [line for line in done.stdout.splitlines() if line.startswith("with") and " to " in line]
    plain, remedied = (set(line) & set(BLOCKS) for line in curves)
    assert len(plain) <= 2
    assert len(remedied) >= 5
    assert sorted(path.name for path in here.iterdir()) == ["model.py"]


def test_json_holds_all_of_it_and_the_page_both_measurements(here):
    flags = ("--need", "15", "--steps", "5", "--seeds", "2", "--json", "--html", "page.html")
    code, out, err = run("fix", "model.py:make", "--apply", "orthogonal=1.2", *flags)
    assert err == "Wrote page.html.\n"
    shown = json.loads(out)
    assert (shown["remedy"], shown["kind"]) == ("orthogonal=1.2", "start")
    assert shown["before"]["measurements"]["now"]["horizon"]["steps"] < 15
    assert shown["gained"] == sum(
        sign * shown[name]["measurements"]["now"]["horizon"]["steps"] for name, sign in (("after", 1), ("before", -1))
    )
    assert [len(pair["remedied"]["curve"]) for pair in shown["trained"]["pairs"]] == [5, 5]
    assert code == (0 if shown["helps"] else 3)
    page = (here / "page.html").read_text()
    assert "orthogonal=1.2 (start)" in page
    assert "with it" in page


def test_the_first_remedy_is_the_one_that_is_named_and_a_loss_without_batches_will_do(here):
    code, out, err = run("fix", "model.py:one_batch", "--need", "15", "--steps", "0")
    assert code == 0, err
    assert "The loss through" not in out
    assert " (start): " in out or " (architecture): " in out


def test_what_does_not_help_is_told_by_the_exit_code(here):
    flags = ("--need", "15", "--apply", "spectral-radius=0.1", "--steps", "2")
    code, out, _ = run("fix", "model.py:make", *flags)
    assert code == 3
    assert "still: " in out


def test_where_nothing_is_wrong_nothing_is_done(here):
    code, out, err = run("fix", "model.py:healthy", "--need", "15")
    assert (code, err) == (0, "")
    assert out.startswith("No remedy is named: nothing wrong was found.")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("fix model.py:make --apply calibrate", 2, "the nearest is 'calibrated'"),
        ("fix model.py:make --apply forget-bias=3", 2, "needs a gate that keeps"),
        ("fix model.py:make --apply forget-bias=much", 2, "A remedy takes numbers"),
        ("fix runs/mine", 2, "runs/mine is no FILE.py:FUNCTION"),
        ("fix none.py:make", 2, "No file is at none.py"),
        ("fix model.py:make --lr 0", 2, "learning rate must be positive"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(here, arguments, code, sentence):
    before = everything(here)
    found, out, err = run(*arguments.split(), "--need", "15")
    assert found == code
    assert sentence in err
    one_sentence(out, err)
    assert everything(here) == before


def written(folder, body):
    (folder / "m.py").write_text(body)
    return "m.py:make"


def test_a_target_has_batches_or_none(here):
    assert next(target.load("model.py:make").batches()) is not None
    assert target.load("model.py:one_batch").batches is None


def test_diagnose_takes_the_batches_of_a_target(here):
    found, out, _ = run("diagnose", "model.py:make", "--json")
    assert found == 0
    assert json.loads(out)["subject"]["batches"] == 4


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ("1, 2", r"must return \(model, loss\).*or \(model, loss, batches\).*got tuple of int, int"),
        ("print, print, 3, 4", "got tuple of .*builtin_function_or_method, int, int"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(here, made, sentence):
    with pytest.raises(UsageError, match=sentence):
        target.load(written(here, f"def make(): return {made}"))


@pytest.mark.parametrize("verb", ["diagnose", "fix"])
def test_batches_that_are_none_are_refused(here, verb):
    make = written(here, "import torch\ndef make(): return torch.nn.GRU(3, 8), print, 3")
    found, _, said = run(verb, make)
    assert found == 2
    assert "The batches must be a list of them, or a function that gives them one by one; got int" in said


class Recall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(3, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


def test_a_remedy_of_the_training_is_named_without_and_with():
    torch.manual_seed(0)
    x, y = torch.randn(9, 4, 3), torch.randint(3, (4,))
    fixed = fix(Recall(), lambda m: cross_entropy(m(x), y), "flossing", 2, 5, need=8, steps=5)
    lines = verb.lines(fixed, width=80)
    assert max(map(len, lines)) <= 80
    names = [line.split("  ")[0] for line in lines if "horizon" in line and line.startswith("with")]
    assert names == ["without it", "with it"]
    assert any(line.startswith("After 5 steps of training") for line in lines)
    assert json.loads(verb.as_json(fixed))["trained"]["pairs"][0]["remedied"]["statistics"]["flossed"] == 5


def test_a_curve_is_drawn_from_zero_and_a_nan_is_shown():
    assert verb._spark([2.0, 2.0, 1.0, 1.0, 0.0, 0.0], 2.0, 3) == "█▅▁"
    assert verb._spark([1.0, float("nan"), float("inf")], 1.0, 3) == "█?∞"
