"""The verbs as a person or a script uses them."""

import json
import os
import subprocess
import sys

import pytest

from retrograd.bptt.native import library
from retrograd.runs import Run
from tests.cli.command import retrograd

FAST = ["--hidden", "16", "--window", "16", "--steps", "12"]


@pytest.fixture(scope="module")
def plain(text, tmp_path_factory):
    """A training without a terminal, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("plain")
    return retrograd("train", str(text), *FAST, cwd=folder, env={**os.environ, "NO_COLOR": "1"}), folder


def test_the_plan_comes_first_and_the_figures_last(plain):
    done, _ = plain
    assert done.returncode == 0, done.stderr
    plan, _, rest = done.stdout.partition("\n\n")
    for word in ("data", "types", "parameters", "first loss ln", "horizon", "the window is 16"):
        assert word in plan
    assert "test nats" in rest
    assert "perplexity" in rest
    assert "retrograd report runs" in rest
    assert "\x1b" not in done.stdout, "no terminal, no escape codes"


def test_a_run_without_a_name_lies_under_runs(plain):
    _, folder = plain
    [run] = (folder / "runs").iterdir()
    assert run.name.endswith("mat-lstm")
    assert Run(run).status() == "finished"


def test_json_is_one_object_on_stdout_and_the_rest_on_stderr(text, tmp_path):
    done = retrograd("train", str(text), *FAST, "--json", "--out", "run", cwd=tmp_path)
    summary = json.loads(done.stdout)
    assert summary["status"] == "finished"
    assert summary["steps"] == 12
    assert summary["report"]["figures"]["test nats"] > 0
    assert "first loss" in done.stderr


@pytest.mark.parametrize("kernels", ["off", ""])
def test_it_says_once_that_there_are_no_kernels(text, tmp_path, monkeypatch, kernels):
    monkeypatch.setenv("RETROGRAD_KERNELS", kernels)
    done = retrograd("train", str(text), *FAST, "--out", "run", cwd=tmp_path)
    assert " backend, " in done.stdout
    said = 1 if kernels else int(isinstance(library(), str))
    assert done.stdout.count("kernels   torch's, for ") == said


def test_quiet_prints_only_the_result(text, tmp_path):
    done = retrograd("train", str(text), *FAST, "--quiet", "--out", "run", cwd=tmp_path)
    assert "backend" not in done.stdout
    assert "test nats" in done.stdout
    assert not done.stderr


def test_flags_beat_the_file_and_set_beats_flags(text, tmp_path):
    (tmp_path / "c.toml").write_text("[model]\nhidden = 9\nlayers = 2\n[training]\nepochs = 7\nwindow = 16\n")
    flags = ["--config", "c.toml", "--hidden", "10", "--steps", "2", "--set", "model.hidden=11"]
    assert retrograd("train", str(text), *flags, "--out", "run", cwd=tmp_path).returncode == 0
    settings = Run(tmp_path / "run").config()
    assert (settings.model.hidden, settings.model.layers) == (11, 2)
    assert (settings.training.steps, settings.training.epochs) == (2, None)


def test_a_runs_own_config_needs_nothing_beside_it(trained, tmp_path):
    config = str(trained.run.path / "config.toml")
    assert retrograd("train", "--config", config, "--out", "again", cwd=tmp_path).returncode == 0
    assert Run(tmp_path / "again").config() == trained.run.config()


@pytest.mark.parametrize("level", ["word", "byte", pytest.param("bpe", marks=pytest.mark.extra)])
def test_every_level_trains_generates_and_evaluates(level, text, tmp_path):
    sizes = ["--set", "data.vocabulary=300"]
    done = retrograd("train", str(text), *FAST, *sizes, "--level", level, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = retrograd("generate", "run", "--prompt", "the cat", "--length", "9", "--seed", "1", cwd=tmp_path)
    assert written.stdout.startswith("the cat")
    (tmp_path / "known.txt").write_text("the cat sat on the mat\n" * 5)
    figures = json.loads(retrograd("evaluate", "run", "known.txt", "--json", cwd=tmp_path).stdout)["figures"]
    assert figures["perplexity"] > 1
    assert figures["unknown share"] == 0


def test_evaluate_counts_every_token_and_tells_unknown_ones(trained, tmp_path):
    (tmp_path / "other.txt").write_text("the cat \u00df\n" * 10)
    done = retrograd("evaluate", str(trained.run.path), "other.txt", "--json", cwd=tmp_path)
    figures = json.loads(done.stdout)["figures"]
    assert figures["test tokens"] == 100
    assert figures["unknown share"] == pytest.approx(0.1)


def test_report_and_diagnose_speak_json_and_plain(trained, tmp_path):
    run = str(trained.run.path)
    for verb in ("report", "diagnose"):
        assert "horizon" in retrograd(verb, run, cwd=tmp_path).stdout.lower()
        assert json.loads(retrograd(verb, run, "--json", cwd=tmp_path).stdout)["measurements"]


def test_diagnose_takes_every_measure_of_a_run(trained, tmp_path):
    plain, whole = (
        json.loads(retrograd("diagnose", str(trained.run.path), "--json", *more, cwd=tmp_path).stdout)["measurements"]
        for more in ((), ("--all",))
    )
    assert whole["now"]["horizon"] == plain["now"]["horizon"]
    assert whole["now"]["saturation"] == plain["now"]["saturation"]
    assert all(value is not None for value in whole["now"].values())
    assert plain["now"]["lyapunov"] is None


def test_diagnose_takes_the_need_of_the_task(trained, tmp_path):
    done = retrograd("diagnose", str(trained.run.path), "--need", "5000", "--json", cwd=tmp_path)
    codes = [finding["code"] for finding in json.loads(done.stdout)["findings"]]
    assert "vanishing" in codes


MODEL = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    rnn, head, x = nn.RNN(4, 32), nn.Linear(32, 1), torch.randn(80, 3, 4)
    model = nn.ModuleDict({"rnn": rnn, "head": head})
    return model, lambda m: m["head"](m["rnn"](x)[0]).squeeze(-1).square()
"""


