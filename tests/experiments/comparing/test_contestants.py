"""Each name stands for the config that it says, and for nothing else; what it cannot do is refused."""

import pytest
import torch

from retrograd import config
from retrograd.bptt import Stack
from retrograd.errors import ConfigError, UnknownName
from retrograd.experiments.at_once import refuse_idle
from retrograd.experiments.build import build
from retrograd.experiments.comparing import contestants
from retrograd.experiments.comparing.contestants import CONTESTANTS, OWN, checked
from retrograd.experiments.work import resolve
from retrograd.tasks.window import Sizes

SHARED = {"hidden": 8, "layers": 2, "order": 3, "context": 2, "embedding": 5, "dropout": 0.1}
TEXT = config.make({"data": {"train": ["notes.txt"]}, "model": SHARED, "training": {"lr": 0.01, "steps": 7}})
TAGGED = config.make({"task": "tagging", "model": {"hidden": 8, "layers": 2}, "training": {"steps": 7}})
NETWORKS = [name for name, one in CONTESTANTS.items() if not one.counted]


def shared_by(name):
    return TAGGED if CONTESTANTS[name].reads == "whole" else TEXT


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_built_from_what_all_share(name):
    settings = resolve(contestants.settings(shared_by(name), name, 3))
    model = build(settings, Sizes(11, 11))
    assert settings.training.seed == 3
    assert sum(isinstance(module, Stack) for module in model.modules()) == {"window": 0, "bidirectional": 2}.get(
        name, 1
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_differ_in_keys_of_their_own_alone(name):
    shared = shared_by(name)
    one, other = (config.flat(s.model_dump()) for s in (contestants.settings(shared, name, 1), shared))
    idle = {"order", "context"} - {"context" if name == "window" else ""} | set(CONTESTANTS[name].idle)
    own = {f"model.{key}" for key in (*OWN, *idle)}
    assert {key for key in one if one[key] != other[key]} <= own


@pytest.mark.parametrize(("name", "kept"), [("ngram", "order"), ("naive-bayes", "kind")])
def test_what_counts_is_given_no_key_that_it_would_refuse(name, kept):
    shared = resolve(TEXT) if name == "ngram" else resolve(config.make({"task": "sentiment", "model": {"hidden": 9}}))
    settings = contestants.settings(shared, name, 2)
    refuse_idle(settings, CONTESTANTS[name].counts, name)
    assert getattr(settings.model, kept) == {"ngram": 3, "naive-bayes": "naive-bayes"}[name]
    assert settings.data == shared.data


def test_the_plain_ones_start_as_their_papers_have_it():
    weights = {}
    for name in ("rnn", "irnn", "np-rnn"):
        torch.manual_seed(0)
        model = build(resolve(contestants.settings(config.make({"model": {"hidden": 12}}), name, 1)), Sizes(11, 11))
        (cell,) = model.stack.layers
        weights[name] = cell.weight_hh.detach().double()
        assert cell.activation == ("tanh" if name == "rnn" else "relu")
    assert torch.equal(weights["irnn"], torch.eye(12, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(weights["np-rnn"]).max()) == pytest.approx(1.0, abs=1e-5)
    assert float(weights["rnn"].abs().max()) <= 12**-0.5


def test_another_start_is_named_behind_a_colon():
    settings = contestants.settings(TEXT, "lstm:orthogonal+forget_bias=3", 1)
    assert settings.model.init == "orthogonal+forget_bias=3"
    assert settings.model.cell == "lstm"
    assert checked(["lstm", "lstm:forget_bias=3"], "language") == ("lstm", "lstm:forget_bias=3")


@pytest.mark.parametrize(
    ("names", "task", "says"),
    [
        (["ngram", "lstm"], "adding", "ngram reads text and cannot learn the task 'adding'"),
        (["window"], "tagging", "window reads text"),
        (["bidirectional"], "language", "reads from the end too"),
        (
            ["rnn", "bidirectional"],
            "translation",
            "end too, where the task 'translation' shows what is asked; leave it",
        ),
        (["bidirectional"], "captioning", "end too, where the task 'captioning' shows what is asked"),
        (["naive-bayes"], "language", "gives a text one label"),
        (["rnn", "rnn"], "adding", "names rnn twice"),
        (["ngram:orthogonal"], "language", "no recurrent weights"),
        ([], "language", "At least one model"),
    ],
)
def test_what_cannot_take_part_is_refused(names, task, says):
    with pytest.raises(ConfigError, match=says):
        checked(names, task)


def test_an_unknown_name_is_offered_the_nearest():
    with pytest.raises(UnknownName, match="the nearest is 'lstm'"):
        checked(["lstn"], "language")
