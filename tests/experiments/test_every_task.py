"""Every entry of TASKS is trained, stopped, gone on with, tested, verified and measured by the one trainer."""

import json
import math
from pathlib import Path

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, UnknownName
from retrograd.experiments.archive.verification import verify
from retrograd.experiments.build import load
from retrograd.experiments.events import Finished
from retrograd.experiments.inspection import diagnose_run, read_report
from retrograd.experiments.training import resuming, train, training
from retrograd.reports.html import page
from retrograd.tasks import TASKS

PAPERS = Path(__file__).parents[2] / "configs"
SMALL = {"task": {}, "model": {"hidden": 8, "embedding": 4}, "training": {"steps": 6, "batch": 8}}
OF_ITS_OWN = {  # how small each is made
    "recall": {"length": 6},
    "adding": {"length": 12},
    "copying": {"length": 4},
    "temporal-order": {"length": 20},
    "latch": {"length": 12},
    "agreement": {"examples": 300},
    "sentiment": {"examples": 200},
    "tagging": {"examples": 200},
    "translation": {"examples": 200},
    "captioning": {"examples": 60},
}


@pytest.fixture
def small(text, digits):
    data = {"language": {"train": [str(text)]}, "digits": {"train": [str(digits)]}}

    def made(name: str, **changes: object) -> config.Config:
        task = {"name": name} | OF_ITS_OWN.get(name, {})
        return config.make(config.merge(SMALL, {"task": task, "data": data.get(name, {})} | changes))

    return made


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder of small grey images, one folder for each of three classes."""
    from PIL import Image

    root, draw = tmp_path_factory.mktemp("digits"), torch.Generator().manual_seed(0)
    for label in "012":
        (root / label).mkdir()
        for i in range(14):
            pixels = torch.randint(256, (4, 4), generator=draw, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / label / f"{i}.png")
    return root


@pytest.mark.parametrize("name", TASKS)
def test_a_run_of_it_ends_with_a_figure_a_whole_folder_and_a_page(name, small, tmp_path):
    done = train(small(name), out=tmp_path / "run")
    assert done.run.status() == "finished"
    assert math.isfinite(done.test.loss)
    assert done.test.tokens > 0
    assert verify(done.run.path).whole, [c for c in verify(done.run.path).files if c.problem]
    report = read_report(done.run.path)
    assert report.figures == pytest.approx(done.report.figures)
    assert "start" in report.measurements
    assert name in page(report)
    assert isinstance(load(done.run.path), torch.nn.Module)
    assert diagnose_run(done.run.path).subject["need"] == report.subject["need"]


@pytest.mark.parametrize("name", TASKS)
def test_stopped_and_gone_on_with_it_ends_in_the_same_bits(name, small, tmp_path):
    whole = train(small(name), out=tmp_path / "whole")
    stops = iter([False] * 3 + [True] * 9)
    *_, stopped = training(small(name), out=tmp_path / "parts", stop=lambda: next(stops))
    assert isinstance(stopped, Finished)
    assert stopped.status == "preempted"
    assert 0 < stopped.steps < 6
    *_, parts = resuming(tmp_path / "parts")
    assert parts.test == whole.test
    for (key, one), other in zip(
        load(whole.run.path).state_dict().items(), load(parts.run.path).state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key


@pytest.mark.parametrize(
    "path", sorted(PAPERS.glob("*-order.toml")) + sorted(PAPERS.glob("*-adding.toml")), ids=lambda p: p.stem
)
def test_the_settings_of_a_paper_train(path, tmp_path):
    few = {"training": {"steps": 2, "batch": 4, "validate_every": 2}, "task": {"length": 12}}
    assert math.isfinite(train(config.make(config.merge(config.read(path), few)), out=tmp_path / "run").test.loss)


@pytest.mark.parametrize("remedy", ["norm-preserving=2", "clip-in-time=0.001"])
@pytest.mark.parametrize("name", ["adding", "recall", "language"])
def test_a_remedy_of_the_training_is_there_for_numbers_and_for_tokens(name, remedy, small, tmp_path):
    model = SMALL["model"] | {"cell": "elman"}
    plain, remedied = (
        train(small(name, model=model, training=SMALL["training"] | more), out=tmp_path / folder)
        for folder, more in (("plain", {}), ("remedied", {"remedy": remedy}))
    )
    assert math.isfinite(remedied.test.loss)
    assert remedied.test.loss != plain.test.loss


@pytest.mark.parametrize("name", ["adding", "latch", "recall", "temporal-order", "copying"])
def test_success_is_told_by_length(name, small, tmp_path):
    done = train(small(name), out=tmp_path / "run")
    [(heading, grid)] = done.report.grids.items()
    assert heading.startswith("Success by ")
    assert OF_ITS_OWN[name]["length"] in [row[0] for row in grid.rows]
    assert all(0 <= share <= 1 for row in grid.rows for share in row[1:3])
    assert json.loads(done.report.to_json())["grids"][heading]["heads"] == list(grid.heads)


def test_a_generated_text_is_judged_by_its_minimal_pairs(small, tmp_path):
    task = {"name": "agreement"} | OF_ITS_OWN["agreement"]
    counts = config.make({"task": task, "model": {"kind": "ngram", "order": 3}})
    for name, settings in (("net", small("agreement")), ("counts", counts)):
        report = train(settings, out=tmp_path / name).report
        assert 0 <= report.figures["pair accuracy"] <= 1
        assert report.figures["syntactic recency"] + report.figures["sequential recency"] == pytest.approx(1)
        assert any(heading.startswith("Accuracy by attractors") for heading in report.grids)
        assert any(heading.startswith("Accuracy by distance") for heading in report.grids)


@pytest.mark.parametrize("name", ["translation", "captioning"])
def test_sentences_that_it_writes_are_scored_and_shown(name, small, tmp_path):
    report = train(small(name), out=tmp_path / "run").report
    assert 0 <= report.figures["exact match"] <= 1
    assert report.sample.count("(reference: ") == 8
    assert not [note for note in report.notes if "BLEU" in note] or 0 <= report.figures["BLEU"] <= 100


@pytest.mark.parametrize("words", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["translation", "tagging"])
def test_sentences_of_a_few_words_are_learned(name, words, tmp_path):
    rows = [(" ".join(left[:words]), " ".join(right[:words])) for left, right in (("abcd", "XYXZ"), ("bacd", "YXXZ"))]
    file = tmp_path / "rows.tsv"
    file.write_text("".join(f"{left}\t{right}\n" for left, right in rows * 20))
    made = config.make(config.merge(SMALL, {"task": name, "data": {"train": [str(file)]}}))
    done = train(made, out=tmp_path / "run")
    assert done.steps == 6
    assert bool(done.report.measurements) == (name == "translation" or words > 1), "one step reaches nowhere"
    assert name == "translation" or words == 1 or done.report.subject["need is"] == "assumed: the sequences' length"


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"task": {"name": "adding", "bits": 3}}, "task.bits"),
        ({"task": {"name": "adding", "permuted": True}}, "task.permuted"),
        ({"task": {"name": "recall", "held_out": 3}}, "task.held_out"),
        ({"task": "recall", "training": {"window": 8}}, "training.window"),
        ({"task": "sentiment", "data": {"level": "byte"}}, "data.level"),
        ({"task": "tagging", "data": {"vocabulary": 10}}, "data.vocabulary"),
    ],
)
def test_a_key_that_a_task_does_not_read_is_refused(values, key, tmp_path):
    with pytest.raises(ConfigError, match=f"{key} has no effect on the task"):
        train(config.make(values), out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_run_of_earlier_days_is_read_as_it_was_written(text):
    old = {"task": "recall", "recall": {"gap": 7, "symbols": 3}}
    assert config.make(old).task == config.Task(name="recall", length=7, symbols=3)
    assert config.make({"task": "language", "recall": {"gap": 50, "symbols": 8}}).task == config.Task()


def test_what_is_no_text_has_smaller_defaults_that_can_be_given():
    assert config.make({}).model.hidden == 512
    assert config.make({"task": "adding"}).model.hidden == 128
    assert config.make({"task": "adding", "model": {"hidden": 512}}).model.hidden == 512


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"task": "addition"}, UnknownName, "the nearest is 'adding'"),
        ({"task": "adding", "model": {"kind": "window"}}, ConfigError, "reads text"),
        ({"task": "adding", "model": {"attention": True}}, ConfigError, "model.attention has no effect"),
        ({"task": "adding", "model": {"context": 3}}, ConfigError, "read by --model window alone"),
        ({"task": "adding", "model": {"tied": True}}, ConfigError, "tied"),
        ({"task": "translation", "model": {"bidirectional": True}}, ConfigError, "read from its end"),
        ({"task": "adding", "training": {"remedy": "orthogonal"}}, ConfigError, "norm_preserving or clip_in_time"),
        ({"task": "adding", "training": {"remedy": "norm-preserving=much"}}, ConfigError, "takes numbers"),
        ({"task": {"name": "adding", "lenght": 9}}, ConfigError, "the nearest is task.length"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(values, error, says, tmp_path):
    with pytest.raises(error, match=says):
        train(config.make(values), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
