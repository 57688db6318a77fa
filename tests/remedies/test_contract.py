"""What every remedy must do: apply, be measured, and be taken back to the last bit; or be refused in a sentence."""

import random
import re

import numpy
import pytest
import torch
from torch import nn

from retrograd.errors import RetrogradError, UnknownName
from retrograd.init import INITS
from retrograd.measures import horizon, reach
from retrograd.remedies import REMEDIES, Plain, Snapshot, remedy_named
from retrograd.trace import record

T, B, X, H = 16, 3, 2, 6
NUMBERS = {"chrono": (50,), "window": (4,), "clip_norm": (1e-3,), "clip_in_time": (1e-3,)}
FOR_GATES = ("forget_bias", "chrono")
REFUSED = {name: nn.Sequential(nn.LSTM(X, H)) for name in ("identity", "np_rnn", "irnn", "gated_cell", "additive_path")}
REFUSED |= {name: nn.Sequential(nn.RNN(X, H)) for name in FOR_GATES}


class Model(nn.Module):
    """It drops out, counts, keeps its state and has a hook."""

    def __init__(self, kind) -> None:
        super().__init__()
        self.rnn, self.head, self.calls, self.state = kind(X, H, 2, dropout=0.3), nn.Linear(H, 1), 0, None
        self.register_buffer("seen", torch.zeros(1))
        self.register_forward_hook(lambda *_: None)

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        y, self.state = self.rnn(x)
        return self.head(y).squeeze(-1)


def everything(model):
    """All that a remedy could leave behind, as bits and identities."""
    named = list(model.named_parameters())
    weights = [(n, id(p), p.detach().numpy().tobytes(), p.requires_grad, id(p.grad)) for n, p in named]
    grads = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
    buffers = [(n, id(b), b.numpy().tobytes()) for n, b in model.named_buffers()]
    attributes = [(n, id(m), [(k, id(v)) for k, v in vars(m).items()]) for n, m in model.named_modules()]
    boxes = [[(k, list(v)) for k, v in vars(m).items() if isinstance(v, dict | list)] for m in model.modules()]
    return weights, grads, buffers, attributes, str(boxes)


def patient(name):
    torch.manual_seed(0)
    return Model(nn.LSTM if name in FOR_GATES else nn.RNN)


def loss(x, target):
    return lambda m: (m(x) - target).square()


@pytest.fixture
def data():
    torch.manual_seed(1)
    return torch.randn(T, B, X), torch.randn(T, B)


@pytest.mark.parametrize("name", REMEDIES)
class TestEveryRemedy:
    def test_it_says_what_it_is(self, name):
        patch = REMEDIES[name]
        assert patch.name == name
        assert patch.kind in ("start", "training", "architecture")
        assert re.fullmatch(r"[A-Z].*\.", patch.note)
        assert (patch.kind == "start") <= ("discards" in patch.note)
        assert patch.required <= len(patch.numbers)

    def test_it_applies_and_is_measured(self, name, data):
        model = patient(name)
        before = everything(model)
        course = REMEDIES[name].apply(model, loss(*data), *NUMBERS.get(name, ()))
        changed = everything(model) != before
        assert changed == (REMEDIES[name].kind != "training")
        assert isinstance(course, Plain) == changed
        assert horizon(reach(record(model, loss(*data)))).finite

    def test_a_training_step_goes_through_it(self, name, data):
        model = patient(name).eval()
        course = REMEDIES[name].apply(model, loss(*data), *NUMBERS.get(name, ()))
        with course.step(model):
            loss(*data)(model).mean().backward()
        found = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        loss(*data)(model).mean().backward()
        same = all(torch.allclose(g, p.grad, atol=1e-7) for g, p in zip(found, model.parameters(), strict=True))
        assert same == (REMEDIES[name].kind != "training")
        assert bool(course.statistics) == (REMEDIES[name].kind == "training")
        assert all(isinstance(x, int | float) for x in course.statistics.values())
        assert "forward" not in vars(model.rnn)

    def test_it_is_taken_back_to_the_last_bit(self, name, data):
        model = patient(name)
        loss(*data)(model).mean().backward()
        before, found = everything(model), Snapshot(model)
        course = REMEDIES[name].apply(model, loss(*data), *NUMBERS.get(name, ()))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            with course.step(model):
                loss(*data)(model).mean().backward()
            optimizer.step()
        assert everything(model) != before
        found.restore()
        assert everything(model) == before

    def test_what_it_does_not_apply_to_is_refused_in_a_sentence_and_left_alone(self, name, data):
        model = REFUSED.get(name, nn.Sequential(nn.Linear(X, H)))
        before = everything(model)
        if name == "clip_norm":  # there are weights in every model
            REMEDIES[name].apply(model, lambda m: m(data[0]).square(), 1.0)
            return
        with pytest.raises(RetrogradError, match=r"^[A-Za-z_].*[.]$"):
            REMEDIES[name].apply(model, lambda m: m(data[0]).square(), *NUMBERS.get(name, ()))
        assert everything(model) == before

    def test_too_many_numbers_and_numbers_that_are_none_are_refused(self, name, data):
        model = patient(name)
        before = everything(model)
        for numbers in ((1.0,) * (len(REMEDIES[name].numbers) + 1), (float("nan"),) * len(REMEDIES[name].numbers)):
            if numbers:
                with pytest.raises(RetrogradError, match=rf"{name}.*(takes|must be finite)"):
                    REMEDIES[name].apply(model, loss(*data), *numbers)
        assert everything(model) == before

    def test_a_loss_that_fails_while_it_measures_leaves_all_as_it_was(self, name, data):
        model, calls = patient(name), []
        before, python, arrays = everything(model), random.getstate(), numpy.random.get_state()[1].copy()

        def failing(m):
            calls.append(1)
            if len(calls) > 1:
                raise KeyError("half-way")
            return loss(*data)(m)

        try:
            REMEDIES[name].apply(model, failing, *NUMBERS.get(name, ()))
        except KeyError:
            assert everything(model) == before
        assert random.getstate() == python
        assert (numpy.random.get_state()[1] == arrays).all()


def test_names_are_taken_with_hyphens_and_the_nearest_is_offered():
    assert remedy_named("forget-bias") is REMEDIES["forget_bias"]
    with pytest.raises(UnknownName, match="the nearest is 'calibrated'"):
        remedy_named("calibrate")


def test_every_initialiser_is_a_start():
    assert all(REMEDIES[name].kind == "start" for name in INITS)
