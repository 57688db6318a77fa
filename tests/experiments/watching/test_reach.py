"""What is measured without the loss function is what `record` measures with it in hand."""

import random
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import retrograd as rg
from retrograd.experiments.watching import looking, watch
from retrograd.measures import horizon, reach
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
    apart,
    batch,
    cross_entropy,
    each,
    same_reach,
    step,
    truth,
)


@pytest.fixture
def seen(monkeypatch):
    """The reach of each measurement that a watch takes."""
    taken = []

    def noted(trace, **options):
        taken.append(reach(trace, **options))
        return taken[-1]

    monkeypatch.setattr(looking, "reach", noted)
    return taken


@pytest.mark.parametrize("rows", [B, T])  # T sequences of T steps: which axis is time?
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_reach_under_the_true_loss_however_the_output_lies(seen, batch_first, flat, rows):
    model = Model(batch_first=batch_first, flat=flat)
    x, y = (z.T.contiguous() if batch_first else z for z in batch(rows=rows))
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        step(w, cross_entropy(model(x)[0], y))

    def loss(m):
        found = apart(m(x)[0], y)
        return found.T if batch_first else found

    same_reach(seen[0], truth(model, loss, seed))
    assert seen[0].log_norms.exp().max() > 0.0001, "and at its true size"
    assert w.measurements["start"].horizon == horizon(seen[0])
    assert w.report.subject["losses"] == "one a step"


def test_a_carried_state_that_is_an_attribute_is_that_of_before_the_step(seen):
    torch.manual_seed(0)
    model = Awkward()
    with watch(model, **ALWAYS) as w:
        for i in range(3):
            x, y = batch(i)
            seeds, before = (torch.get_rng_state(), random.getstate()), (model.state, model.seen.clone())
            step(w, cross_entropy(model(x), y))

    def loss(m):
        random.setstate(seeds[1])
        m.state, m.seen = before
        return apart(m(x), y)

    same_reach(seen[-1], truth(model, loss, seeds[0]))


@dataclass
class Output:
    loss: Tensor
    logits: Tensor
    hidden: Tensor | None = None


class WithLabels(Model):
    """Computes its own loss and gives the logits too, as Hugging Face's models do; and what lies below the head."""

    def __init__(self, form, **options):
        super().__init__(**options)
        self.form = form

    def forward(self, x, labels):
        hidden = self.recurrent(self.embedding(x))[0]
        logits = self.head(hidden)
        loss = cross_entropy(logits, labels)
        forms = {
            "dataclass": lambda: Output(loss, logits, hidden),
            "dict": lambda: OrderedDict(loss=loss, logits=logits),
            "tuple": lambda: (loss, (logits, hidden)),
            "loss": lambda: loss,
        }
        return forms[self.form]()


@pytest.mark.parametrize("form", ["dataclass", "dict", "tuple"])
def test_a_model_that_computes_its_loss_itself_is_measured_by_its_logits(seen, form):
    model, (x, y) = WithLabels(form), batch()
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        output = model(x, labels=y)
        step(w, output[0] if form == "tuple" else output["loss"] if form == "dict" else output.loss)

    def loss(m):
        hidden = m.recurrent(m.embedding(x))[0]
        return apart(m.head(hidden), y)

    same_reach(seen[0], truth(model, loss, seed))


def test_a_second_loss_on_another_output_counts_too(seen):
    model, (x, y) = WithLabels("tuple"), batch()
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        own, (_, hidden) = model(x, labels=y)
        step(w, own + 0.3 * hidden.square().mean())

    def loss(m):
        hidden = m.recurrent(m.embedding(x))[0]
        first = apart(m.head(hidden), y)
        return first + 0.3 * hidden.square().sum(-1) / hidden.numel()

    same_reach(seen[0], truth(model, loss, seed), tolerance=1e-4)


