"""Somebody's own loop, watched: the same bits as without, each step told, nothing stopped."""

import copy
import math
import pickle
import random
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import retrograd as rg
from retrograd.errors import UsageError
from retrograd.experiments.watching import RetrogradWarning, looking, watch
from retrograd.measures import saturation, window
from retrograd.trace import record
from tests.experiments.watching.loops import (
    ALWAYS,
    Awkward,
    B,
    H,
    Last,
    Model,
    T,
    V,
    batch,
    carried,
    cross_entropy,
    each,
    step,
)

# ---- the same bits


def kept_inside(model, out, watched):
    torch.manual_seed(1)
    random.seed(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    w = watch(model, every=2, share=1e9, out=out) if watched else None
    for i in range(7):
        x, y = batch(i)
        loss = cross_entropy(model(x), y)
        loss.backward()
        if w:
            w.step(loss)
        optimizer.step()
        optimizer.zero_grad()
    if w:
        w.close()
    assert model.calls == 7
    return [*model.state_dict().values(), model.state, torch.get_rng_state(), torch.tensor(random.random())], w


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(("make", "train"), [(Model, carried), (Awkward, kept_inside)])
def test_a_watched_training_ends_in_the_same_bits(make, train, folder, tmp_path):
    torch.manual_seed(0)
    plain = train(make(), None, False)[0]
    torch.manual_seed(0)
    watched, w = train(make(), tmp_path / "mine" if folder else None, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert w.index == 7
    assert [m.step for m in w.measurements.values()] == [1, 6]


def test_the_hooks_are_gone_when_it_is_closed():
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    carried(model, None, True)
    with watch(model, optimizer=optimizer):
        assert model._forward_pre_hooks
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_watched_model_can_be_copied_and_the_copy_is_not_watched(copied, tmp_path):
    model, (x, y) = Model(), batch()
    with watch(model, out=tmp_path / "mine", **ALWAYS) as w:
        other = copied(model)
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        cross_entropy(other(x)[0], y).backward()
        assert len(w._calls._calls) == 1
        w.step(loss)
        assert other.head.weight.grad is not None
    assert w.measurements


# ---- each step


def steps(w, model, optimizer, count, *, clip=None):
    norms = []
    for i in range(count):
        x, y = batch(i)
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))
        w.step(loss)
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
    return norms


@pytest.mark.parametrize("known_by", ["clip_norm", "optimizer"])
def test_the_norm_before_clipping_is_logged_and_what_clipping_does(known_by):
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model) as w:
        norms = steps(w, model, optimizer, 6)
    middle = sorted(norms)[3]
    told = {"clip_norm": middle} if known_by == "clip_norm" else {"optimizer": optimizer}
    torch.manual_seed(0)
    with watch(model, **told) as w:
        norms = steps(w, model, optimizer, 6, clip=middle)
    assert list(w._norms) == pytest.approx([math.log(x) for x in norms], rel=1e-5)
    cut = [middle / x for x in norms if x > middle * 1.001]
    assert w.clipping.share == len(cut) / 6
    assert w.clipping.hardest == pytest.approx(min(cut), rel=1e-4)
    assert w.report.figures["share of steps clipped"] == len(cut) / 6


def test_a_scaled_loss_is_told_as_it_is_and_its_overflow_is_the_scalers():
    model, (x, y) = Model(), batch()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        (loss * 1024).backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm() / 1024
        w.step(loss * 1024, scale=1024.0)
        (cross_entropy(model(x)[0], y) * 1e38).mul(1e10).backward()
        w.step(loss * 1024, scale=1024.0)
        w._log(float(loss.detach()), 0.0)
    assert w._norms[0] == pytest.approx(float(norm.log()), rel=1e-5)
    assert w.broken is None
    assert w._journal.lines[-1]["loss"] == pytest.approx(float(loss.detach()))


def test_it_measures_the_first_step_and_then_when_it_is_due_and_never_for_more_than_its_share():
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, every=3, share=1e9) as w:
        steps(w, model, optimizer, 8)
    assert [line["step"] for line in w._journal.lines if "horizon" in line] == [1, 3, 6]
    with watch(model, every=3, share=1e-9) as w:
        steps(w, model, optimizer, 8)
    assert [line["step"] for line in w._journal.lines if "horizon" in line] == [1]
    with watch(model, every=1, share=0.5) as w:
        steps(w, model, optimizer, 40)
        assert w._spent <= 0.5 * w._seconds


