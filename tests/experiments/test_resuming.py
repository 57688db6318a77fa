"""A run that was stopped and goes on ends in the same bits as one that was not."""

import json
import os
from dataclasses import asdict, replace
from itertools import islice

import pytest
import torch

from retrograd import config, runs
from retrograd.cells import CELLS
from retrograd.errors import NonFinite, RunError, UsageError
from retrograd.experiments import keeping
from retrograd.experiments.events import Evaluating, Finished, Note, Progress
from retrograd.experiments.training import resume, resuming, train, training
from retrograd.training import checkpoint
from retrograd.training.optimizers import OPTIMIZERS
from tests.experiments.test_training import EXPLODING, changed

RECALL = {
    "task": {"name": "recall", "length": 4, "symbols": 3},
    "data": {"train": ()},
    "training": {"window": config.Training().window},
}
KINDS = [
    *({"model": {"cell": cell, "layers": 2, "dropout": 0.3}} for cell in CELLS),
    *({"training": {"optimizer": name, "lr": 0.001}} for name in OPTIMIZERS),
    {"training": {"carry": "document"}, "data": {"document_separator": "\n"}},
    {
        "training": {"schedule": "divide", "divide_after": 0},
        "data": {"level": "word"},
        "model": {"tied": True, "embedding": 16},
    },
    {"training": {"patience": 1, "validate_every": 7}},
    RECALL,
]


@pytest.fixture(autouse=True)
def no_page(monkeypatch):
    """Drawing one takes a second, and would be most of what these tests take."""
    monkeypatch.setattr("retrograd.reports.html.page", lambda report, run: "")


def tensors(run: runs.Run) -> dict[str, bytes]:
    """The weights and all that training would go on from, of the last checkpoint and the best."""
    pointer = checkpoint.pointed(run.checkpoints)
    files = [(name, file) for name in (pointer.last, pointer.best) for file in ("model", "training")]
    return {f"{name}/{file}": (run.checkpoints / name / f"{file}.safetensors").read_bytes() for name, file in files}


def killed(settings: config.Config, path, steps: int) -> runs.Run:
    """A run whose process vanished after so many steps, with a checkpoint some steps before."""
    events = training(settings, out=path)
    shown = (event for event in events if isinstance(event, Progress))
    list(islice(shown, steps))
    return runs.Run(path)  # the generator is dropped where it stands: nothing more is written


def preempted(settings: config.Config, path, steps: int) -> runs.Run:
    """A run that was asked to stop after so many steps."""
    taken = []
    events = training(settings, out=path, stop=lambda: len(taken) >= steps)
    for event in events:
        taken += [event] if isinstance(event, Progress) else []
    return runs.Run(path)


def validations(run: runs.Run) -> list[int]:
    return [line["step"] for line in run.metrics() if "validation" in line]


