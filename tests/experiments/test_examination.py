"""Anybody's model, diagnosed in one line and left as it was."""

import copy
import random
from contextlib import suppress

import pytest
import torch
from torch import nn

import retrograd as rg
from retrograd.errors import NotMeasured, ShapeError, UsageError
from retrograd.experiments.examination import assert_horizon, diagnose
from retrograd.measures import horizon, reach
from retrograd.trace import record
from tests.experiments.bad_cases import replayed_exactly
from tests.experiments.recall import Recall, T, each, last

SYSTEM = random.SystemRandom()  # no seed reaches it


def test_what_no_monitor_sees_is_one_line(tokens):
    torch.manual_seed(1)
    model, loss = Recall(), last(tokens)
    report = diagnose(model, loss, need=T)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.evidence["need"]) == ("vanishing", "error", T)
    assert finding.message.endswith('Try rg.fix(model, loss, "calibrated", need=200).')
    assert report.horizon.steps < 20
    loss(model).backward()
    assert model.rnn.weight_hh_l0.grad.norm() > 0.01, "which looks healthy"


def test_the_remedy_that_it_names_is_measured_to_reach_further(tokens):
    torch.manual_seed(1)
    model, loss = Recall(nn.LSTM), last(tokens)
    before = diagnose(model, loss, need=T)
    call = before.findings[0].remedy.call
    fixed = eval(call, {"rg": rg, "model": model, "loss": loss})
    assert fixed.before.horizon == before.horizon
    assert fixed.after.horizon.steps > 5 * before.horizon.steps


def test_it_says_what_record_and_the_measures_say(tokens):
    torch.manual_seed(1)
    model, loss = Recall(nn.GRU, num_layers=2), each(tokens)
    report, trace = diagnose(model, loss), record(model, loss)
    assert report.horizon == horizon(reach(trace))
    assert report.measurements["now"].attribution.layers[1].layer == "rnn.l1"
    assert report.measurements["now"].contributions is None
    assert report.subject["layers"] == "rnn.l0 gru 64, rnn.l1 gru 64"
    assert report.subject["losses"] == "one a step"
    assert replayed_exactly(report)


def test_batches_may_be_a_list_or_a_function_that_gives_them(tokens):
    torch.manual_seed(1)
    model, loss = Recall(), lambda m, x: last(x)(m)
    halves = tokens.chunk(2, 1)
    report = diagnose(model, loss, batches=lambda: iter(halves))
    assert report.horizon == diagnose(model, loss, batches=halves).horizon
    assert report.subject["batches"] == 2


def test_anchors_are_how_many_losses_are_followed_back(tokens):
    report = diagnose(Recall(), each(tokens), anchors=2)
    assert len(report.horizon.anchors) == 2 < len(diagnose(Recall(), each(tokens)).horizon.anchors)


def test_layers_are_those_whose_reach_is_measured(tokens):
    torch.manual_seed(1)
    model = Recall(nn.GRU, num_layers=2)
    report = diagnose(model, each(tokens), layers=["rnn.l1"])
    assert report.horizon == horizon(reach(record(model, each(tokens)), layers=["rnn.l1"]))
    assert report.horizon != diagnose(model, each(tokens)).horizon


def test_a_trained_model_is_not_told_first_to_start_anew(tokens):
    torch.manual_seed(1)
    model = Recall()
    fresh, trained = (diagnose(model, last(tokens), need=T, trained=it).findings[0].remedy for it in (False, True))
    assert (fresh.kind, trained.kind) == ("start", "training")


def test_without_a_need_the_verdict_is_a_note(tokens):
    torch.manual_seed(1)
    (finding,) = diagnose(Recall(), each(tokens)).findings
    assert finding.severity == "note"
    assert "the length of the sequence is 200. If the task needs all of it, try rg.fix" in finding.message


def test_a_sequence_that_is_too_short_to_tell_is_no_verdict(tokens):
    torch.manual_seed(1)
    model = Recall(nn.LSTM)
    rg.initialise_(model, "forget_bias=9")
    with pytest.raises(
        NotMeasured, match=r"outlives the 200 steps that this sequence can show, so whether it reaches 900"
    ):
        diagnose(model, each(tokens), need=900)
    assert diagnose(Recall(), each(tokens), need=900).findings[0].code == "vanishing"


