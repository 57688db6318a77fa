"""Comparisons from the plan to the files: in this process where that is enough, and once in processes of their own."""

import json
import math
import shutil
from pathlib import Path

import pytest

from retrograd import config
from retrograd.errors import RunError
from retrograd.experiments.comparing import pool
from retrograd.experiments.comparing.compare import PLACES, Place, begun, compare, comparing
from retrograd.experiments.comparing.pool import Began, Ended, Progressed
from retrograd.experiments.comparing.worker import brought_to_its_end
from retrograd.experiments.training import train
from retrograd.reports.comparison import Comparison
from retrograd.runs import Run
from retrograd.tasks import make_task
from tests.cli.command import everything
from tests.experiments.comparing.test_worker import held, weights

MODEL = {"hidden": 8, "embedding": 4, "dropout": 0.0}
TRAINING = {"steps": 8, "window": 16, "batch": 8, "lr": 0.01, "validate_every": 4}
TEXT = {"model": MODEL, "training": TRAINING, "measure": {"every": 0, "windows": 4}}
ORDER = {"task": {"name": "temporal-order", "length": 20}, "model": {"hidden": 6}, "training": {"steps": 3}}


def here(folder, entries, *, workers, stop):
    """Every run in this process, one after the other."""
    for entry in entries:
        if stop():
            return
        yield Began(entry)
        end = brought_to_its_end(folder / entry.name, entry.settings, held(), lambda _: None)
        yield Ended(entry, end.status, end.reason, end.context)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setitem(PLACES, "here", Place(here, lambda training: 1))
    monkeypatch.setattr("retrograd.reports.html.page", lambda report, run: "")  # a second for each run


@pytest.fixture(scope="module")
def values(text):
    return TEXT | {"data": {"train": [str(text)]}}


@pytest.fixture(scope="module")
def done(values, tmp_path_factory):
    """Three models with two seeds."""
    folder = tmp_path_factory.mktemp("comparisons") / "it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLACES, "here", Place(here, lambda training: 1))
        patch.setattr("retrograd.reports.html.page", lambda report, run: "")
        return compare(values, ["ngram", "rnn", "gru"], seeds=2, out=folder, on="here")


def test_every_run_is_the_one_that_train_makes_of_the_same_config(done, values, tmp_path):
    plan, folder = begun(values, ["ngram", "rnn", "gru"], seeds=2, out=done.folder)
    assert [e.name for e in plan.entries] == ["ngram-1", "rnn-1", "gru-1", "rnn-2", "gru-2"]
    alone = train(plan.entries[4].settings, out=tmp_path / "gru-2")
    assert weights(folder / "gru-2") == weights(alone.run.path)
    assert done.standings[2].outcomes[1].figure == alone.report.figures["test nats"]


def test_all_models_meet_the_same_data_in_the_same_order(done, values):
    told = {e["data"] for path in _runs(done) for e in Run(path).events() if e["event"] == "started"}
    assert told == {done.data}
    plan, _ = begun(values, ["ngram", "rnn", "gru"], seeds=2, out=done.folder)
    by_name = {e.name: e.settings for e in plan.entries}
    for seed in (1, 2):
        windows = [make_task(by_name[f"{model}-{seed}"]).training() for model in ("rnn", "gru")]
        for one, other in (map(next, windows) for _ in range(3)):
            assert one.inputs.equal(other.inputs)


def test_drawn_examples_are_those_of_the_seed_and_not_of_the_model():
    from retrograd.experiments.comparing.contestants import settings

    shared = config.make(ORDER)
    first = {(m, s): next(make_task(settings(shared, m, s)).training()).inputs for m in ("rnn", "lstm") for s in (1, 2)}
    assert first["rnn", 1].equal(first["lstm", 1])
    assert first["rnn", 2].equal(first["lstm", 2])
    assert not first["rnn", 1].equal(first["rnn", 2])


def test_the_table_is_what_the_runs_report(done):
    ngram, rnn, gru = done.standings
    for standing in (rnn, gru):
        reports = [
            json.loads((path / "report.json").read_text()) for path in _runs(done) if standing.model in path.name
        ]
        nats = [report["figures"]["test nats"] for report in reports]
        assert standing.test.value == pytest.approx(math.exp(sum(nats) / 2))
        assert standing.size == reports[0]["subject"]["parameters"]
        assert standing.start.low >= 1
        assert standing.end is not None
        assert standing.context.value >= 1
    report = json.loads((_runs(done)[0] / "report.json").read_text())
    assert (ngram.size, ngram.unit) == (report["subject"]["n-grams"], "n-grams")
    assert (ngram.context.value, ngram.start, ngram.speed) == (4, None, None)
    assert (done.figure.name, done.budget, done.finished, done.planned) == ("perplexity", "8 steps", 5, 5)
    assert set(done.courses) == {"rnn", "gru"}
    assert done.courses["rnn"].at[-1] == 8


def test_what_is_written_is_what_is_returned(done):
    text = (Path(done.folder) / "comparison.json").read_text()
    assert text == done.to_json()
    assert (Path(done.folder) / "comparison.html").read_text().startswith("<!doctype html>")


