"""Models that something is wrong with: without a state, without a number, too short, with hooks and names."""

import random

import numpy
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from tests.experiments.bad_cases import B, Cases, H, Net, Own, Report, Sentence, T, X, data, each, replayed_exactly

MODELS = Cases()


# ---------------------------------------------------------------- nothing recurrent to be seen


@MODELS.expect(Sentence("there is no state"))
def no_recurrence():
    return nn.Sequential(nn.Linear(X, H), nn.Tanh(), nn.Linear(H, 1), nn.Flatten(1)), each()


@MODELS.expect(Sentence("does not use the model"))
def a_loss_that_uses_another_model():
    other, x = Net(), data()
    return Net(), lambda m: other(x).square()


@MODELS.expect(Sentence("carries no gradient to rnn"))
def a_loss_that_does_not_depend_on_the_recurrence():
    x = data()

    def loss(m):
        m(x)
        return m.body(x).square().sum(-1)

    return Net(), loss


@MODELS.expect(Sentence("carries no gradient to rnn"))
def a_single_loss_that_does_not_depend_on_the_recurrence():
    x = data()

    def loss(m):
        m(x)
        return m.body(x).square().mean()

    return Net(), loss


@MODELS.expect(Sentence("TorchScript"))
def a_scripted_model():
    return torch.jit.script(Net()), each()


@MODELS.expect(Sentence("TorchScript"))
def a_scripted_model_inside_another():
    return nn.Sequential(nn.Linear(X, X), torch.jit.script(Net())), each()


@MODELS.expect(Sentence("meta device"))
def a_model_on_the_meta_device():
    return Net().to("meta"), each(data(device="meta"))


@MODELS.expect(Sentence("not yet initialised|not been initialised"))
def a_lazy_model_that_has_not_run():
    return nn.Sequential(nn.LazyLinear(X), Net()), each()


# ---------------------------------------------------------------- numbers


def _not_finite(report):
    told = [f.message for f in report.findings if "not finite" in f.message]
    return not report.horizon.finite and report.horizon.display == "NaN" and told


@MODELS.expect(Report(_not_finite))
def weights_that_are_nan():
    model = Net(nn.RNN)
    nn.init.constant_(model.rnn.weight_hh_l0, float("nan"))
    return model, each()


@MODELS.expect(Report(_not_finite))
def a_first_layer_that_is_nan():
    model = Net()
    nn.init.constant_(model.body.weight, float("nan"))
    return model, each()


@MODELS.expect(Report(lambda r: not r.horizon.finite or r.findings))
def weights_that_are_infinite():
    model = Net(nn.RNN, nonlinearity="relu")
    nn.init.constant_(model.rnn.weight_hh_l0, float("inf"))
    return model, each()


@MODELS.expect(Report(lambda r: r.horizon.finite))
def weights_in_bfloat16():
    return Net().bfloat16(), each(data().bfloat16())


# ---------------------------------------------------------------- lengths


@MODELS.expect(Sentence("one step"))
def one_step():
    return Net(), each(data(steps=1))


@MODELS.expect(Sentence("one step"))
def one_step_and_a_single_loss():
    x = data(steps=1)
    return Net(), lambda m: m(x).square().mean()


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(X, H)

    def forward(self, x):
        h, out = torch.zeros(x.shape[1], H), []
        for step in x:
            h = self.cell(step, h)
            out.append(h.sum(-1))
        return torch.stack(out)


@MODELS.expect(Sentence("one step"))
def one_step_of_a_cell():
    return Loop(), each(data(steps=1))


@MODELS.expect(Report(lambda r: r.horizon.low is None and r.horizon.sequences == 1))
def a_batch_of_one():
    return Net(), each(data(batch=1))


@MODELS.expect(Report(lambda r: r.horizon.low is None and r.horizon.sequences == 1))
def a_sequence_without_a_batch():
    x = torch.randn(T, X)
    return Net(), each(x)


