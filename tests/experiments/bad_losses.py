"""Losses that are none, and gradients that are not there."""

import random

import torch

from tests.experiments.bad_cases import Cases, Net, Report, Sentence, data, each

LOSSES = Cases()


# ---------------------------------------------------------------- a loss that is none


@LOSSES.expect(Sentence("must be a tensor.*list"))
def a_loss_that_is_a_list():
    x = data()
    return Net(), lambda m: list(m(x).square())


@LOSSES.expect(Sentence("must be a tensor.*NoneType"))
def a_loss_that_returns_nothing():
    x = data()

    def loss(m):
        m(x).square()

    return Net(), loss


@LOSSES.expect(Sentence("must be a tensor.*dict"))
def a_loss_that_is_a_dict():
    x = data()
    return Net(), lambda m: {"loss": m(x).square()}


@LOSSES.expect(Sentence("int64"))
def a_loss_of_integers():
    x = data()
    return Net(), lambda m: m(x).round().long()


@LOSSES.expect(Sentence("bool"))
def a_loss_of_truths():
    x = data()
    return Net(), lambda m: m(x) > 0


@LOSSES.expect(Sentence("complex"))
def a_complex_loss():
    x = data()
    return Net(), lambda m: torch.complex(m(x), m(x))


@LOSSES.expect(Sentence("function of the model"))
def a_loss_that_is_no_function():
    return Net(), 3.0


@LOSSES.expect(Sentence("function of the model|batches"))
def a_loss_that_wants_a_batch_as_well():
    return Net(), lambda m, batch: m(batch).square()


@LOSSES.expect(Sentence(r"\(time, batch\)"))
def a_loss_of_three_axes():
    x = data()
    return Net(), lambda m: m(x).square()[..., None]


@LOSSES.expect(Sentence("transpose"))
def a_loss_with_the_batch_first():
    x = data()
    return Net(), lambda m: m(x).square().t()


@LOSSES.expect(Sentence("loss"))
def a_loss_of_no_steps():
    x = data()
    return Net(), lambda m: m(x).square()[:0]


@LOSSES.expect(Sentence("another one each time"))
def a_loss_that_is_another_at_each_call():
    x, system = data(), random.SystemRandom()
    return Net(), lambda m: m(x).square() * system.random()


# ---------------------------------------------------------------- gradients that are not there


@LOSSES.expect(Sentence("carries no gradient"))
def a_loss_that_needs_no_gradient():
    x = data()
    return Net(), lambda m: m(x).square().detach()


class Silent(Net):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


@LOSSES.expect(Sentence("carries no gradient"))
def a_model_under_no_grad():
    return Silent(), each()


class Inference(Net):
    @torch.inference_mode()
    def forward(self, x):
        return super().forward(x)


@LOSSES.expect(Sentence("carries no gradient|inference"))
def a_model_under_inference_mode():
    return Inference(), each()


class Cut(Net):
    def forward(self, x):
        return self.head(self.rnn(self.body(x))[0].detach()).squeeze(-1)


@LOSSES.expect(Sentence("carries no gradient to rnn"))
def an_output_that_is_cut_off():
    return Cut(), each()


@LOSSES.expect(Sentence(r"backward"))
def a_loss_that_calls_backward_itself():
    x = data()

    def loss(m):
        value = m(x).square().mean()
        value.backward()
        return value

    return Net(), loss


@LOSSES.expect(Report(lambda r: r.horizon.finite and r.horizon.steps > 0))
def a_loss_that_calls_backward_and_keeps_the_graph():
    x = data()

    def loss(m):
        value = m(x).square()
        value.sum().backward(retain_graph=True)
        return value

    return Net(), loss


@LOSSES.expect(Report(lambda r: r.horizon.finite and r.horizon.steps > 0))
def parameters_that_are_all_frozen():
    return Net().requires_grad_(False), each()