def test_rounding_is_no_loss_at_a_step_that_has_none(seen):
    """Only some steps are asked; what lies below the head comes out too, and holds nothing of its own."""
    model, (x, y) = WithLabels("dataclass"), batch()
    asked = torch.zeros(T, B)
    asked[[3, 10]] = 1
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        step(w, (cross_entropy(model(x, labels=y).logits, y, reduction="none").view_as(y) * asked).sum())
    loss = lambda m: cross_entropy(m(x, y).logits, y, reduction="none").view_as(y) * asked  # noqa: E731
    same_reach(seen[0], truth(model, loss, seed))
    assert 4 not in seen[0].anchors
    assert set(seen[0].anchors) <= {4, 11}


def test_of_a_loss_on_the_last_step_alone_all_lags_are_measured(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        step(w, cross_entropy(model(x)[0][-1], y[-1]))
    same_reach(seen[0], truth(model, lambda m: cross_entropy(m(x)[0][-1], y[-1]), torch.get_rng_state()))
    assert seen[0].longest == T


class Zero(Model):
    """What comes out is exactly zero, and has a gradient all the same."""

    def forward(self, x):
        y = super().forward(x)[0]
        return y - y.detach()


def test_a_step_whose_output_is_zero_is_asked_all_the_same(seen):
    model, (x, _) = Zero(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        step(w, (model(x) - 1).square().mean())
    same_reach(seen[0], truth(model, lambda m: (m(x) - 1).square().sum(-1) / (T * B * V), torch.get_rng_state()))


def test_two_losses_that_are_differentiated_one_after_the_other_add_up(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        logits = model(x)[0]
        (0.4 * cross_entropy(logits, y)).backward(retain_graph=True)
        (0.6 * cross_entropy(logits, y)).backward()
        w.step()
    same_reach(seen[0], truth(model, each(x, y), torch.get_rng_state()))


def test_a_model_that_gives_only_its_loss_is_measured_by_one_number():
    model, (x, y) = WithLabels("loss", dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        step(w, model(x, y))
    wanted = horizon(reach(record(model, lambda m: m(x, y))))
    assert w.report.subject["losses"] == "one number"
    assert w.report.horizon == wanted


def test_classes_are_not_taken_for_time():
    model, (x, y) = Last(), batch()
    with watch(model, **ALWAYS) as w:
        step(w, F.cross_entropy(model(x), y[0] % T))
    assert w.report.subject["losses"] == "one number"
    wanted = horizon(reach(record(model, lambda m: F.cross_entropy(m(x), y[0] % T))))
    assert w.report.horizon.profile == pytest.approx(wanted.profile, rel=1e-5)


class Packed(Model):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths, enforce_sorted=False)
        rows = self.recurrent(packed)[0]
        return self.head(rows.data) if self.flat else self.head(pad_packed_sequence(rows)[0])


@pytest.mark.parametrize("flat", [False, True])
def test_packed_sequences_are_measured_by_their_steps_also_where_only_their_rows_come_out(seen, flat):
    model, (x, y), lengths = Packed(flat=flat, dropout=0.0), batch(), torch.tensor([7, T, 3, 9, 10])
    live = torch.arange(T)[:, None] < lengths
    targets = pack_padded_sequence(y, lengths, enforce_sorted=False).data
    with watch(model, **ALWAYS) as w:
        out = model(x, lengths)
        step(w, F.cross_entropy(out, targets) if flat else cross_entropy(out[live], y[live]))

    def loss(m):
        m.flat = False
        return cross_entropy(m(x, lengths), y, reduction="none").view_as(y) * live / live.sum()

    same_reach(seen[0], truth(model, loss, torch.get_rng_state()))


class TokenByToken(nn.Module):
    """Called once for each token: a cell's state is handed back, a fused layer's is kept."""

    def __init__(self, kind):
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(V, H), kind(H, H), nn.Linear(H, V)
        self.kept = None

    def forward(self, token, state):
        if isinstance(self.recurrent, nn.RNNBase):
            y, self.kept = self.recurrent(self.embedding(token)[None], self.kept)
            return self.head(y[0]), None
        state = self.recurrent(self.embedding(token), state)
        return self.head(state[0] if isinstance(self.recurrent, nn.LSTMCell) else state), state


def through(model, x, state):
    """A loop over time that is somebody's own."""
    found = []
    if isinstance(model.recurrent, nn.RNNBase):
        model.kept = state
    for token in x:
        logits, state = model(token, state)
        found.append(logits)
    return torch.stack(found), model.kept if state is None else state


def cut(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


STEPWISE = {
    nn.RNNCell: lambda: torch.zeros(B, H),
    nn.GRUCell: lambda: torch.zeros(B, H),
    nn.LSTMCell: lambda: (torch.zeros(B, H), torch.zeros(B, H)),
    nn.GRU: lambda: torch.zeros(1, B, H),
}


@pytest.mark.parametrize("kind", STEPWISE)
def test_a_loop_over_time_outside_of_the_model_is_one_trajectory(seen, kind):
    model, state = TokenByToken(kind), STEPWISE[kind]()
    with watch(model, **ALWAYS) as w:
        for i in range(2):
            x, y = batch(i)
            before = cut(state)
            logits, state = through(model, x, before)
            step(w, cross_entropy(logits, y))
    wanted = truth(model, lambda m: apart(through(m, x, before)[0], y), torch.get_rng_state())
    same_reach(seen[-1], wanted, tolerance=1e-4)
    assert w.report.subject["steps"] == T, "and the step before ended with its detached state"


def test_of_gradients_that_are_accumulated_the_last_call_is_measured(seen):
    model = Model(dropout=0.0)
    with watch(model, **ALWAYS) as w:
        for i in range(3):
            x, y = batch(i)
            (cross_entropy(model(x)[0], y) / 3).backward()
        with torch.no_grad():
            model(batch(9)[0])
        model(batch(8)[0])  # nothing is differentiated
        w.step()
    same_reach(seen[0], truth(model, lambda m: each(x, y)(m) / 3, torch.get_rng_state()))


def test_a_model_whose_parts_are_called_is_measured_by_its_recurrent_part(seen):
    model = Model(dropout=0.0)
    with watch(model, **ALWAYS) as w:
        for i in range(2):
            x, y = batch(i)
            step(w, cross_entropy(model.head(model.recurrent(model.embedding(x))[0]), y))
    assert len(seen) == 1
    same_reach(seen[0], truth(model, each(x, y), torch.get_rng_state()))


def test_a_look_at_the_model_between_backward_and_step_is_no_call_of_the_training(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        rg.diagnose(model, lambda m: m(batch(5, steps=2 * T)[0])[0].square().sum(-1))
        seen.clear()
        w.step(loss)
    same_reach(seen[0], truth(model, each(x, y), torch.get_rng_state()))


def test_a_compiled_model_is_measured_as_it_was_written(seen):
    model = Model(dropout=0.0)
    compiled, (x, y) = torch.compile(model, backend="eager"), batch()
    with watch(compiled, **ALWAYS) as w:
        step(w, cross_entropy(compiled(x)[0], y))
    same_reach(seen[0], truth(model, each(x, y), torch.get_rng_state()))


def test_a_batch_that_is_overwritten_before_the_step_is_measured_as_it_was(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    kept = x.clone()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        x.zero_()
        w.step(loss)
    same_reach(seen[0], truth(model, each(kept, y), torch.get_rng_state()))


def test_autocast_is_that_of_the_forward(seen):
    model, (x, y) = Last(), batch()
    with watch(model, **ALWAYS) as w:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        assert out.dtype == torch.bfloat16
        step(w, F.cross_entropy(out.float(), y[0] % T))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = reach(record(model, lambda m: F.cross_entropy(m(x).float(), y[0] % T)))
    same_reach(seen[0], wanted, tolerance=0.05)


def test_what_is_watched_is_offered_what_applies_to_its_activation():
    torch.manual_seed(0)
    model, x = nn.RNN(4, 8, nonlinearity="relu"), torch.randn(60, 3, 4)
    with watch(model, need=50, **ALWAYS) as w:
        step(w, model(x)[0][-1].sum())
    offered = {it.name for finding in w.report.findings for it in finding.remedies}
    wanted = rg.diagnose(model, lambda m: m(x)[0][-1].sum(), need=50)
    assert offered == {it.name for finding in wanted.findings for it in finding.remedies}
    assert "identity" in offered
    assert not offered & {"irnn", "calibrated"}