def test_diagnose_takes_anybodys_model_and_tells_by_its_exit_code(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    note = retrograd("diagnose", "model.py:make", cwd=tmp_path)
    assert (note.returncode, note.stderr) == (0, "")
    assert "note: The gradient reaches" in note.stdout
    found = retrograd("diagnose", "model.py:make", "--need", "50", "--json", "--html", "page.html", cwd=tmp_path)
    assert found.returncode == 3
    assert found.stderr == "Wrote page.html.\n"
    [finding] = json.loads(found.stdout)["findings"]
    assert (finding["code"], finding["severity"]) == ("vanishing", "error")
    assert "rg.fix(model, loss" in (tmp_path / "page.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.py", "page.html"]


def test_anybodys_file_may_be_called_and_print_and_import_what_it_likes(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "neighbour.py").write_text("print('noise')")
    (tmp_path / "html.py").write_text(MODEL.replace("def make():", "def make():\n    import neighbour"))
    command = [
        sys.executable,
        "-P",
        "-m",
        "retrograd",
        "diagnose",
        "html.py:make",
    ]  # as the script, which adds no folder
    done = subprocess.run(
        [*command, "--json", "--html", "page.html"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["measurements"]
    assert "noise" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["html.py", "neighbour.py", "page.html"]


def test_diagnose_does_not_judge_what_its_slice_cannot_show(text, tmp_path):
    flags = ["--cell", "additive", "--hidden", "8", "--window", "16", "--steps", "2", "--out", "run"]
    assert retrograd("train", str(text), *flags, cwd=tmp_path).returncode == 0
    done = retrograd("diagnose", "run", "--need", "5000", cwd=tmp_path)
    assert done.returncode == 1
    assert "whether it reaches 5000 is not known" in done.stderr
    assert retrograd("diagnose", "run", "--need", "16", cwd=tmp_path).returncode == 0
    beyond = retrograd("diagnose", "run", "--need", "40", "--json", cwd=tmp_path)
    assert beyond.returncode == 3, "the gradient would reach so far, and the window of its training does not"
    assert [finding["code"] for finding in json.loads(beyond.stdout)["findings"]] == ["window-too-short"]


def test_help_and_version_answer(tmp_path):
    assert "generate" in retrograd("--help", cwd=tmp_path).stdout
    assert retrograd("--version", cwd=tmp_path).stdout.startswith("retrograd 0.")