class Restless(Recall):
    """It drops out, counts its calls, keeps its state and has a hook."""

    def __init__(self) -> None:
        super().__init__(nn.LSTM, num_layers=2, dropout=0.5)
        self.calls, self.state = 0, None
        self.register_buffer("seen", torch.zeros(1))
        self.register_forward_hook(lambda *_: None)

    def forward(self, tokens):
        self.calls += 1
        self.seen += 1
        out, self.state = self.rnn(self.embedding(tokens))
        return self.head(out)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_numbers_are_left_as_they_were(tokens, fails):
    torch.manual_seed(1)
    model = Restless().train()
    each(tokens)(model).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    state, calls, hooks = model.state, model.calls, len(model._forward_hooks)
    rng, python = torch.get_rng_state(), random.getstate()

    def loss(m):
        value = each(tokens)(m)
        if fails and torch.is_grad_enabled():
            raise KeyError("half-way")
        return value

    if fails:
        with pytest.raises(KeyError, match="half-way"):
            diagnose(model, loss)
    else:
        diagnose(model, loss)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True))
    assert (model.state is state, model.calls, len(model._forward_hooks), model.training) == (True, calls, hooks, True)
    assert torch.equal(torch.get_rng_state(), rng)
    assert random.getstate() == python
    assert "forward" not in vars(model.rnn)


def test_dropout_is_the_same_in_both_calls(tokens):
    torch.manual_seed(1)
    model = Recall(nn.LSTM, num_layers=2, dropout=0.5).train()
    report = diagnose(model, each(tokens))
    assert report.subject["mode"] == "training"
    assert replayed_exactly(report)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda m: m(torch.zeros(9, 1, dtype=torch.long)).sum() * SYSTEM.random(), "is another one each time"),
        (lambda m: [m(torch.zeros(5, 2, dtype=torch.long)).sum()], "must be a tensor, .*; got list"),
        (lambda m: 1.0, "must be a tensor, .*; got float"),
        (lambda m: torch.ones(5, 2, requires_grad=True) * 2, r"does not use the model that it is given"),
        (lambda m: m.head(torch.zeros(5, 2, 64)).sum(-1), r"No nn.RNN, nn.GRU, nn.LSTM or Stack ran"),
        (lambda m: m(torch.zeros(5, 2, dtype=torch.long)).detach().sum(), "carries no gradient"),
        (lambda m: m(torch.zeros(5, 2, dtype=torch.long)), r"must be \(time, batch\), \(time,\) or a single number"),
    ],
)
def test_a_loss_that_cannot_be_followed_is_refused_with_the_reason(loss, sentence):
    with pytest.raises(NotMeasured, match=sentence):
        diagnose(Recall(), loss)


def test_a_model_without_recurrence_and_a_need_of_nothing_are_refused():
    model, x = nn.Linear(3, 3), torch.randn(9, 2, 3)
    with pytest.raises(NotMeasured, match="there is no state"):
        diagnose(model, lambda m: m(x).sum(-1))
    with pytest.raises(UsageError, match="at least 1; got 0"):
        diagnose(model, lambda m: m(x).sum(-1), need=0)


def test_losses_at_a_few_steps_are_followed_from_these(tokens):
    """As where only the answers count."""
    torch.manual_seed(1)
    model, mask = Recall(nn.GRU), torch.zeros(T, 1)
    mask[[99, 120, 141, 150]] = 1
    report = diagnose(model, lambda m: each(tokens)(m) * mask, need=100)
    assert report.horizon.anchors == (100, 121, 142, 151)
    assert report.findings[0].code == "vanishing"
    early = diagnose(model, lambda m: each(tokens)(m) * mask, need=180)
    assert (early.horizon.longest, early.horizon.anchors) == (151, (151,))


class Forgetful(nn.GRU):
    """A GRU that is none: every step begins anew."""

    def forward(self, x):
        return torch.cat([super(Forgetful, self).forward(step[None])[0] for step in x])


