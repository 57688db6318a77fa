"""A remedy on somebody's model: measured before and after, taken back, kept, or put into a copy."""

import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import retrograd as rg
from retrograd.errors import ConfigError, NotMeasured, UnknownName, UsageError
from retrograd.experiments.examination import diagnose
from retrograd.experiments.fixing import NothingToFix, fix
from tests.experiments.recall import B, Recall, T, V, each, last


def on_batch(model, tokens):
    return F.cross_entropy(model(tokens)[-1], tokens[0])


def batches(length=20):
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(V, (length, B), generator=generator)


def state_of(model):
    values = [(n, id(p), p.detach().numpy().tobytes()) for n, p in model.named_parameters()]
    return values, [(n, id(m), sorted(map(str, vars(m)))) for n, m in model.named_modules()]


def test_a_remedy_is_applied_measured_and_taken_back(tokens):
    torch.manual_seed(1)
    model, loss = Recall(nn.LSTM), last(tokens)
    before, rng, python = state_of(model), torch.get_rng_state(), random.getstate()
    fixed = fix(model, loss, "forget-bias", 9.0, need=150)
    assert [f.code for f in fixed.before.findings] == ["vanishing"]
    assert fixed.after.findings == ()
    assert fixed.gained == fixed.after.horizon.steps - fixed.before.horizon.steps > 100
    assert (fixed.told_apart, fixed.cured, fixed.helps, fixed.kept, fixed.model) == (True, True, True, False, None)
    assert (fixed.remedy, fixed.kind) == ("forget_bias=9", "start")
    assert "It was taken back." in repr(fixed)
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert random.getstate() == python
    kept = fix(model, loss, "forget-bias", 9.0, need=150, keep=True)
    assert kept.model is model
    assert kept.after.horizon == fixed.after.horizon == diagnose(model, loss, need=150).horizon


def test_the_model_of_the_first_example_reaches_to_its_beginning_with_what_is_calibrated_on_it(tokens):
    torch.manual_seed(1)
    fixed = fix(Recall(), last(tokens), "calibrated", need=T)
    assert fixed.before.horizon.steps < 20
    assert fixed.after.horizon.steps > 199
    assert fixed.helps


@pytest.mark.parametrize("remedy", ["calibrated", "irnn", "gated_cell", "additive_path"])
def test_what_was_replaced_is_there_again(tokens, remedy):
    torch.manual_seed(1)
    model, loss = Recall(), last(tokens)
    before = state_of(model)
    fixed = fix(model, loss, remedy, need=T)
    assert fixed.after.horizon.censored
    assert state_of(model) == before
    assert (model.rnn.mode, model.rnn.nonlinearity) == ("RNN_TANH", "tanh")


@pytest.mark.parametrize("remedy", ["irnn", "gated_cell"])
def test_a_copy_has_the_remedy_and_the_model_does_not(tokens, remedy):
    torch.manual_seed(1)
    model, loss = Recall(), last(tokens)
    before = state_of(model)
    fixed = fix(model, loss, remedy, need=T, copy=True)
    assert state_of(model) == before
    assert fixed.model is not model
    assert "It is in the copy." in repr(fixed)
    assert diagnose(fixed.model, loss, need=T).horizon == fixed.after.horizon


class Keeping(Recall):
    def forward(self, tokens):
        y = super().forward(tokens)
        self.last = y
        return y


def test_a_model_that_cannot_be_copied_is_refused_with_a_way_out(tokens):
    model = Keeping()
    model(tokens)
    with pytest.raises(UsageError, match=r"cannot be copied \(.*\); leave copy out"):
        fix(model, last(tokens), "orthogonal", copy=True)
    assert fix(model, last(tokens), "orthogonal").after.horizon.steps > 10


def test_without_a_name_it_is_the_first_that_the_diagnosis_names(tokens):
    torch.manual_seed(1)
    model, loss = Recall(nn.LSTM), last(tokens)
    [named, *_] = diagnose(model, loss, need=T).findings[0].remedies
    fixed = fix(model, loss, need=T)
    assert fixed.remedy.startswith(named.name.replace("-", "_"))
    assert fixed.predicted == named.predicted
    assert fixed.gained > 100


def test_where_nothing_is_wrong_there_is_nothing_to_fix(tokens):
    model = Recall(nn.LSTM)
    rg.initialise_(model, "forget_bias=9")
    with pytest.raises(NothingToFix, match=r"No remedy is named: nothing wrong was found\. Ask for one"):
        fix(model, last(tokens), need=150)


def test_a_remedy_is_trained_with_and_without_where_steps_are_asked_for():
    torch.manual_seed(1)
    model = Recall()
    before, rng = state_of(model), torch.get_rng_state()
    fixed = fix(model, on_batch, "calibrated", need=19, batches=batches, steps=60)
    assert (len(fixed.trained.pairs), fixed.trained.steps, fixed.trained.fresh) == (1, 60, True)
    assert fixed.trained.won
    assert fixed.trained.pairs[0].plain.loss > 2.4
    assert "It was taken back. After 60 steps the loss on fresh batches is" in repr(fixed)
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), rng)


def test_what_is_measured_is_what_is_trained():
    """The remedy draws the same weights for the one and for the other."""
    torch.manual_seed(1)
    model = Recall()
    fixed = fix(model, on_batch, "orthogonal", need=19, batches=batches, steps=1, keep=True, seeds=(3,))
    first = next(batches())
    with torch.no_grad():
        assert float(on_batch(model, first)) == pytest.approx(fixed.trained.pairs[0].remedied.curve[0], rel=1e-6)