def logged(run: runs.Run) -> list[dict]:
    """The lines of the log without what the clock decides."""
    clock = {"seconds", "tokens_per_second"}
    return [{key: value for key, value in line.items() if key not in clock} for line in run.metrics()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_was_killed_and_goes_on_ends_in_the_same_bits(small, tmp_path, kind):
    settings = changed(changed(small, training={"steps": 23, "validate_every": 5}), **kind)
    whole = train(settings, out=tmp_path / "whole")
    run = killed(settings, tmp_path / "killed", 13)
    assert run.status() == "killed"
    resumed = resume(run.path)
    assert tensors(resumed.run) == tensors(whole.run)
    assert resumed.test == whole.test
    assert resumed.best == whole.best
    assert logged(resumed.run) == logged(whole.run)
    assert resumed.sample == whole.sample
    timed = {"seconds", "tokens_per_second", "low", "high", "horizon", "beyond", "decay"}
    logs = [[{k: v for k, v in line.items() if k not in timed} for line in r.run.metrics()] for r in (whole, resumed)]
    assert [line for line in logs[0] if len(line) > 1] == [line for line in logs[1] if len(line) > 1]
    starts = [runs.to_json(asdict(r.report.measurements["start"])) for r in (whole, resumed)]
    assert starts[0] == starts[1]
    assert set(config.read(run.path / "config.toml")) == set(config.read(whole.run.path / "config.toml"))


def test_a_run_may_be_killed_again_and_again(small, tmp_path):
    settings = changed(small, training={"steps": 23, "validate_every": 2})
    whole = train(settings, out=tmp_path / "whole")
    run = killed(settings, tmp_path / "killed", 3)
    for _ in range(5):
        events = resuming(run.path)
        list(islice((e for e in events if isinstance(e, Progress)), 4))
        del events
    assert tensors(resume(run.path).run) == tensors(whole.run)


def test_a_run_that_was_preempted_goes_on(small, tmp_path):
    whole = train(small, out=tmp_path / "whole")
    asked = iter([False] * 7)
    *_, stopped = training(small, out=tmp_path / "run", stop=lambda: next(asked, True))
    assert stopped.status == "preempted"
    assert tensors(resume(tmp_path / "run").run) == tensors(whole.run)


def test_a_run_that_was_stopped_while_it_was_tested_goes_on_with_the_test(small, tmp_path):
    events = training(small, out=tmp_path / "run")
    shown = list(islice(events, 31))  # the plan, and thirty steps
    assert shown[-1].step.index == 30
    del events
    assert resume(tmp_path / "run").test is not None


def test_going_back_survives_a_kill(small, tmp_path):
    settings = changed(changed(small, **EXPLODING), training={"steps": 60, "validate_every": 4})
    whole = train(settings, out=tmp_path / "whole")
    run = killed(settings, tmp_path / "killed", 9)
    assert checkpoint.pointed(run.checkpoints).returns == ("step-000000",)
    assert tensors(resume(run.path).run) == tensors(whole.run)


def test_it_says_from_where_it_goes_on_and_why_it_may_differ(small, tmp_path):
    settings = changed(small, training={"steps": 23, "validate_every": 5})
    run = killed(settings, tmp_path / "run", 13)
    notes = [e.text for e in resuming(run.path, changes={"training": {"steps": 40}}) if isinstance(e, Note)]
    why = "steps was 23 and is 40; the learning rate goes by the new budget, on from 0.00854"
    assert notes == ["Goes on from step 10.", f"Not bit for bit what an unbroken run gives: {why}."]
    assert run.config().training.steps == 40
    assert next(e for e in run.events() if e["event"] == "resumed")["step"] == 10


def test_minutes_go_on_for_the_time_that_remains(small, tmp_path):
    settings = config.make(config.merge(small.model_dump(exclude_none=True), {"training": {"minutes": 0.05}}))
    run = killed(settings, tmp_path / "run", 40)
    saved = checkpoint.find(run.checkpoints, "last").info["at"]["seconds"]
    events = list(resuming(run.path))
    [note] = [e.text for e in events if isinstance(e, Note) and "minutes" in e.text]
    assert f"the budget is in minutes, of which {0.05 - saved / 60:.2g} remain" in note
    steps = [e.step for e in events if isinstance(e, Progress)]
    assert saved <= steps[0].seconds
    assert 3.0 <= steps[-1].seconds < 3.5


def test_a_finished_run_goes_on_only_with_a_larger_budget(small, tmp_path):
    run = train(small, out=tmp_path / "run").run
    before = sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*") if p.name != ".lock")
    with pytest.raises(UsageError, match=r"has finished; there is nothing to resume"):
        resume(run.path)
    with pytest.raises(
        UsageError, match=r"has taken 30 steps, .* already; got a budget of 30 steps. A budget counts from the"
    ):
        resume(run.path, changes={"training": {"steps": 30}})
    assert sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*") if p.name != ".lock") == before
    for budget, taken in ({"steps": 60}, 60), ({"epochs": 2}, None):  # of the new one, too, ten times
        before = len(validations(run))
        more = resume(run.path, changes={"training": budget})
        assert more.run.status() == "finished"
        assert taken is None or more.steps == taken
        assert 3 <= len(validations(run)) - before <= 6


def test_a_run_that_lost_patience_ends_there_and_goes_on_for_a_larger_budget(small, tmp_path):
    hopeless = {"steps": 200, "validate_every": 5, "patience": 2, "lr": 0.3, "schedule": "constant"}
    settings = changed(small, training=hopeless)
    whole = train(settings, out=tmp_path / "whole")
    assert whole.steps < 200
    events = training(settings, out=tmp_path / "killed")
    assert any(isinstance(event, Evaluating) for event in events)  # and its process vanished
    events.close()
    resumed = resume(tmp_path / "killed")
    assert (resumed.steps, resumed.test, tensors(resumed.run)) == (whole.steps, whole.test, tensors(whole.run))
    assert [e["event"] for e in resumed.run.events()].count("stopped early") == 1
    more = resume(whole.run.path, changes={"training": {"steps": 400}})
    assert more.steps >= whole.steps + 10


def test_a_stop_while_the_best_weights_are_tested_measures_those_and_says_so(small, tmp_path, monkeypatch):
    worse, real = iter(range(1, 100)), keeping.evaluate
    monkeypatch.setattr(keeping, "evaluate", lambda *a: replace(real(*a), loss=float(next(worse))))
    settings = changed(small, training={"validate_every": 5}, measure={"every": 0})
    shown = []
    for event in training(settings, out=tmp_path / "run", stop=lambda: Evaluating in map(type, shown)):
        shown.append(event)
    best = checkpoint.find(runs.Run(tmp_path / "run").checkpoints)
    assert (event.status, event.steps) == ("preempted", 30)
    assert event.report.measurements["end"].step == best.step == 5


def test_what_was_saved_before_it_was_validated_can_be_the_best(small, tmp_path, monkeypatch):
    settings = changed(small, training={"steps": 30, "validate_every": 7, "schedule": "constant"})
    whole = train(settings, out=tmp_path / "whole")
    assert checkpoint.find(whole.run.checkpoints).step == 30
    run = preempted(settings, tmp_path / "run", 30)
    assert checkpoint.find(run.checkpoints).step < 30
    resumed = resume(run.path)
    monkeypatch.setattr(keeping, "SAVE_EVERY", 0.0)
    for other in (resumed, train(settings, out=tmp_path / "clock")):
        best = checkpoint.find(other.run.checkpoints)
        assert (other.best, other.test, best.step) == (whole.best, whole.test, 30)
        assert other.report.figures["validation nats"] == best.info["validation"]["loss"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("lr = 0.01", "lr = 0.5"), ('optimizer = "adamw"', 'optimizer = "rmsprop"'), ("window = 16", "window = 8")],
)
def test_a_config_that_was_altered_is_refused_with_the_key(small, tmp_path, old, new):
    run = killed(small, tmp_path / "run", 5)
    file = run.path / "config.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(RunError, match=rf"config.toml was altered: training.{old.split()[0]} was .* and is "):
        resume(run.path)