def test_a_forward_of_ones_own_is_followed_into_torchs():
    x = torch.randn(20, 2, 4)
    with pytest.raises(ShapeError, match="ran 20 times, each time from a state of its own"):
        diagnose(Forgetful(4, 8), lambda m: m(x).square().sum(-1))
    patched = nn.GRU(4, 8)
    plain = diagnose(patched, lambda m: m(x * 2)[0].square().sum(-1)).horizon
    patched.forward = lambda x: nn.GRU.forward(patched, x * 2)
    assert diagnose(patched, lambda m: m(x)[0].square().sum(-1)).horizon == plain


def test_a_loss_that_changes_weights_or_gradients_changes_nothing_for_good():
    x = torch.randn(20, 2, 4)
    model = nn.GRU(4, 8)
    model(x)[0].sum().backward()
    weights, grads = [p.clone() for p in model.parameters()], [p.grad for p in model.parameters()]
    values = [g.clone() for g in grads]

    def meddling(m):
        m.zero_grad()
        value = m(x)[0].square().sum(-1)
        value.sum().backward(retain_graph=True)
        with torch.no_grad():
            m.weight_hh_l0.mul_(0.5)
        return value

    with suppress(NotMeasured, RuntimeError):  # autograd itself may object
        diagnose(model, meddling)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(map(torch.equal, values, grads))


def test_it_works_where_gradients_are_switched_off(tokens):
    torch.manual_seed(1)
    model = Recall()
    with torch.no_grad():
        report = diagnose(model, each(tokens))
    assert report.horizon == diagnose(model, each(tokens)).horizon


@pytest.mark.parametrize(("model", "need"), [(lambda m: 0, 5), (None, 5), (nn.GRU(2, 2), 2.5), (nn.GRU(2, 2), "5")])
def test_what_is_no_model_and_no_number_is_refused(model, need):
    with pytest.raises(UsageError, match=r"must be an nn.Module|a number of steps"):
        diagnose(model, lambda m: m(torch.ones(9, 1, 2))[0].sum(-1), need=need)


def test_one_number_for_many_steps_is_an_error_where_the_need_is_known(tokens):
    torch.manual_seed(1)
    model, loss = Recall(), lambda m: m(tokens).square().mean()
    assert [(f.code, f.severity) for f in diagnose(model, loss).findings] == [("summed-loss", "note")]
    assert [(f.code, f.severity) for f in diagnose(model, loss, need=100).findings] == [("summed-loss", "error")]


def test_one_number_for_many_steps_is_no_ground_for_an_assertion(tokens):
    with pytest.raises(NotMeasured, match="one number for many steps"):
        assert_horizon(Recall(), lambda m: m(tokens).square().mean(), at_least=1000)


def test_a_horizon_can_be_asserted(tokens):
    torch.manual_seed(1)
    model = Recall(nn.LSTM)
    assert assert_horizon(model, last(tokens), at_least=10).horizon.steps >= 10
    with pytest.raises(
        AssertionError, match=r"horizon is \d+ \(\d+ to \d+\) steps, expected at least 150. The gradient"
    ):
        assert_horizon(model, last(tokens), at_least=150)
    rg.initialise_(model, "forget_bias=9")
    assert assert_horizon(model, last(tokens), at_least=150).horizon.censored


def test_the_report_shows_itself(tokens, tmp_path):
    torch.manual_seed(1)
    report = diagnose(Recall(), last(tokens), need=T)
    assert repr(report) == str(report)
    assert "How far back the gradient reaches" in repr(report)
    assert "error: The gradient reaches" in repr(report)
    shown = report._repr_html_()
    assert shown.startswith("<iframe sandbox")
    assert "<script" not in shown
    page = report.to_html(tmp_path / "page.html").read_text()
    assert "rg.fix(model, loss, &#34;calibrated&#34;, need=200)" in page
    (tmp_path / "other.html").write_text("mine")
    with pytest.raises(UsageError, match="no page of Retrograd's"):
        report.to_html(tmp_path / "other.html")