def test_a_comparison_that_is_whole_trains_nothing_again(done, values):
    before = everything(Path(done.folder))
    again = compare(values, ["ngram", "rnn", "gru"], seeds=2, out=done.folder, on="here", workers=7)
    assert again.workers == done.workers == 1, "which the speeds were taken with"
    assert again == done
    assert everything(Path(done.folder)) == before


def test_what_is_missing_is_made_and_what_is_there_is_kept(done, values, tmp_path):
    folder = shutil.copytree(done.folder, tmp_path / "it")
    shutil.rmtree(folder / "rnn-2")
    kept = {name: everything(folder / name) for name in ("ngram-1", "rnn-1", "gru-1", "gru-2")}
    plan, _ = begun(values, ["ngram", "rnn", "gru"], seeds=2, out=folder)
    events = list(comparing(plan, folder, on="here"))
    assert [e.entry.name for e in events if isinstance(e, Began)] == ["rnn-2"]
    assert {name: everything(folder / name) for name in kept} == kept
    assert weights(folder / "rnn-2") == weights(Path(done.folder) / "rnn-2")


def test_a_context_that_was_not_written_down_is_measured_again(done, values, tmp_path):
    folder = shutil.copytree(done.folder, tmp_path / "it")
    (folder / "comparison.json").write_text('{"standings": [{"outcomes": [{"name": "rnn-1"')
    plan, _ = begun(values, ["ngram", "rnn", "gru"], seeds=2, out=folder)
    *_, found = comparing(plan, folder, on="here")
    assert [s.context for s in found.standings] == [s.context for s in done.standings]


def test_a_run_that_does_not_stay_finite_stops_no_other(values, tmp_path):
    wild = {"lr": 1e30, "clip_norm": 0.0, "returns": 0, "warmup": 0.0}
    changed = config.merge(values, {"training": wild})
    found = compare(changed, ["rnn", "ngram"], seeds=1, out=tmp_path / "it", on="here")
    rnn, ngram = found.standings
    assert (rnn.finished, rnn.test, rnn.outcomes[0].status) == (0, None, "failed")
    skipped = [e["step"] for e in Run(tmp_path / "it" / "rnn-1").events() if e["event"] == "skipped"]
    assert rnn.not_finite == min(skipped)
    assert "finite" in rnn.outcomes[0].reason
    assert ngram.finished == 1
    assert found.said == ("1 of 1 runs of rnn failed; it has no figure.",)


@pytest.mark.parametrize(
    ("task", "figure", "course"),
    [
        (ORDER, "accuracy", "validation accuracy"),
        ({**ORDER, "task": {"name": "adding", "length": 20}}, "squared error", "validation squared error"),
    ],
)
def test_tasks_with_answers_are_compared_by_their_own_figure(tmp_path, task, figure, course):
    found = compare(task, ["rnn"], seeds=1, out=tmp_path / "it", on="here")
    assert (found.figure.name, found.course) == (figure, course)
    assert found.standings[0].test.value == found.standings[0].outcomes[0].figure
    assert found.standings[0].context.value >= 1


def test_it_is_stopped_between_two_runs(values, tmp_path):
    plan, folder = begun(values, ["rnn"], seeds=2, out=tmp_path / "it")
    ended: list[Ended] = []
    for event in comparing(plan, folder, on="here", stop=ended.__len__):
        ended.extend([event] if isinstance(event, Ended) else [])
    assert isinstance(event, Comparison)
    assert (event.finished, event.planned) == (1, 2)


def test_two_processes_do_not_write_one_comparison(done, values):
    with Run(Path(done.folder)).writing(), pytest.raises(RunError, match="is being written by"):
        compare(values, ["ngram", "rnn", "gru"], seeds=2, out=done.folder, on="here")


def test_in_a_process_of_its_own_what_was_stopped_goes_on_to_the_same_bits(done, values, tmp_path):
    plan, folder = begun(values, ["rnn"], seeds=1, out=tmp_path / "it")
    (entry,), leash = plan.entries, held()
    assert brought_to_its_end(folder / "rnn-1", entry.settings, leash, lambda _: leash.let_go()).status == "preempted"
    *events, found = comparing(plan, folder, workers=2)
    assert found.finished == 1, found.standings[0].outcomes[0].reason
    assert any(isinstance(event, Progressed) for event in events)
    assert found.standings[0].outcomes[0].context is not None
    assert weights(folder / "rnn-1") == weights(Path(done.folder) / "rnn-1")


def test_a_process_that_vanishes_is_a_failure_with_its_last_words(values, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "MODULE", "retrograd.experiments.comparing.none")
    plan, folder = begun(values, ["rnn"], seeds=1, out=tmp_path / "it")
    *_, found = comparing(plan, folder, workers=1)
    (outcome,) = found.standings[0].outcomes
    assert outcome.status == "failed"
    assert "Its process left with 1:" in outcome.reason
    assert "No module named" in outcome.reason


def _runs(found: Comparison):
    return [Path(found.folder) / o.name for s in found.standings for o in s.outcomes]