def test_the_texts_may_have_moved_and_the_measuring_changed(small, tmp_path, text):
    run = killed(small, tmp_path / "run", 5)
    (tmp_path / "moved.txt").write_text(text.read_text())
    file = run.path / "config.toml"
    file.write_text(file.read_text().replace(str(text), str(tmp_path / "moved.txt")).replace("every = 10", "every = 0"))
    assert resume(run.path).status == "finished"


def test_other_kernels_of_the_processor_are_a_note(small, tmp_path, monkeypatch):
    run = killed(small, tmp_path / "run", 5)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "Z80")
    notes = [e.text for e in islice(resuming(run.path), 4) if isinstance(e, Note)]
    assert any("processor was" in note and "and is Z80" in note for note in notes)


def test_only_the_budget_and_the_machine_can_be_changed(trained):
    with pytest.raises(UsageError, match=r"keeps its own config; got model.hidden"):
        resume(trained.run.path, changes={"model": {"hidden": 3}, "training": {"steps": 50}})


def test_another_text_is_refused(small, tmp_path, text):
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    run = killed(changed(small, data={"train": [str(copy)]}), tmp_path / "run", 5)
    copy.write_text(text.read_text().replace("cat", "cow"))
    with pytest.raises(RunError, match="is not what it began with; a resumed run must see the same text"):
        resume(run.path)


