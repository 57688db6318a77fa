"""retrograd runs, as a person and as a script uses it."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from retrograd import config
from retrograd.cli import overview, tables
from retrograd.cli import runs as verbs
from retrograd.cli.app import app
from retrograd.experiments.archive import catalogue
from retrograd.runs import Run

LONG = "20261121-143503-mat-lstm"


def made(path, *, steps=12_345, data="abc", seed=1):
    """A finished run's small files, without a training."""
    (path / "checkpoints").mkdir(parents=True)
    settings = {"training": {"steps": steps, "seed": seed}}
    (path / "config.toml").write_text(config.dump(config.make(settings)))
    run = Run(path)
    run.event("started", data=data, environment={"python": "3.11"})
    run.record(step=10, epoch=0.1, seconds=1.0, tokens_per_second=500)
    run.event("finished", step=steps)
    report = {"figures": {"validation nats": 1.5}, "findings": [{"code": "vanishing"}], "measurements": {}}
    (path / "report.json").write_text(json.dumps(report))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder in which runs/ has two runs and a broken one."""
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs" / LONG)
    made(tmp_path / "runs" / "other", steps=20, data="abd", seed=2)
    (made(tmp_path / "runs" / "bad") / "config.toml").write_text("[model\n")
    return tmp_path


def call(*arguments, **options):
    return CliRunner().invoke(app, ["runs", *arguments], **options)


@pytest.mark.parametrize("arguments", [[], ["list"], ["runs"], ["list", "runs"]])
def test_runs_alone_lists_and_so_does_runs_with_a_folder(here, arguments):
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[:3]] in (["name", LONG, "other"], ["name", "other", LONG])
    assert rows[3][:2] == ["bad", "unreadable"]
    assert "is not valid TOML" in done.stdout


def test_what_is_piped_is_plain_whole_and_falls_into_columns(here):
    shown = call().stdout
    assert "\x1b" not in shown
    [row] = [line for line in shown.splitlines() if line.startswith(LONG)]
    cells = [cell.strip() for cell in row.split("  ") if cell]
    assert [cells[i] for i in (0, 1, 3, 4, 5)] == [LONG, "finished", "lstm 1x512", "12,345", "1.500"]
    assert len(cells) == len(overview.HEAD)


@pytest.mark.parametrize("room", [64, 80])
def test_the_list_fits_a_terminal_and_keeps_the_names_whole(here, monkeypatch, room):
    monkeypatch.setattr(tables, "width", lambda: room)
    lines = call().stdout.splitlines()
    assert max(map(len, lines)) <= room
    alone = [line for line in lines if line == LONG]
    assert len(alone) == (room == 64), "the numbers go to a line of their own where there is no room for them"
    assert any(LONG in line for line in lines)


def test_where_there_is_nothing_it_says_what_to_try(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "retrograd train" in call().stdout
    (tmp_path / "runs").mkdir()
    assert "No run is in runs. Try: retrograd train" in call().stdout
    done = call("nowhere")
    assert done.exit_code == 2
    assert "No folder is at nowhere" in done.stderr


def test_every_verb_gives_one_object_with_json(here, trained):
    run = str(trained.run.path)
    verbs = [["list"], ["show", run], ["compare", LONG, "other"], ["verify", run], ["rm", "other", "--yes"]]
    shown = {arguments[0]: json.loads(call(*arguments, "--json").stdout) for arguments in verbs}
    assert {entry["name"] for entry in shown["list"]["runs"]} == {LONG, "other", "bad"}
    assert shown["show"]["figures"]["test nats"] == pytest.approx(trained.test.loss)
    assert shown["compare"]["settings"]["training.seed"] == [1, 2]
    assert shown["verify"]["runs"][0]["whole"] is True
    assert shown["rm"]["removed"] == [str(here / "runs" / "other")]


def test_json_has_names_for_what_is_no_number(here):
    (here / "runs" / "other" / "report.json").write_text('{"figures": {"validation nats": "NaN"}}')
    shown = json.loads(call("list", "--json").stdout, parse_constant=pytest.fail)
    assert [entry["best"] for entry in shown["runs"] if entry["name"] == "other"] == ["NaN"]


def test_show_tells_everything(trained, text):
    shown = call("show", str(trained.run.path)).stdout
    test = f"{trained.report.figures['test nats']:.4g}"
    last = trained.report.measurements["end"].horizon.display
    page = str(trained.run.path / "report.html")
    for part in ("finished", str(text), "1 x 16 lstm", "step 30 (30 steps, 100%)", test, last, page, "torch", "best"):
        assert part in shown
    for title in ("What befell it", "Figures", "Horizon", "Checkpoints", "Environment"):
        assert f"\n{title}\n" in shown


def test_events_alike_are_told_once_with_their_number(here):
    run = Run(here / "runs" / "other")
    for step in (5, 6, 7):
        run.event("skipped", step=step, loss=float("nan"))
    [line] = [line for line in call("show", "other").stdout.splitlines() if "skipped" in line]
    assert line.endswith("skipped  3 times, the last:  step 7, loss nan")


def test_compare_shows_what_differs_and_warns_of_other_data(here):
    shown = call("compare", LONG, "other").stdout
    assert shown.startswith("These runs did not see the same data, so their figures are not comparable.")
    rows = {line.split("  ")[0]: line.split() for line in shown.splitlines()}
    assert rows["training.seed"][1:] == ["1", "2"]
    assert rows["verdicts"][1:] == ["vanishing", "vanishing"]
    assert "training.lr" not in shown
    assert call("compare", "other").exit_code == 2


@pytest.mark.parametrize("room", [60, 80])
def test_a_comparison_fits_a_terminal(here, monkeypatch, room):
    monkeypatch.setattr(tables, "width", lambda: room)
    lines = call("compare", LONG, "other").stdout.splitlines()
    assert max(map(len, lines)) <= room
    assert all(part in "\n".join(lines) for part in LONG.split("-")), "what is wrapped is not lost"


def test_removing_needs_a_yes_where_nobody_can_be_asked(here):
    done = call("rm", "other")
    assert done.exit_code == 2
    assert "Add --yes" in done.stderr
    assert (here / "runs" / "other").exists()
    assert call("rm", "other", "--yes").stdout == f"removed {here / 'runs' / 'other'}\n"
    assert not (here / "runs" / "other").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("n\n", 1), ("", 1)])
def test_on_a_terminal_it_asks_and_no_is_the_default(here, monkeypatch, answer, code):
    monkeypatch.setattr(verbs, "_terminal", lambda: True)
    done = call("rm", "other", LONG, input=answer)
    assert done.exit_code == code
    assert "Remove these 2 runs? [y/N]" in done.stderr
    assert f"{LONG}: finished, 12,345 steps" in done.stderr
    assert (here / "runs" / "other").exists() == (here / "runs" / LONG).exists() == bool(code)
    assert ("Nothing was removed." in done.stderr) == bool(code)


def test_all_are_checked_before_the_first_is_removed(here):
    with Run(here / "runs" / "other").writing():
        done = call("rm", LONG, "other", "--yes")
    assert done.exit_code == 2
    assert "other is being written" in done.stderr
    assert call("rm", LONG, "nothing", "--yes").exit_code == 2
    assert (here / "runs" / LONG / "config.toml").exists()


def test_verify_leaves_with_1_where_something_is_wrong(trained, tmp_path):
    run = shutil.copytree(trained.run.path, tmp_path / "run")
    whole = call("verify", str(run))
    assert whole.exit_code == 0
    assert {line.split()[-1] for line in whole.stdout.splitlines()[1:]} == {"ok"}
    (run / "report.json").write_text("{")
    done = call("verify", str(trained.run.path), str(run))
    assert done.exit_code == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if "not JSON" in line] == ["report.json"]
    assert call("verify", str(run), "--json").exit_code == 1


def test_a_name_cannot_speak_to_the_terminal(here):
    made(here / "runs" / "red\x1b[31m\nname")
    assert "\x1b" not in call().stdout
    assert "red [31m name" in call().stdout


def test_a_pipe_that_is_closed_early_is_no_traceback(here):
    code = "from retrograd.cli import main; import sys; sys.argv = ['retrograd', 'runs']; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()


def test_torch_is_not_loaded_to_list_show_compare_and_remove(here):
    code = """
