"""What clipping did and what a training stumbled over, from its log."""

import pytest

from retrograd import config
from retrograd.experiments import clipped
from retrograd.experiments.training import train
from retrograd.runs import Run
from tests.experiments.test_training import changed


@pytest.fixture
def log(tmp_path):
    def written(*lines, events=()):
        run = Run(tmp_path)
        for step, share in lines:
            run.record(step=step, loss=1.0, log_grad_norm=0.5, clipped=share)
        for name, values in events:
            run.event(name, **values)
        return run

    return written


def test_each_step_counts_once_however_the_lines_overlap(log):
    """Clipped in the first 10 of 30 steps: each line tells of all steps before it."""
    run = log((10, 1.0), (20, 0.5), (30, 1 / 3))
    assert clipped.of_training(run, config.Training()).share == pytest.approx(10 / 30)


def test_of_a_long_training_all_of_its_lines_that_far_apart_count(log):
    """Clipped in the steps 1 to 40 of 120; a line has the share of the last 50."""
    lines = [(t, sum(s <= 40 for s in range(max(1, t - 49), t + 1)) / min(t, 50)) for t in range(10, 121, 10)]
    assert clipped.of_training(log(*lines), config.Training()).share == pytest.approx(40 / 120)


def test_going_back_tells_what_is_clipped_at_in_the_end(log):
    t = config.Training(clip_norm=0.0)
    run = log((10, 0.2), events=[("skipped", {"step": 3}), ("skipped", {"step": 4}), ("went back", {"clip_norm": 1.0})])
    assert clipped.clip_norm(run, t) == 1.0
    assert clipped.of_training(run, t).threshold == 1.0
    assert clipped.stumbles(run) == {"steps skipped": 2.0, "returns to a checkpoint": 1.0}


def test_where_nothing_clips_nothing_is_told(log):
    run = log((10, 0.0))
    assert clipped.of_training(run, config.Training(clip_norm=0.0)) is None
    assert clipped.of_training(run, config.Training(clip_norm=0.0, clip_value=0.1)).factor is None
    assert clipped.stumbles(run) == {}


def test_the_share_is_that_of_the_steps_of_a_training(small, tmp_path):
    report = train(changed(small, training={"steps": 30, "clip_norm": 1.2}), out=tmp_path / "run").report
    share = report.figures["share of steps clipped"]
    assert share * 30 == pytest.approx(round(share * 30)), "a whole number of steps"