def test_a_run_that_is_being_written_is_refused_by_name(small, tmp_path):
    events = training(small, out=tmp_path / "run")
    next(events)
    with pytest.raises(RunError, match=f"is being written by process {os.getpid()} on the machine"):
        resume(tmp_path / "run")
    events.close()
    assert isinstance(resume(tmp_path / "run"), Finished)


def test_a_spoilt_checkpoint_is_named_and_the_one_before_it_used(small, tmp_path):
    settings = changed(small, training={"validate_every": 5})
    whole = train(settings, out=tmp_path / "whole")
    run = killed(settings, tmp_path / "run", 18)
    spoilt = run.checkpoints / checkpoint.pointed(run.checkpoints).last / "training.safetensors"
    spoilt.write_bytes(spoilt.read_bytes()[:-9])
    events = list(resuming(run.path))
    notes = [e.text for e in events if isinstance(e, Note)]
    assert notes[0] == "Goes on from step 10."
    assert "was cut or altered since it was written: its checksum differs" in notes[1]
    assert notes[1].endswith("It is set aside.")
    assert (run.checkpoints / f"damaged-{spoilt.parent.name}").is_dir()
    assert tensors(run) == tensors(whole.run)


def test_where_no_checkpoint_is_whole_the_newest_is_named(small, tmp_path):
    run = killed(small, tmp_path / "run", 3)
    for file in run.checkpoints.glob("step-*/model.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(RunError, match=r"step-000003/model.safetensors was cut or altered|step-0+\d+"):
        resume(run.path)


def test_a_torn_log_is_mended_and_said(small, tmp_path):
    run = killed(small, tmp_path / "run", 15)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 16, "lo')
    notes = [e.text for e in resuming(run.path) if isinstance(e, Note)]
    assert any("The last line of metrics.jsonl was cut" in note for note in notes)
    assert run.status() == "finished"
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_report_that_cannot_be_read_does_not_hinder(small, tmp_path):
    run = killed(small, tmp_path / "run", 8)
    (run.path / "report.json").write_text("{")
    notes = [e.text for e in resuming(run.path) if isinstance(e, Note)]
    assert any("report.json cannot be read" in note for note in notes)


def test_a_failed_run_can_be_taken_up_again(small, tmp_path):
    settings = changed(changed(small, **EXPLODING), training={"returns": 0})
    with pytest.raises(NonFinite):
        train(settings, out=tmp_path / "run")
    with pytest.raises(NonFinite):
        resume(tmp_path / "run")
    assert runs.Run(tmp_path / "run").status() == "failed"


def test_the_threads_are_those_of_the_run_or_it_says_so(small, tmp_path, monkeypatch):
    run = killed(small, tmp_path / "run", 3)
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    next(resuming(run.path))
    assert asked == [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("retrograd.experiments.reporting.denormals_are_flushed", lambda: True)
    notes = [e.text for e in islice(resuming(run.path, changes={"training": {"threads": 2}}), 4) if isinstance(e, Note)]
    assert "Not bit for bit what an unbroken run gives: threads was 1 and is 2." in notes


@pytest.mark.parametrize("steps", [9, 10, 20, 23])
def test_no_line_of_the_log_is_lost_or_there_twice(small, tmp_path, steps):
    settings = changed(small, training={"steps": 23, "validate_every": 5})
    whole = train(settings, out=tmp_path / "whole").run
    run = killed(settings, tmp_path / "run", steps)
    assert logged(resume(run.path).run) == logged(whole)


def test_what_was_finished_but_for_its_last_event_is_told_once(small, tmp_path):
    whole = train(small, out=tmp_path / "run").run
    before, events = logged(whole), whole.events()
    assert events[-1]["event"] == "finished"
    lines = (whole.path / "events.jsonl").read_text().splitlines(keepends=True)
    (whole.path / "events.jsonl").write_text("".join(lines[:-1]))
    assert logged(resume(whole.path).run) == before
