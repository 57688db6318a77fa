"""Steps that are not finite at chosen places: what is gone back to, and that a kill changes nothing of it."""

from dataclasses import replace
from itertools import islice

import pytest

from retrograd.errors import NonFinite
from retrograd.experiments import keeping
from retrograd.experiments.events import Finished, Note, Progress
from retrograd.experiments.inspection import read_report
from retrograd.experiments.training import resume, resuming, train, training
from retrograd.runs import Run
from retrograd.tasks import make_task
from retrograd.training import checkpoint
from retrograd.training.loop import Loss
from retrograd.training.pointer import pointed
from tests.experiments.test_resuming import killed, no_page, preempted, tensors  # noqa: F401  a fixture
from tests.experiments.test_training import changed


@pytest.fixture
def plan(small):
    """Sixty steps, validated every ten."""
    training = {"steps": 60, "validate_every": 10, "schedule": "constant", "warmup": 0.0, "lr": 0.003}
    return changed(small, training=training, measure={"every": 0})


@pytest.fixture
def broken(monkeypatch, plan):
    """broken(run, steps, returns): the losses of these steps are NaN until so many returns were made."""
    from retrograd.experiments import training as module

    real = module.objective
    epochs = [window.epoch for window in islice(make_task(plan).training(), 60)]

    def breaking(run: Run, steps: range, *, returns: int = 1) -> None:
        places = {epochs[step - 1] for step in steps}

        def make(*arguments):
            objective = real(*arguments)

            def computed(window, state):
                loss, state = objective(window, state)
                if window.epoch in places and len(pointed(run.checkpoints).returns) < returns:
                    loss = Loss(loss.tensor * float("nan"), loss.mean * float("nan"), loss.tokens)
                return loss, state

            return computed

        monkeypatch.setattr(module, "objective", make)

    return breaking


def told(run: Run, *names: str) -> list[tuple]:
    return [(e["event"], e.get("step"), e.get("to")) for e in run.events() if e["event"] in names]


def stopped_after(settings, path, notes: int) -> Run:
    """A run whose process vanished when it had said so much."""
    said = (event for event in training(settings, out=path) if isinstance(event, Note))
    list(islice(said, notes))
    return Run(path)


@pytest.mark.parametrize("schedule", [{"schedule": "constant"}, {"schedule": "cosine", "warmup": 0.1}])
def test_the_smaller_rate_is_a_share_of_the_schedules(plan, tmp_path, broken, schedule):
    """... also after a kill, when the optimiser is a new one; and not of what the schedule had come down to."""
    plan = changed(plan, training=schedule)
    rates = [e.step.lr for e in training(plan, out=tmp_path / "plain") if isinstance(e, Progress)]
    broken(Run(tmp_path / "whole"), range(53, 56))
    steps = [e.step for e in training(plan, out=tmp_path / "whole") if isinstance(e, Progress)]
    again = {step.index: step.lr for step in steps[52:]}  # those after the return
    assert min(again) == 51
    for index, rate in again.items():
        assert rate == pytest.approx(rates[index - 1] / 4)
    broken(Run(tmp_path / "killed"), range(53, 56))
    run = stopped_after(plan, tmp_path / "killed", 1)
    assert tensors(resume(run.path).run) == tensors(Run(tmp_path / "whole"))


def test_where_it_goes_back_to_does_not_depend_on_where_it_was_stopped(plan, tmp_path, broken):
    broken(Run(tmp_path / "whole"), range(25, 28))
    whole = train(plan, out=tmp_path / "whole").run
    assert told(whole, "went back") == [("went back", 27, 20)]
    broken(Run(tmp_path / "run"), range(25, 28))
    run = preempted(plan, tmp_path / "run", 23)
    assert checkpoint.find(run.checkpoints, "last").step == 23
    resume(run.path)
    assert told(run, "went back") == [("went back", 27, 20)]
    assert tensors(run) == tensors(whole)


def test_the_clock_decides_nothing_where_the_budget_is_in_steps(plan, tmp_path, broken, monkeypatch):
    broken(Run(tmp_path / "whole"), range(25, 28))
    whole = train(plan, out=tmp_path / "whole").run
    broken(Run(tmp_path / "run"), range(25, 28))
    monkeypatch.setattr(keeping, "SAVE_EVERY", 0.0)
    assert tensors(train(plan, out=tmp_path / "run").run) == tensors(whole)


def test_a_checkpoint_that_was_gone_back_to_is_known_after_a_kill(plan, tmp_path, broken):
    """From step 20 not one step can be taken, twice: the second time it is no ground to go back to."""
    broken(Run(tmp_path / "whole"), range(21, 24), returns=2)
    whole = train(plan, out=tmp_path / "whole").run
    assert told(whole, "went back") == [("went back", 23, 20), ("went back", 23, 10)]
    broken(Run(tmp_path / "killed"), range(21, 24), returns=2)
    run = killed(plan, tmp_path / "killed", 20)
    assert pointed(run.checkpoints).last == "step-000020"
    resume(run.path)
    assert told(run, "went back") == told(whole, "went back")
    assert tensors(run) == tensors(whole)