@MODELS.expect(Own())
def a_sequence_of_length_zero():
    return Net(), each(data(steps=0))


@MODELS.expect(Own())
def a_loop_over_nothing():
    return Loop(), each(data(steps=0))


class Packed(Net):
    def forward(self, x, lengths):
        _, h = self.rnn(pack_padded_sequence(self.body(x), lengths, enforce_sorted=False))
        return self.head(h[-1]).squeeze(-1)


@MODELS.expect(Own())
def a_packed_sequence_of_length_zero():
    x, lengths = data(), torch.tensor([T, 3, 0, 2])
    return Packed(), lambda m: m(x, lengths).square().mean()


@MODELS.expect(Report(lambda r: r.horizon.sequences == B))
def packed_sequences_of_which_one_has_one_step():
    x, lengths = data(), torch.tensor([T, 3, 5, 2])
    return Packed(), lambda m: m(x, lengths).square().mean()


@MODELS.expect(Sentence("no sequence|empty|batch"))
def an_empty_batch():
    return Loop(), each(data(batch=0))


# ---------------------------------------------------------------- names, hooks, modes


class Twin(nn.GRU):
    """The model is called after its class, and so is the layer inside it."""

    def __init__(self):
        super().__init__(X, H)
        self.twin = nn.GRU(H, H)

    def forward(self, x):
        out, _ = super().forward(x)
        return self.twin(out)[0].sum(-1)


def _two_names(report):
    names = [layer.split()[0] if "(" not in layer else layer for layer in report.subject["layers"].split(", ")]
    return len(names) == len(set(names)) == 2


@MODELS.expect(Report(_two_names))
def two_layers_of_one_name():
    return Twin(), each()


@MODELS.expect(Report(replayed_exactly))
def a_hook_that_replaces_the_output():
    model = Net()
    model.rnn.register_forward_hook(lambda module, args, output: (output[0] * 0.5, output[1]))
    return model, each()


@MODELS.expect(Report(replayed_exactly))
def a_hook_that_replaces_the_input():
    model = Net()
    model.rnn.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    return model, each()


@MODELS.expect(Report(lambda r: r.horizon.finite))
def a_backward_hook():
    model = Net()
    model.rnn.register_full_backward_hook(lambda module, into, out: None)
    model.head.register_full_backward_hook(lambda module, into, out: (into[0] * 2,))
    return model, each()


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(X)

    def forward(self, x):
        self.rng = torch.rand(())
        return super().forward(self.norm(x.flatten(0, 1)).view_as(x))


@MODELS.expect(Report(lambda r: r.subject["mode"] == "training"))
def batch_norm_in_training_mode():
    return Normed().train(), each()


@MODELS.expect(Report(lambda r: r.horizon.finite))
def a_loss_that_changes_the_mode_and_the_attributes():
    x = data()

    def loss(m):
        m.eval()
        m.extra = torch.zeros(3)
        m.rnn.flag = True
        torch.manual_seed(99)
        random.random()
        numpy.random.rand()
        return m(x).square()

    return Normed().train(), loss


@MODELS.expect(Report(lambda r: r.horizon.finite))
def a_forward_on_the_instance():
    model = Net()
    model.forward = lambda x: Net.forward(model, x * 2)
    return model, each()


@MODELS.expect(Report(replayed_exactly))
def a_forward_on_the_instance_of_the_layer():
    model = Net()
    model.rnn.forward = lambda x, h=None: nn.GRU.forward(model.rnn, x * 2, h)
    return model, each()


@MODELS.expect(Report(lambda r: r.horizon.finite))
def an_embedding_with_sparse_gradients():
    model = nn.Sequential(nn.Embedding(9, X, sparse=True), Net())
    tokens = torch.randint(9, (T, B))
    F.mse_loss(model(tokens), torch.zeros(T, B)).backward()
    return model, lambda m: m(tokens).square()
