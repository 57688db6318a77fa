"""One run from a config to a folder, and what every user relies on about it."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from retrograd import config
from retrograd.bptt.denormals import denormals_are_flushed
from retrograd.cells import CELLS
from retrograd.errors import MissingExtra, NonFinite, RunError, UnknownName, UsageError
from retrograd.experiments import keeping
from retrograd.experiments.build import load, to_torch
from retrograd.experiments.events import Finished, Note, Planned
from retrograd.experiments.measuring import Gauge
from retrograd.experiments.objective import Evaluation
from retrograd.experiments.training import resuming, train, training
from retrograd.runs import Run
from retrograd.tasks import make_task
from retrograd.training.loop import Step


def weights(result: Finished) -> list[torch.Tensor]:
    return list(load(result.run.path, which="last").parameters())


def changed(settings: config.Config, **sections: dict) -> config.Config:
    return config.make(config.merge(settings.model_dump(exclude_none=True), sections))


def test_a_run_learns_and_says_what_it_measured(trained, small):
    assert trained.status == trained.run.status() == "finished"
    assert trained.steps == 30
    assert trained.test.loss < math.log(make_task(small).sizes.outputs)
    assert trained.test.tokens == len(make_task(small).test)
    assert set(trained.report.measurements) == {"start", "end"}
    assert trained.report.figures["perplexity"] == pytest.approx(math.exp(trained.test.loss))
    assert trained.report.figures["bits per character"] == pytest.approx(trained.test.loss / math.log(2))


def test_the_folder_holds_all_that_was_promised_and_no_pickle(trained):
    names = {str(p.relative_to(trained.run.path)) for p in trained.run.path.rglob("*") if p.is_file()}
    assert {"config.toml", "metrics.jsonl", "events.jsonl", "tokenizer.json", "report.json"} <= names
    readable = {".toml", ".jsonl", ".json", ".safetensors", ".html"}  # a dot file has no suffix, nor have sums
    assert {path.suffix or path.name for path in map(Path, names)} == {*readable, ".lock", "SHA256SUMS"}


def test_metrics_hold_the_loss_the_validation_and_the_horizon(trained):
    keys = [set(line) for line in trained.run.metrics()]
    for wanted in ({"loss", "log_grad_norm", "clipped", "lr"}, {"validation"}, {"horizon", "decay"}):
        assert any(wanted <= k for k in keys), wanted


def test_the_saved_config_runs_again_to_the_same_weights(trained, tmp_path):
    again = train(trained.run.config(), out=tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(weights(trained), weights(again), strict=True))
    assert again.run.config() == trained.run.config()


@pytest.mark.parametrize("cell", CELLS)
def test_measuring_changes_no_bit_of_what_is_trained(small, cell, tmp_path, monkeypatch):
    settings = changed(small, model={"cell": cell, "layers": 2, "dropout": 0.3}, training={"steps": 12})
    often = train(changed(settings, measure={"every": 1}), out=tmp_path / "often")
    assert sum("horizon" in line for line in often.run.metrics()) == 13  # and at the start
    monkeypatch.setattr(Gauge, "take_when_due", lambda self, step: None)
    never = train(settings, out=tmp_path / "never")
    assert all(torch.equal(a, b) for a, b in zip(weights(often), weights(never), strict=True))


def test_measuring_waits_until_the_time_pays_for_it(small, monkeypatch):
    gauge = Gauge(None, None, changed(small, measure={"every": 10, "share": 0.02}).measure, cost=1.0)
    monkeypatch.setattr(Gauge, "take", lambda self, step: step)

    def at(index: int, seconds: float) -> Step:
        return Step(index, 0.0, seconds, 0.0, 0.0, clipped=False, lr=0.0, tokens=0, finite=True)

    assert gauge.take_when_due(at(10, 49.0)) is None, "1 second is over 2 % of 49"
    assert gauge.take_when_due(at(15, 60.0)) is None, "not a tenth step"
    assert gauge.take_when_due(at(20, 51.0)) == 20
    assert gauge.take_when_due(at(30, 99.0)) is None, "two are over 2 % of 99"
    assert gauge.take_when_due(at(40, 101.0)) == 40
    assert gauge.spent == 2.0


def test_the_end_is_measured_on_the_best_weights_and_says_their_step(small, tmp_path, monkeypatch):
    figures = iter([3.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr(keeping, "evaluate", lambda *args: Evaluation(next(figures), 1, 0.0))
    result = train(changed(small, training={"steps": 30, "validate_every": 10}), out=tmp_path / "run")
    assert result.report.measurements["end"].step == 20
    assert result.best == 1.0


def test_the_callers_arithmetic_is_left_alone_while_a_training_runs(small, tmp_path):
    events = training(small, out=tmp_path / "run")
    for _ in range(5):
        next(events)
        assert not denormals_are_flushed()
    events.close()


def test_weights_are_there_from_the_start(small, tmp_path):
    next(iter(training(small, out=tmp_path / "run")))
    assert load(tmp_path / "run")


def test_the_plan_comes_first_and_names_the_horizon_beside_the_window(small, tmp_path):
    planned = next(iter(training(small, out=tmp_path / "run")))
    assert isinstance(planned, Planned)
    assert planned.guess == pytest.approx(math.log(planned.sizes.outputs))
    assert planned.need == 16
    assert planned.assumed == "the window"
    assert planned.start.horizon.steps > 0
    assert planned.counts["train"] > planned.counts["valid"] > 0


def test_a_stop_saves_and_ends_the_run_there(small, tmp_path):
    asked = iter([False] * 4)
    *_, last = training(small, out=tmp_path / "run", stop=lambda: next(asked, True))
    assert isinstance(last, Finished)
    assert (last.status, last.steps, last.test) == ("preempted", 4, None)
    assert last.run.status() == "preempted"
    load(last.run.path)


def test_early_stopping_waits_for_its_patience(small, tmp_path):
    settings = changed(small, training={"steps": 400, "lr": 1e-12, "validate_every": 5, "patience": 2})
    result = train(settings, out=tmp_path / "run")
    assert result.steps < 400
    assert [e for e in result.run.events() if e["event"] == "stopped early"]


@pytest.mark.parametrize("budget", [{"minutes": 0.02}, {"epochs": 2}])
def test_budgets_in_minutes_and_epochs_end(small, tmp_path, budget):
    values = config.merge(small.model_dump(exclude_none=True), {"training": budget})
    assert train(config.make(values), out=tmp_path / "run").steps > 0


def test_a_loss_that_explodes_fails_with_a_remedy_and_keeps_the_report(small, tmp_path):
    wild = changed(small, **EXPLODING)
    wild = changed(wild, training={"returns": 0})
    with pytest.raises(NonFinite, match=r"stopped being finite at step \d+ .*Try --clip 1 or --init orthogonal"):
        train(wild, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["status"] == "failed"
    assert "failed" in (tmp_path / "run" / "report.html").read_text()
    assert Run(tmp_path / "run").status() == "failed"


# The lectures' exploding start, without clipping. Where it ends hangs on the last digit, so it takes the plain loop.
EXPLODING = {
    "model": {"cell": "elman", "activation": "relu", "init": "normal=1"},
    "training": {"clip_norm": 0, "lr": 1.0, "optimizer": "sgd", "schedule": "constant", "backend": "reference"},
}


def test_the_exploding_start_goes_nan_comes_back_and_finishes(small, tmp_path):
    settings = changed(changed(small, **EXPLODING), training={"steps": 60})
    events = list(training(settings, out=tmp_path / "run"))
    [note] = [event.text for event in events if isinstance(event, Note)]
    assert "back to step 0 with a learning rate of 0.25, clipped at 1 (return 1 of at most 5)" in note
    result = events[-1]
    assert (result.status, result.steps) == ("finished", 60)
    assert math.isfinite(result.test.loss)
    names = [event["event"] for event in result.run.events()]
    assert names[:5] == ["started", "skipped", "skipped", "skipped", "went back"]
    assert names[-1] == "finished"
    assert "went back" in [h.name for h in result.report.happenings]


def test_where_the_first_loss_is_nan_it_says_so_at_once(small, tmp_path):
    wild = changed(small, **EXPLODING, measure={"every": 0})
    wild = changed(wild, model={"hidden": 64}, training={"window": 64})
    with pytest.raises(NonFinite, match=r"not finite from the first step on\. Try --init orthogonal"):
        train(wild, out=tmp_path / "run")


def test_what_is_wrong_is_said_before_a_folder_is_made(small, tmp_path):
    for sections, error in (
        ({"model": {"cell": "lstn"}}, UnknownName),
        ({"model": {"init": "ortogonal"}}, UnknownName),
        ({"training": {"optimizer": "adan"}}, UnknownName),
        ({"training": {"schedule": "cos"}}, UnknownName),
        ({"training": {"backend": "fast"}}, UnknownName),
        ({"training": {"backend": "fused"}, "model": {"cell": "elman", "activation": "sigmoid"}}, UsageError),
        ({"training": {"device": "tpu"}}, UsageError),
    ):
        with pytest.raises(error):
            train(changed(small, **sections), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over(trained, small):
    with pytest.raises(RunError, match="already exists"):
        train(small, out=trained.run.path)


def test_no_gradient_crosses_a_documents_end_where_the_state_is_reset(small, tmp_path):
    documents = {"data": {"document_separator": "\n"}, "model": {"cell": "additive"}}
    carried = train(changed(small, **documents, training={"steps": 2}), out=tmp_path / "carried")
    reset = train(changed(small, **documents, training={"steps": 2, "carry": "document"}), out=tmp_path / "reset")
    line = max(map(len, Path(small.data.train[0]).read_text().splitlines())) + 1
    assert carried.report.measurements["start"].horizon.censored
    assert reset.report.measurements["start"].horizon.steps < line


def test_delayed_recall_runs_through_the_same_trainer(tmp_path):
    values = {
        "task": {"name": "recall", "length": 6, "symbols": 3},
        "model": {"hidden": 32, "init": "forget_bias=2"},
        "training": {"steps": 200, "lr": 0.01, "schedule": "constant"},
    }
    result = train(config.make(values), out=tmp_path / "run")
    assert result.test.accuracy > 0.9
    assert result.sample is None
    assert result.report.measurements["end"].horizon.longest == 6


def test_a_loaded_model_is_a_module_that_torch_can_take_over(trained):
    model = load(trained.run.path)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    plain = torch.nn.LSTM(8, 16)
    plain.load_state_dict(to_torch(model))
    x = torch.randn(5, 2, 8)
    torch.testing.assert_close(plain(x)[0], model.stack(x)[0])


def test_loading_leaves_the_random_state_alone(trained):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load(trained.run.path)
    assert torch.equal(torch.rand(1), expected)


def test_a_cell_that_torch_lacks_has_no_torch_weights(small, tmp_path):
    result = train(changed(small, model={"cell": "additive"}, training={"steps": 2}), out=tmp_path / "run")
    with pytest.raises(UsageError, match="Torch has no module"):
        to_torch(load(result.run.path))


@pytest.mark.parametrize(("optimizer", "decay"), [("adamw", 0.1), ("adam", 0.0), ("sgd", 0.0)])
def test_only_adamw_decays_weights_unasked(small, tmp_path, optimizer, decay):
    settings = changed(small, training={"optimizer": optimizer, "steps": 1})
    assert next(iter(training(settings, out=tmp_path / "run"))).settings.training.weight_decay == decay


def test_without_tensorboard_nothing_is_begun(small, trained, tmp_path, monkeypatch):
    for name in ["tensorboard", *(name for name in sys.modules if name.startswith("tensorboard."))]:
        monkeypatch.setitem(sys.modules, name, None)
    begun, resumed = (
        training(small, out=tmp_path / "run", tensorboard=True),
        resuming(trained.run.path, tensorboard=True),
    )
    for events in (begun, resumed):
        with pytest.raises(MissingExtra, match=r"pip install 'retrograd\[tensorboard\]'"):
            next(events)
    assert not list(tmp_path.iterdir())
    assert trained.run.status() == "finished"


def test_a_report_tells_what_clipping_did_and_that_it_was_too_hard(small, tmp_path):
    report = train(changed(small, training={"steps": 40, "clip_norm": 1e-3}), out=tmp_path / "hard").report
    assert report.figures["share of steps clipped"] == 1.0
    norms = [math.exp(line["log_grad_norm"]) for line in Run(tmp_path / "hard").metrics() if "clipped" in line]
    left = 1e-3 / sorted(norms)[len(norms) // 2]
    assert report.figures["share of the norm left by clipping"] == pytest.approx(left, rel=0.3)
    assert "clipping-too-hard" in [finding.code for finding in report.findings]
    value = train(changed(small, training={"steps": 20, "clip_norm": 0.0, "clip_value": 1e-6}), out=tmp_path / "value")
    assert value.report.figures["share of steps clipped"] == 1.0
    off = train(changed(small, training={"steps": 20, "clip_norm": 0.0}), out=tmp_path / "off").report
    assert "share of steps clipped" not in off.figures