def test_a_remedy_of_the_training_is_measured_after_some():
    torch.manual_seed(1)
    model = Recall()
    before = state_of(model)
    fixed = fix(model, on_batch, "flossing", 8, need=19, batches=batches, steps=40)
    assert fixed.kind == "training"
    assert fixed.gained > 0
    assert repr(fixed).startswith("After 40 steps of training the gradient reaches >20 steps back with flossing=8, and")
    assert fixed.trained.pairs[0].remedied.statistics["flossed"] == 40
    assert state_of(model) == before
    with pytest.raises(UsageError, match="leaves nothing in the model to be kept"):
        fix(model, on_batch, "flossing", need=19, batches=batches, keep=True)


def test_a_training_that_diverges_is_measured_as_what_it_is():
    fixed = fix(Recall(), on_batch, "flossing", need=19, batches=batches, steps=3, lr=1e18)
    assert fixed.after.horizon.lost or not fixed.after.horizon.finite or fixed.after.horizon.steps < 19
    assert not fixed.trained.won


@pytest.mark.parametrize("form", ["list", "function", "generator"])
def test_batches_may_be_a_list_a_function_or_a_generator(form):
    given = {"list": [next(batches())], "function": batches, "generator": batches()}[form]
    fixed = fix(Recall(), on_batch, "orthogonal", need=19, batches=given, steps=2)
    assert fixed.trained.fresh == (not isinstance(given, list))


@pytest.mark.parametrize(("asked", "drawn"), [({}, 4), ({"steps": 2}, 2 + 8), ({"steps": 2, "seeds": (0, 1)}, 4 + 8)])
def test_no_more_batches_are_drawn_than_are_measured_and_trained_on(asked, drawn):
    taken = []
    supply = (taken.append(x) or x for x in batches())
    fix(Recall(), on_batch, "orthogonal", need=19, batches=supply, **asked)
    assert len(taken) == drawn


def test_a_remedy_that_makes_it_worse_is_told_as_more_than_chance(tokens):
    torch.manual_seed(1)
    fixed = rg.fix(Recall(), last(tokens), "spectral-radius", 0.01, need=T)
    assert fixed.gained < 0
    assert fixed.told_apart
    assert not fixed.helps
    assert "chance" not in repr(fixed)
    alone = rg.fix(Recall(), last(tokens[:, :1]), "orthogonal", need=T)
    assert not alone.told_apart, "one sequence has no interval"


def test_the_number_of_a_remedy_is_taken_as_it_is(tokens):
    model = Recall(nn.LSTM)
    for number in (1.23456789, -3.0, 1e6):
        rg.fix(model, last(tokens), "forget-bias", number, keep=True)
        assert torch.equal(model.rnn.bias_ih_l0[64:128], torch.full((64,), number))
    rg.fix(model, last(tokens), "forget-bias=2.5", keep=True)
    assert (model.rnn.bias_ih_l0[64:128] == 2.5).all()


@pytest.mark.parametrize(
    ("remedy", "numbers", "error", "sentence"),
    [
        ("forget-bias", (3.0,), UsageError, "needs a gate that keeps"),
        ("forgetbias", (3.0,), UnknownName, "the nearest is 'forget_bias'"),
        ("orthogonal", (1.0, 2.0), ConfigError, r"takes at most 1 number \(gain\), got 1, 2"),
        ("chrono", (), ConfigError, r"takes 1 number \(longest\), got none"),
        ("orthogonal=much", (), ConfigError, "as in forget-bias=3; got 'orthogonal=much'"),
        ("orthogonal=1", (2.0,), ConfigError, "orthogonal=1 has its numbers behind the name, and got 1 more"),
        ("window", (0,), ConfigError, "at least 1; got 0"),
    ],
)
def test_a_remedy_that_does_not_apply_changes_nothing(tokens, remedy, numbers, error, sentence):
    model = Recall()
    before = state_of(model)
    with pytest.raises(error, match=sentence):
        rg.fix(model, last(tokens), remedy, *numbers, need=150)
    assert state_of(model) == before


def test_a_measurement_that_fails_after_the_remedy_takes_it_back(tokens):
    model = Recall(nn.LSTM)
    before = state_of(model)
    with pytest.raises(NotMeasured, match="is not known"):
        rg.fix(model, each(tokens), "forget-bias", 9.0, need=900, keep=True)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": True, "copy": True}, "not both"),
        ({"batches": []}, "There are no batches"),
        ({"batches": torch.ones(3)}, "must be a list of them, or a function"),
        ({"seeds": ()}, "At least one seed"),
    ],
)
def test_what_cannot_be_meant_is_refused(tokens, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        fix(Recall(), last(tokens), "orthogonal", **options)


def test_nothing_is_drawn_from_anybodys_generators():
    model = Recall()
    arrays, python, rng = numpy.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()

    def drawing():
        while True:
            yield torch.randint(V, (20, B)) + numpy.random.randint(1) + random.randint(0, 0)

    fix(model, on_batch, "orthogonal", need=19, batches=drawing, steps=1)
    assert torch.equal(torch.get_rng_state(), rng)
    assert (numpy.random.get_state()[1] == arrays).all()
    assert random.getstate() == python