def test_of_a_step_that_is_clipped_it_is_told_which_lags_made_its_norm():
    model, (x, y) = Model(dropout=0.0), batch()
    for clip, told in ((1e-4, True), (1e4, False)):
        with watch(model, clip_norm=clip, **ALWAYS) as w:
            loss = cross_entropy(model(x)[0], y)
            model.zero_grad()
            step(w, loss)
        assert bool(w.measurements["start"].window) == told
        if told:
            wanted = window(record(model, each(x, y)), anchors=looking.ANCHORS)
            for mine, true in zip(w.measurements["start"].window.layers, wanted.layers, strict=True):
                assert mine.log_norms == pytest.approx(true.log_norms, abs=1e-5)


def test_findings_are_those_of_diagnose():
    torch.manual_seed(0)
    model, (x, y) = Last(), batch(steps=60)
    with watch(model, need=50, **ALWAYS) as w:
        step(w, F.cross_entropy(model(x), y[0] % T))
    wanted = rg.diagnose(model, lambda m: F.cross_entropy(m(x), y[0] % T), need=50)
    assert [finding.code for finding in w.report.findings] == [finding.code for finding in wanted.findings]
    assert [finding.code for finding in w.report.findings] == ["vanishing"]
    assert saturation(record(model, lambda m: m(x).sum())) == w.measurements["start"].saturation


# ---- nothing stops a training


def once(model, call=None, **options):
    """Three watched steps; the warnings that came."""
    x, y = batch()
    with warnings.catch_warnings(record=True) as told, watch(model, **ALWAYS, **options) as w:
        warnings.simplefilter("always")
        for _ in range(3):
            step(w, cross_entropy(call(model, x) if call else model(x)[0], y))
    assert all(warning.category is RetrogradWarning for warning in told)
    return w, [str(warning.message) for warning in told]


class Mixes(nn.Module):
    """As many features as sequences, which depend on each other in all ways: none of them is time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(T, T), nn.Tanh(), nn.Linear(T, V))

    def forward(self, x):
        return (self.layer(x.T.float()).repeat_interleave(T, 0),)


class NoRecurrence(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(V, H), nn.Linear(H, V)

    def forward(self, x):
        return (self.head(self.embedding(x)),)


def detached(model, x):
    return model(x)[0].detach().requires_grad_()


@pytest.mark.parametrize(
    ("make", "call", "said"),
    [
        (NoRecurrence, None, "cannot be told"),
        (Mixes, None, "cannot be told"),
        (Model, detached, "reached nothing that the model returned"),
    ],
)
def test_what_cannot_be_measured_is_one_warning_and_said_in_the_report(make, call, said):
    w, told = once(make(), call)
    assert len(told) == 1
    assert said in told[0]
    assert "The training goes on" in told[0]
    assert said in w.report.subject["not measured"]
    assert not w.report.measurements
    assert w.index == 3
    assert "not measured" in repr(w.report)


@pytest.mark.parametrize("part", ["traced", "seen", "horizon"])
def test_an_error_of_its_own_is_one_warning(monkeypatch, part):
    from retrograd.experiments.watching import watcher

    def fails(*_, **__):
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr(watcher if part == "seen" else looking, part, fails)
    _, told = once(Model())
    assert len(told) == 1
    assert "deep inside" in told[0]


def test_a_full_disk_is_one_warning(monkeypatch, tmp_path):
    from retrograd import runs

    def full(*_):
        raise runs.SaveFailed("No space left on device.")

    def on_a_full_disk(model, x):
        monkeypatch.setattr(runs, "write", full)
        monkeypatch.setattr(runs, "_append", full)
        return model(x)[0]

    _, told = once(Model(), on_a_full_disk, out=tmp_path / "mine")
    assert len(told) == 1
    assert "No space left" in told[0]


def test_a_step_after_the_optimisers_is_not_measured_and_says_where_it_belongs():
    model, (x, y) = Model(), batch()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        optimizer.step()
        with pytest.warns(RetrogradWarning, match=r"before optimizer\.step"):
            w.step(loss)
    assert not w.measurements


def test_an_interrupt_passes(monkeypatch):
    from retrograd.experiments.watching import looking as module

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "traced", interrupted)
    model, (x, y) = Model(), batch()
    w = watch(model, **ALWAYS)
    loss = cross_entropy(model(x)[0], y)
    loss.backward()
    with pytest.raises(KeyboardInterrupt), w:
        w.step(loss)
    assert w.report.status == "failed"
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_an_error_in_the_forward_leaves_it_listening():
    model = Model()
    with watch(model, **ALWAYS) as w:
        with pytest.raises(IndexError):
            model(torch.full((T, B), V))
        x, y = batch()
        step(w, cross_entropy(model(x)[0], y))
    assert w.measurements


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every is a number of steps"),
        ({"need": 1.5}, "need is a number of steps"),
        ({"clip_norm": 0}, "a number over 0"),
        ({"share": 0}, "a number over 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_begins(options, said):
    with pytest.raises(UsageError, match=said):
        watch(Model(), **options)
    with pytest.raises(UsageError, match="must be an nn"):
        watch(Model)