import sys
from retrograd.cli.app import app
for verb in (["list"], ["show", "other"], ["compare", "other", "other"], ["rm", "other", "--yes"]):
    app(["runs", *verb], standalone_mode=False)
print([name for name in ("torch", "numpy", "safetensors", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout.splitlines()[-1] == "[]"
    assert not (here / "runs" / "other").exists()


DAY = 86_400
AGES = {0: "0 s", 59: "59 s", 60: "1 min", 3599: "59 min", 3600: "1 h", DAY - 1: "23 h", DAY: "1 day", 9e6: "104 days"}
SIZES = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345: "12 kB", 999_600: "1.0 MB", 5e12: "5.0 TB"}


def test_ages_and_sizes_are_told_in_one_unit(monkeypatch):
    monkeypatch.setattr(tables.time, "time", lambda: 1e9)
    assert {seconds: tables.age(1e9 - seconds) for seconds in AGES} == AGES
    assert tables.age(1e9 + 50) == "0 s", "a clock that was put back"
    assert {count: tables.size(count) for count in SIZES} == SIZES


def test_an_accuracy_is_shown_as_a_share():
    entry = catalogue.Entry("x", "x", "finished", "", 0.0, 1, best=0.125, measure="accuracy", horizon=">9")
    assert overview._row(entry)[5:7] == ("12.5%", ">9")