def test_the_best_of_before_the_return_stays_the_best_after_a_kill(plan, tmp_path, broken):
    plan = changed(plan, training={"lr": 0.03})
    broken(Run(tmp_path / "whole"), range(31, 34), returns=2)
    whole = train(plan, out=tmp_path / "whole").run
    assert [to for _, _, to in told(whole, "went back")] == [30, 20]
    broken(Run(tmp_path / "killed"), range(31, 34), returns=2)
    run = stopped_after(plan, tmp_path / "killed", 2)
    assert pointed(run.checkpoints).best == "step-000030"
    best = pointed(run.checkpoints).nats
    resume(run.path)
    assert pointed(run.checkpoints).nats <= best
    assert tensors(run) == tensors(whole)


def test_the_last_steps_may_be_skipped_and_the_best_is_still_saved(plan, tmp_path, broken):
    broken(Run(tmp_path / "run"), range(59, 61))
    done = train(changed(plan, training={"validate_every": 7}), out=tmp_path / "run")
    best = checkpoint.find(done.run.checkpoints)
    assert done.report.figures["validation nats"] == pointed(done.run.checkpoints).nats
    assert best.info["validation"]["loss"] == done.best
    assert best.step == 60


def test_a_run_of_which_every_other_step_is_skipped_goes_back_too(plan, tmp_path, broken):
    broken(Run(tmp_path / "run"), range(22, 60, 2))
    run = train(plan, out=tmp_path / "run").run
    assert told(run, "went back") == [("went back", 30, 20)]


def test_a_loss_on_the_test_text_that_is_not_finite_is_a_failure(plan, tmp_path, monkeypatch):
    from retrograd.experiments import training as module

    real = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *a: replace(real(*a), loss=float("nan")))
    with pytest.raises(NonFinite, match="is nan on the test data"):
        train(plan, out=tmp_path / "run")
    assert Run(tmp_path / "run").status() == "failed"
    assert "failed" in (tmp_path / "run" / "report.json").read_text()


def test_weights_that_compute_nan_on_the_validation_text_are_no_ground_to_go_back_to(plan, tmp_path, monkeypatch):
    real = keeping.evaluate
    monkeypatch.setattr(keeping, "evaluate", lambda *a: replace(real(*a), loss=float("nan")))
    run = killed(plan, tmp_path / "run", 35)
    assert pointed(run.checkpoints).grounds == ["step-000000"]
    assert pointed(run.checkpoints).last == "step-000030"


def test_skipped_steps_that_follow_each_other_are_one_happening(plan, tmp_path, broken):
    broken(Run(tmp_path / "run"), range(25, 28))
    done = train(plan, out=tmp_path / "run")
    assert len(told(done.run, "skipped")) == 3
    [skipped] = [h for h in done.report.happenings if h.name == "skipped"]
    assert skipped.details == {"steps": 3, "from": 25, "to": 27}


def test_a_line_of_the_log_is_not_lost_with_the_step_it_falls_on(plan, tmp_path, broken):
    broken(Run(tmp_path / "run"), range(30, 31), returns=9)
    lines = train(plan, out=tmp_path / "run").run.metrics()
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 31, 40, 50, 60]


def test_a_signal_after_a_skipped_step_saves_where_training_stands(plan, tmp_path, broken):
    whole = train(plan, out=tmp_path / "whole").run
    broken(Run(tmp_path / "run"), range(25, 26))
    stop = lambda: bool(told(Run(tmp_path / "run"), "skipped"))  # noqa: E731
    *_, end = training(plan, out=tmp_path / "run", stop=stop)
    assert (end.status, checkpoint.find(end.run.checkpoints, "last").step) == ("preempted", 25)
    assert checkpoint.find(end.run.checkpoints, "last").info["counts"]["strikes"] == 1
    assert pointed(end.run.checkpoints).milestones == ("step-000020", "step-000010")
    assert isinstance(list(resuming(end.run.path))[-1], Finished)
    assert tensors(end.run) != tensors(whole)


def test_a_damaged_checkpoint_is_set_aside_and_not_gone_back_to(plan, tmp_path, broken):
    run = killed(plan, tmp_path / "run", 35)
    spoilt = run.checkpoints / "step-000030" / "model.safetensors"
    size = len(spoilt.read_bytes()) - 5
    spoilt.write_bytes(spoilt.read_bytes()[:size])
    broken(run, range(25, 28))
    done = resume(run.path)
    assert done.status == "finished"
    assert told(run, "went back") == [("went back", 27, 20)]
    assert (run.checkpoints / "damaged-step-000030" / "model.safetensors").stat().st_size == size


def test_a_killed_run_tells_in_its_report_all_that_it_logged(plan, tmp_path):
    run = killed(plan, tmp_path / "run", 35)
    report = read_report(run.path)
    assert report.status == "killed"
    assert report.curves["loss"].steps == (10, 20, 30)
    assert [h.name for h in report.happenings] == ["started"]
