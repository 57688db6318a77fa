"""Somebody's own loop, watched: the same bits as without, and the same numbers as with the loss function in hand."""

import math
import random
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import retrograd as rg
from retrograd.errors import RunError, UsageError
from retrograd.experiments.watching import RetrogradWarning, looking, watch
from retrograd.measures import horizon, reach, saturation, window
from retrograd.trace import record

V, H, B, T = 13, 8, 5, 12
ALWAYS = {"every": 1, "share": 1e9}


def batch(seed=0, *, steps=T, rows=B):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(V, (steps, rows), generator=g), torch.randint(V, (steps, rows), generator=g)


class Model(nn.Module):
    """A language model as others write it, in each of the ways that they hand on and hand out."""

    def __init__(self, *, batch_first=False, flat=False, kind=nn.LSTM, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.recurrent = kind(H, H, num_layers=2, dropout=dropout, batch_first=batch_first)
        self.head = nn.Linear(H, V)
        self.flat = flat

    def forward(self, x, state=None):
        y, state = self.recurrent(self.embedding(x), state)
        y = self.head(y)
        return (y.flatten(0, 1) if self.flat else y), state


def cross_entropy(logits, y, **options):
    return F.cross_entropy(logits.reshape(-1, V), y.reshape(-1), **options)


def truth(model, loss, seed):
    """The reach under the true loss of each step, from the random state that the forward had."""

    def seeded(m):
        torch.set_rng_state(seed)
        return loss(m)

    return reach(record(model, seeded))


def same_reach(found, wanted, *, tolerance=1e-5):
    a, b = found.log_norms, wanted.log_norms
    assert a.shape == b.shape
    assert found.anchors == wanted.anchors
    assert torch.equal(a == -math.inf, b == -math.inf)
    some = b > -math.inf
    assert (a[some] - b[some]).abs().max() < tolerance


@pytest.fixture
def seen(monkeypatch):
    """The reach of each measurement that a watch takes."""
    from retrograd.experiments.watching import looking as module

    taken = []

    def noted(trace, **options):
        taken.append(reach(trace, **options))
        return taken[-1]

    monkeypatch.setattr(module, "reach", noted)
    return taken


# ---- the same bits


def carried(model, out, watched):
    """Truncated training with a carried state and dropout."""
    torch.manual_seed(1)
    optimizer, state = torch.optim.Adam(model.parameters(), 0.01), None
    w = watch(model, every=2, share=1e9, out=out, clip_norm=0.1, optimizer=optimizer) if watched else None
    for i in range(7):
        x, y = batch(i)
        logits, state = model(x, state)
        state = tuple(s.detach() for s in state)
        loss = cross_entropy(logits, y)
        loss.backward()
        if w:
            w.step(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    if w:
        w.close()
    return [*model.state_dict().values(), *state, torch.get_rng_state(), torch.rand(3)], w


class Awkward(nn.Module):
    """Keeps its state to itself, has running means, draws from every generator, writes to a buffer."""

    def __init__(self):
        super().__init__()
        self.norm, self.recurrent, self.head = nn.BatchNorm1d(V), nn.GRU(V, H, 2, dropout=0.3), nn.Linear(H, V)
        self.register_buffer("seen", torch.zeros(()))
        self.state, self.calls = None, 0

    def forward(self, x):
        x = self.norm(F.one_hot(x, V).float().transpose(1, 2)).transpose(1, 2)
        y, state = self.recurrent(x, self.state)
        self.state, self.calls = state.detach(), self.calls + 1
        self.seen += 1
        return self.head(F.dropout(y, 0.2, self.training)) * (1 + random.random()) / self.seen


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


# ---- the same numbers as with the loss function


@pytest.mark.parametrize("rows", [B, T])  # T sequences of T steps: which axis is time?
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_reach_under_the_true_loss_however_the_output_lies(seen, batch_first, flat, rows):
    model = Model(batch_first=batch_first, flat=flat)
    x, y = (z.T.contiguous() if batch_first else z for z in batch(rows=rows))
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        w.step(loss)

    def each(m):
        found = cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()
        return found.T if batch_first else found

    same_reach(seen[0], truth(model, each, seed))
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
            loss = cross_entropy(model(x), y)
            loss.backward()
            w.step(loss)

    def each(m):
        random.setstate(seeds[1])
        m.state, m.seen = before
        return cross_entropy(m(x), y, reduction="none").view_as(y) / y.numel()

    same_reach(seen[-1], truth(model, each, seeds[0]))


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
        loss = output[0] if form == "tuple" else output["loss"] if form == "dict" else output.loss
        loss.backward()
        w.step(loss)

    def each(m):
        hidden = m.recurrent(m.embedding(x))[0]
        return cross_entropy(m.head(hidden), y, reduction="none").view_as(y) / y.numel()

    same_reach(seen[0], truth(model, each, seed))


def test_a_second_loss_on_another_output_counts_too(seen):
    model, (x, y) = WithLabels("tuple"), batch()
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        own, (_, hidden) = model(x, labels=y)
        loss = own + 0.3 * hidden.square().mean()
        loss.backward()
        w.step(loss)

    def each(m):
        hidden = m.recurrent(m.embedding(x))[0]
        first = cross_entropy(m.head(hidden), y, reduction="none").view_as(y) / y.numel()
        return first + 0.3 * hidden.square().sum(-1) / hidden.numel()

    same_reach(seen[0], truth(model, each, seed), tolerance=1e-4)


def test_rounding_is_no_loss_at_a_step_that_has_none(seen):
    """Only some steps are asked; what lies below the head comes out too, and holds nothing of its own."""
    model, (x, y) = WithLabels("dataclass"), batch()
    asked = torch.zeros(T, B)
    asked[[3, 10]] = 1
    seed = torch.get_rng_state()
    with watch(model, **ALWAYS) as w:
        loss = (cross_entropy(model(x, labels=y).logits, y, reduction="none").view_as(y) * asked).sum()
        loss.backward()
        w.step(loss)
    each = lambda m: cross_entropy(m(x, y).logits, y, reduction="none").view_as(y) * asked  # noqa: E731
    same_reach(seen[0], truth(model, each, seed))
    assert 4 not in seen[0].anchors
    assert set(seen[0].anchors) <= {4, 11}


def test_of_a_loss_on_the_last_step_alone_all_lags_are_measured(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0][-1], y[-1])
        loss.backward()
        w.step(loss)
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
        loss = (model(x) - 1).square().mean()
        loss.backward()
        w.step(loss)
    each = lambda m: (m(x) - 1).square().sum(-1) / (T * B * V)  # noqa: E731
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_two_losses_that_are_differentiated_one_after_the_other_add_up(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        logits = model(x)[0]
        (0.4 * cross_entropy(logits, y)).backward(retain_graph=True)
        (0.6 * cross_entropy(logits, y)).backward()
        w.step()
    each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_a_model_that_gives_only_its_loss_is_measured_by_one_number():
    model, (x, y) = WithLabels("loss", dropout=0.0), batch()
    with watch(model, **ALWAYS) as w:
        loss = model(x, y)
        loss.backward()
        w.step(loss)
    wanted = horizon(reach(record(model, lambda m: m(x, y))))
    assert w.report.subject["losses"] == "one number"
    assert w.report.horizon == wanted


class Last(nn.Module):
    """One answer a sequence, of as many classes as there are steps."""

    def __init__(self, **options):
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(V, H), nn.RNN(H, H, **options), nn.Linear(H, T)

    def forward(self, x):
        return self.head(self.recurrent(self.embedding(x))[0][-1])


def test_classes_are_not_taken_for_time():
    model, (x, y) = Last(), batch()
    with watch(model, **ALWAYS) as w:
        loss = F.cross_entropy(model(x), y[0] % T)
        loss.backward()
        w.step(loss)
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
        loss = F.cross_entropy(out, targets) if flat else cross_entropy(out[live], y[live])
        loss.backward()
        w.step(loss)

    def each(m):
        m.flat = False
        return cross_entropy(m(x, lengths), y, reduction="none").view_as(y) * live / live.sum()

    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


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
            loss = cross_entropy(logits, y)
            loss.backward()
            w.step(loss)
    each = lambda m: cross_entropy(through(m, x, before)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    same_reach(seen[-1], truth(model, each, torch.get_rng_state()), tolerance=1e-4)
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
    each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel() / 3  # noqa: E731
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_a_model_whose_parts_are_called_is_measured_by_its_recurrent_part(seen):
    model = Model(dropout=0.0)
    with watch(model, **ALWAYS) as w:
        for i in range(2):
            x, y = batch(i)
            loss = cross_entropy(model.head(model.recurrent(model.embedding(x))[0]), y)
            loss.backward()
            w.step(loss)
    each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    assert len(seen) == 1
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_a_look_at_the_model_between_backward_and_step_is_no_call_of_the_training(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        rg.diagnose(model, lambda m: m(batch(5, steps=2 * T)[0])[0].square().sum(-1))
        seen.clear()
        w.step(loss)
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_a_compiled_model_is_measured_as_it_was_written(seen):
    model = Model(dropout=0.0)
    compiled, (x, y) = torch.compile(model, backend="eager"), batch()
    with watch(compiled, **ALWAYS) as w:
        loss = cross_entropy(compiled(x)[0], y)
        loss.backward()
        w.step(loss)
    each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_a_batch_that_is_overwritten_before_the_step_is_measured_as_it_was(seen):
    model, (x, y) = Model(dropout=0.0), batch()
    kept = x.clone()
    with watch(model, **ALWAYS) as w:
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        x.zero_()
        w.step(loss)
    each = lambda m: cross_entropy(m(kept)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
    same_reach(seen[0], truth(model, each, torch.get_rng_state()))


def test_autocast_is_that_of_the_forward(seen):
    model, (x, y) = Last(), batch()
    with watch(model, **ALWAYS) as w:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        assert out.dtype == torch.bfloat16
        loss = F.cross_entropy(out.float(), y[0] % T)
        loss.backward()
        w.step(loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = reach(record(model, lambda m: F.cross_entropy(m(x).float(), y[0] % T)))
    same_reach(seen[0], wanted, tolerance=0.05)


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
            loss.backward()
            w.step(loss)
        assert bool(w.measurements["start"].window) == told
        if told:
            each = lambda m: cross_entropy(m(x)[0], y, reduction="none").view_as(y) / y.numel()  # noqa: E731
            wanted = window(record(model, each), anchors=looking.ANCHORS)
            for mine, true in zip(w.measurements["start"].window.layers, wanted.layers, strict=True):
                assert mine.log_norms == pytest.approx(true.log_norms, abs=1e-5)


def test_findings_are_those_of_diagnose():
    torch.manual_seed(0)
    model, (x, y) = Last(), batch(steps=60)
    with watch(model, need=50, **ALWAYS) as w:
        loss = F.cross_entropy(model(x), y[0] % T)
        loss.backward()
        w.step(loss)
    wanted = rg.diagnose(model, lambda m: F.cross_entropy(m(x), y[0] % T), need=50)
    assert [finding.code for finding in w.report.findings] == [finding.code for finding in wanted.findings]
    assert [finding.code for finding in w.report.findings] == ["vanishing"]
    assert saturation(record(model, lambda m: m(x).sum())) == w.measurements["start"].saturation


# ---- where it breaks


class Divides(nn.Module):
    def forward(self, x):
        return x / x.abs().amax(-1, keepdim=True)


class Breakable(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.safe = nn.Embedding(V, H), Divides()
        self.recurrent, self.head = nn.LSTM(H, H, 2), nn.Linear(H, V)
        self.scale = 1.0

    def forward(self, x, extra=0.0):
        return self.head(self.recurrent(self.safe(self.embedding(x)) + extra)[0]) * self.scale


def argument(model, x):
    extra = torch.zeros(T, B, 1)
    extra[6, 2] = math.nan
    return model(x, extra=extra)


def gate(model, x):
    with torch.no_grad():
        model.recurrent.weight_hh_l1[H + 3, 0] = math.inf
        model.recurrent.bias_ih_l1[:H] = 50.0
    return model(x)


def module(model, x):
    with torch.no_grad():
        model.embedding.weight[x[4, 1]] = 0.0  # 0 / 0
    return model(x)


def head(model, x):
    with torch.no_grad():
        model.head.bias[7] = math.inf
    return model(x)


def derivative(model, x):
    y = model(x)
    y = y.clone()
    y[8, 3, 1] = (y[8, 3, 1] - y[8, 3, 1].detach()).abs().sqrt()
    return y


def logarithm(model, x):
    y = model(x)
    return y.index_put((torch.tensor(3), torch.tensor(4)), torch.tensor(math.inf), accumulate=True)


PLACES = {
    argument: ("argument", "Breakable (extra)", 7, 2, None),
    gate: ("gate", "recurrent.l1", 1, 0, "f"),
    module: ("output", "safe", 5, 1, None),
    head: ("output", "head", 1, 0, None),
    derivative: ("loss", None, 9, 3, None),
    logarithm: ("loss", None, 4, 4, None),
}


def break_at(model, how, w, *, at=3):
    for i in range(at):
        x, y = batch(i, steps=T)
        if how is module:
            x = torch.arange(T * B).view(T, B) % 3 + 1
            x[4, 1] = 9
        logits = how(model, x) if i == at - 1 else model(x)
        loss = cross_entropy(logits, y)
        loss.backward()
        w.step(loss)
        model.zero_grad()


@pytest.mark.parametrize("how", PLACES)
def test_the_first_number_that_is_not_finite_is_found_where_it_was_planted(how):
    torch.manual_seed(0)
    model = Breakable()
    with watch(model, every=100) as w:
        break_at(model, how, w)
        break_at(model, how, w, at=1)  # a later one is not the first
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.sequence, place.gate) == PLACES[how]
    assert w.broken.step == 3
    assert w.broken.what == ("gradient" if how is derivative else "loss")
    [finding] = [f for f in w.report.findings if f.code == "non-finite"]
    assert (finding.evidence["training step"], finding.evidence["time"]) == (3, place.step)
    assert [h.details["step"] for h in w.report.happenings if h.name == "not finite"] == [3]
    if how is gate:
        assert w.broken.weights == ("recurrent.weight_hh_l1",)
        assert "not finite before the step: recurrent.weight_hh_l1" in str(w.broken)


def test_where_batch_comes_first_the_time_is_told_all_the_same():
    torch.manual_seed(0)
    model = Model(batch_first=True)
    model.embedding = nn.Sequential(model.embedding, Divides())
    x = torch.arange(T * B).view(B, T) % 3 + 1
    x[3, 7] = 9
    with torch.no_grad():
        model.embedding[0].weight[9] = 0.0
    with watch(model, every=100) as w:
        loss = cross_entropy(model(x)[0], x)
        loss.backward()
        w.step(loss)
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.sequence) == ("output", "embedding.1", 8, 3)


def test_what_overflows_in_the_models_own_precision_is_found_at_its_step():
    torch.manual_seed(0)
    model = Last(nonlinearity="relu")
    with torch.no_grad():
        model.recurrent.weight_hh_l0.copy_(1e9 * torch.eye(H))
        model.recurrent.weight_ih_l0.fill_(1.0)
        model.embedding.weight.fill_(1.0)
    with watch(model) as w:
        loss = model(batch()[0]).square().mean()
        loss.backward()
        w.step(loss)
    place = w.broken.place
    assert (place.part, place.layer, place.step, place.value) == ("state", "recurrent.l0", 6, math.inf)  # 8e9^5 > 3e38


# ---- nothing stops a training


def once(model, call=None, **options):
    """Three watched steps; the warnings that came."""
    x, y = batch()
    with warnings.catch_warnings(record=True) as told, watch(model, **ALWAYS, **options) as w:
        warnings.simplefilter("always")
        for _ in range(3):
            loss = cross_entropy(call(model, x) if call else model(x)[0], y)
            loss.backward()
            w.step(loss)
    assert all(warning.category is RetrogradWarning for warning in told)
    return w, [str(warning.message) for warning in told]


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
    [(NoRecurrence, None, "no state"), (Model, detached, "reached nothing that the model returned")],
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
        loss = cross_entropy(model(x)[0], y)
        loss.backward()
        w.step(loss)
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


# ---- the run


def test_the_folder_is_a_run_that_the_commands_read(tmp_path):
    from retrograd.cli.overview import lines, page
    from retrograd.experiments.archive.catalogue import details, listing
    from retrograd.experiments.inspection import read_report

    torch.manual_seed(0)
    _, w = carried(Model(), tmp_path / "mine", True)
    entry = listing(tmp_path)[0]
    assert (entry.status, entry.model, entry.steps, entry.reason) == ("finished", "lstm 2x8", 7, "")
    found = details(tmp_path / "mine")
    assert [(look.name, look.step) for look in found.horizons] == [("start", 1), ("latest", 6)]
    assert found.config["task"] == "watched"
    assert list(lines([entry]))
    assert list(page(found))
    report = read_report(tmp_path / "mine")
    assert report.measurements == w.report.measurements
    assert report.curves["horizon"].steps == (1, 2, 4, 6)
    assert report.curves["loss"].unit == "loss"
    assert report.curves["clipped"].values[-1] == w.clipping.share == 1.0
    assert {h.name for h in report.happenings} == {"started", "finished"}
    assert b'name="generator" content="Retrograd"' in (tmp_path / "mine" / "report.html").read_bytes()
    known = (tmp_path / "mine" / "config.toml").read_text()
    assert "window" not in known, "what is not known is not said"


def test_a_run_that_goes_on_says_so_and_one_that_fails_says_why(tmp_path):
    from retrograd.experiments.archive.catalogue import listing
    from retrograd.experiments.inspection import read_report

    w = watch(Model(), out=tmp_path / "mine")
    assert listing(tmp_path)[0].status == "running"
    x, y = batch()
    loss = cross_entropy(w.model(x)[0], y)
    loss.backward()
    w.step(loss)
    assert read_report(tmp_path / "mine").status == "running"
    assert not (tmp_path / "mine" / "report.html").exists(), "a page would take more than its share of so short a time"
    with pytest.raises(ValueError, match="of mine"), w:
        raise ValueError("of mine")
    assert listing(tmp_path)[0].status == "failed"
    assert read_report(tmp_path / "mine").happenings[-1].details["reason"] == "ValueError: of mine"


def test_a_folder_that_is_taken_is_refused_before_the_training_begins(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="with out="):
        watch(Model(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, w = carried(Model(), None, True)
    assert not list(tmp_path.iterdir())
    assert w.report.status == "finished"
    assert w.report.curves["loss"].steps == (7,)
    assert len(w._journal.curves()["horizon"].steps) == 4


def test_a_long_training_does_not_fill_the_memory():
    from retrograd.experiments.watching.journal import MOST, Journal

    journal = Journal()
    for step in range(3 * MOST):
        journal.line(step, loss=1.0, **({"horizon": 3} if step == 5 else {}))
    assert len(journal.lines) <= MOST
    assert journal.lines[-1]["step"] == 3 * MOST - 1
    assert any("horizon" in line for line in journal.lines)
