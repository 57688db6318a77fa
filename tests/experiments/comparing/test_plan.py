"""What comparison.toml holds, that it is read back as it was, and what is refused before anything is begun."""

import tomllib

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, RunError, UsageError
from retrograd.experiments.comparing.compare import begun, check, shared, taken_up
from retrograd.experiments.comparing.contestants import OWN
from retrograd.experiments.comparing.plan import PLAN, planned
from tests.conftest import SMALL


@pytest.fixture
def values(text):
    model = {key: x for key, x in SMALL["model"].items() if key not in OWN}
    return SMALL | {"model": model, "data": {"train": [str(text)]}}


@pytest.fixture
def folder(values, tmp_path):
    begun(values, ["rnn", "lstm"], seeds=2, out=tmp_path / "it")
    return tmp_path / "it"


def test_seeds_follow_each_other_and_every_model_has_each_of_them(values):
    plan = planned(config.merge(values, {"training": {"seed": 5}}), ["ngram", "rnn", "lstm:forget_bias=3"], seeds=2)
    assert [e.name for e in plan.entries] == [
        "ngram-5",
        "rnn-5",
        "lstm-forget_bias=3-5",
        "rnn-6",
        "lstm-forget_bias=3-6",
    ]
    assert [e.settings.training.seed for e in plan.entries] == [5, 5, 5, 6, 6]


def test_nothing_is_left_open(values, folder):
    written = tomllib.loads((folder / PLAN).read_text())
    assert (written["models"], written["seeds"]) == (["rnn", "lstm"], [1, 2])
    training = written["config"]["training"]
    assert (training["steps"], training["threads"], training["device"]) == (30, 1, "cpu")
    assert not set(OWN) & written["config"]["model"].keys()
    assert len(written["data"]) == 64
    training = {key: x for key, x in values["training"].items() if key != "steps"}
    assert planned(values | {"training": training}, ["rnn"], seeds=1).shared.training.minutes == 5


def test_a_plan_is_read_back_as_it_was(values, folder):
    assert taken_up(folder) == (planned(values, ["rnn", "lstm"], seeds=2), folder)
    assert begun(values, ["rnn", "lstm"], seeds=2, out=folder) == taken_up(folder)


def test_nobody_s_random_numbers_are_touched(values):
    before = torch.get_rng_state()
    planned(values, ["ngram", "rnn", "gru"], seeds=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ((["rnn", "gru"], 2, {}), "models is"),
        ((["rnn", "lstm"], 3, {}), "seeds is"),
        ((["rnn", "lstm"], 2, {"training": {"steps": 31}}), "training.steps is 30 there and 31 here"),
        ((["rnn", "lstm"], 2, {"model": {"hidden": 17}}), "model.hidden is 16 there and 17 here"),
        ((["rnn", "lstm"], 2, {"training": {"minutes": 1}}), "training.minutes is None there and 1.0 here"),
    ],
)
def test_a_folder_of_another_plan_is_refused_by_the_key_that_differs(values, folder, asked, key):
    models, seeds, changes = asked
    with pytest.raises(RunError, match=key):
        begun(config.merge(values, changes), models, seeds=seeds, out=folder)


def test_a_text_that_has_changed_is_noticed(values, tmp_path, text):
    own = tmp_path / "own.txt"
    own.write_bytes(text.read_bytes())
    begun(values | {"data": {"train": [str(own)]}}, ["rnn"], seeds=1, out=tmp_path / "it")
    own.write_bytes(text.read_bytes() + b"more\n")
    with pytest.raises(RunError, match="is not what it began with"):
        taken_up(tmp_path / "it")
    with pytest.raises(RunError, match="data is"):
        begun(values | {"data": {"train": [str(own)]}}, ["rnn"], seeds=1, out=tmp_path / "it")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"rnn"', '"rnm"'),
        ("seeds =", "sees ="),
        ("hidden = 16", "hidden = 0"),
        ("hidden = 16", "hiden = 16"),
        ("1,", ""),
    ],
)
def test_a_plan_that_was_altered_is_one_sentence(folder, old, new):
    text = (folder / PLAN).read_text()
    assert old in text
    (folder / PLAN).write_text(text.replace(old, new, 1))
    if old == "1,":  # another plan, as good as the first
        assert taken_up(folder)[0].seeds == (2,)
        return
    with pytest.raises(RunError, match=r"was altered: .* Put it back"):
        taken_up(folder)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ((["rnn"], 0, {}), UsageError, "At least one seed is needed, got --seeds 0"),
        ((["rnn"], 1, {"model": {"cell": "gru"}}), UsageError, "models of a comparison differ in model.cell"),
        ((["rnn"], 1, {"model": {"init": "identity"}}), UsageError, "differ in model.init"),
        ((["rnn"], 1, {"model": 3}), ConfigError, "The config key model does not fit"),
        ((["rnn"], 1, {"data": {"train": []}}), DataError, "No text was given"),
        ((["ngram", "rnn"], 1, {"task": "adding"}), ConfigError, "ngram reads text"),
        ((["rnn", "gru:identity"], 1, {}), UsageError, "gates"),
        ((["ngram"], 1, {"data": {"train": ["none.txt"]}}), DataError, "No text file is at"),
        ((["rnn", "additive"], 1, {"training": {"schedule": "cosin"}}), UsageError, "cosin"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(values, tmp_path, asked, error, says):
    models, seeds, changes = asked
    with pytest.raises(error, match=says):
        begun(config.merge(values, changes), models, seeds=seeds, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_else_is_refused(values, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="already exists and is not empty"):
        begun(values, ["rnn"], seeds=1, out=tmp_path / "full")
    with pytest.raises(RunError, match=r"is no comparison: it holds no comparison\.toml"):
        taken_up(tmp_path / "full")


def test_the_config_of_a_run_can_be_shared_without_what_is_its_own(trained):
    found = shared(trained.run.path / "config.toml", {"training": {"minutes": 2}})
    assert not set(OWN) & found["model"].keys()
    assert found["model"]["hidden"] == 16
    assert found["training"]["minutes"] == 2
    assert "steps" not in found["training"]


def test_a_place_that_there_is_not_and_no_worker_are_refused():
    with pytest.raises(UsageError, match="There are: cores, ray"):
        check(on="rai")
    with pytest.raises(UsageError, match="got --workers 0"):
        check(workers=0)
