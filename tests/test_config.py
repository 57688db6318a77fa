"""A config is checked key by key, and comes back from its own TOML."""

import tomllib

import pytest

from retrograd import config
from retrograd.errors import ConfigError


def test_a_dumped_config_reads_back_as_itself():
    made = config.make({"data": {"train": ["a.txt"]}, "training": {"steps": 7}, "model": {"embedding": 3}})
    assert config.make(tomllib.loads(config.dump(made))) == made


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modle": {}}, "There is no config key modle; the nearest is model."),
        ({"model": {"hiden": 3}}, "There is no config key model.hiden; the nearest is model.hidden."),
        ({"model": {"windw": 3}}, "There is no config key model.windw; the nearest is training.window."),
        ({"training": {"steps": 1, "minutes": 1}}, "give one of minutes, steps and epochs; got minutes and steps"),
        ({"model": {"hidden": 0}}, "model.hidden does not fit"),
        ({"model": {"hidden": "many"}}, "got 'many'"),
        ({"training": {"reduction": "mean"}}, "'token' or 'sequence'"),
        ({"data": 3}, "data"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ConfigError) as error:
        config.make(values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_assignments_are_toml_or_plain_text():
    pairs = ["model.hidden=256", "training.optimizer=sgd", "training.betas=[0.8, 0.9]", "model.tied=true"]
    assert config.assignments(pairs) == {
        "model": {"hidden": 256, "tied": True},
        "training": {"optimizer": "sgd", "betas": [0.8, 0.9]},
    }


@pytest.mark.parametrize("pair", ["model.hidden", "=3", ""])
def test_an_assignment_without_a_key_or_a_value_is_refused(pair):
    with pytest.raises(ConfigError, match="--set takes"):
        config.assignments([pair])


def test_a_new_budget_replaces_the_old_one():
    merged = config.merge({"training": {"epochs": 13, "lr": 1.0}}, {"training": {"steps": 5}})
    assert merged == {"training": {"lr": 1.0, "steps": 5}}


def test_merging_leaves_its_arguments_alone():
    base = {"model": {"hidden": 1}}
    config.merge(base, {"model": {"hidden": 2}})
    assert base == {"model": {"hidden": 1}}


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"No config file is at .*none\.toml"):
        config.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 3")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        config.read(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({"task": "translation"}, {"task": {"held_out": 2}}),
        ({"task": {"held_out": 2}}, {"task": "translation"}),
        ({"task": {"name": "adding", "held_out": 2}}, {"task": "translation"}),
    ],
)
def test_a_task_by_its_name_keeps_its_other_keys(base, changes):
    made = config.make(config.merge(base, changes))
    assert (made.task.name, made.task.held_out) == ("translation", 2)


def test_a_task_that_is_a_number_is_refused_in_a_sentence():
    for values in ({"task": 3}, {"task": 3, "recall": {"gap": 3}}):
        with pytest.raises(ConfigError, match="task"):
            config.make(values)
