"""States of every form: images, layers, memories, samples, and none to begin with.

Against zeros added by hand. Tolerance: 1e-9 where all is float64; 1e-4 where the model is of float32.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrograd.trace import record
from tests.trace.cells_in_loops import B, H, Holder, Plain, Sums, T, X, from_nothing, inputs, looped, plain, step_losses
from tests.trace.probing import EXACT, Probes, check, unmarked


def test_a_state_of_images_is_followed():
    class ConvLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1 + 2, 8, 3, padding=1)

        def forward(self, x, state):
            h, c = state
            i, f, g, o = self.conv(torch.cat([x, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c

    start = torch.zeros(B, 2, 5, 5).double(), inputs(B, 2, 5, 5)
    (layer,) = check(Holder(ConvLSTM()).double(), looped(three_of_pair, inputs(4, B, 1, 5, 5), start), Probes()).layers
    assert layer.states.shape == (5, B, 2 * 2 * 25)


def three_of_pair(m, x, state):
    state = m.cell(x, state)
    return state[0], state


def test_a_state_of_several_layers_has_its_batch_second():
    class Layers(nn.Module):
        """(x (B, X), h (2, B, H)) -> h"""

        def __init__(self):
            super().__init__()
            self.cells = nn.ModuleList([nn.GRUCell(X, H), nn.GRUCell(H, H)])

        def forward(self, x, h):
            new = []
            for cell, h_l in zip(self.cells, h, strict=True):
                x = cell(x, h_l)
                new.append(x)
            return torch.stack(new)

    def loss(m, mark=unmarked):
        h, outputs = mark(start), []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            outputs.append(h[-1])
        return step_losses(torch.stack(outputs))

    start, x = inputs(2, 5, H), inputs(T, 5, X)
    (layer,) = check(Holder(Layers()).double(), loss, Probes(batch=1)).layers
    assert layer.states.shape == (T + 1, 5, 2 * H)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_decoder_of_one_token_a_call_has_its_batch_second(batch):
    class Decoder(nn.Module):
        """(token (B,), h (1, B, H), encoded (6, B, H)) -> logits, h"""

        def __init__(self):
            super().__init__()
            self.embedding, self.gru = nn.Embedding(9, X), nn.GRU(X + H, H)

        def forward(self, token, h, encoded):
            context = (encoded * h).softmax(0).mul(encoded).sum(0, keepdim=True)
            out, new = self.gru(torch.cat([self.embedding(token)[None], context], -1), h)
            return out[0], 0.9 * new + 0.1 * h

    def loss(m, mark=unmarked):
        h, outputs = mark(start), []
        for token in tokens:
            _, h = m.cell(token, h, encoded)
            h = mark(h)
            outputs.append(h[0])
        return step_losses(torch.stack(outputs))

    start, encoded, tokens = inputs(1, batch, H), inputs(6, batch, H), torch.randint(9, (T, batch))
    (layer,) = check(Holder(Decoder()).double(), loss, Probes(batch=1)).layers
    assert layer.states.shape == (T + 1, batch, H)


@pytest.mark.parametrize(("batch", "places"), [(2, 5), (1, X), (3, 3)])
def test_a_cell_with_a_memory_of_its_own_has_all_of_it_in_its_state(batch, places):
    """A controller that reads and writes a memory (Graves et al., 2014): tensors of two and three axes, nested."""

    class Machine(nn.Module):
        def __init__(self):
            super().__init__()
            self.controller, self.key, self.out = nn.LSTMCell(X + 3, H), nn.Linear(H, 3), nn.Linear(H + 3, X)

        def forward(self, x, state):
            read, (h, c), memory = state
            h, c = self.controller(torch.cat([x, read], -1), (h, c))
            where = torch.einsum("bnm,bm->bn", memory, self.key(h)).softmax(-1)
            memory = memory + where[..., None] * self.key(h)[:, None]
            read = torch.einsum("bn,bnm->bm", where, memory)
            return self.out(torch.cat([h, read], -1)), (read, (h, c), memory)

    def loss(m, mark=unmarked):
        read, h, c, memory = mark(*start)
        outputs = []
        for x_t in x:
            _, (read, (h, c), memory) = m.cell(x_t, (read, (h, c), memory))
            read, h, c, memory = mark(read, h, c, memory)
            outputs.append(torch.cat([h, read], -1))
        return step_losses(torch.stack(outputs))

    x, start = inputs(T, batch, X), [inputs(batch, 3), inputs(batch, H), inputs(batch, H), inputs(batch, places, 3)]
    (layer,) = check(Holder(Machine()).double(), loss, Probes()).layers
    assert (layer.name, layer.states.shape) == ("cell", (T + 1, batch, 3 + 2 * H + 3 * places))


def test_a_sampled_state_is_the_sample_that_the_model_draws():
    class Sampled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.top = nn.GRUCell(X + 2, H), nn.Linear(H, 4)

        def forward(self, x, state):
            h = self.gru(torch.cat([x, state["z"]], -1), state["h"])
            mean, spread = self.top(h).chunk(2, -1)
            return {"h": h, "z": torch.distributions.Normal(mean, F.softplus(spread)).rsample()}

    def loss(m, mark=unmarked):
        h, z = mark(*start)
        outputs = []
        for x_t in x:
            state = m.cell(x_t, {"h": h, "z": z})
            h, z = mark(state["h"], state["z"])
            outputs.append(torch.cat([h, z], -1))
        return step_losses(torch.stack(outputs))

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        x, start = inputs(dtype=dtype), (inputs(B, H, dtype=dtype), inputs(B, 2, dtype=dtype))
        model = Holder(Sampled()).to(dtype)
        # z is made from h of the same step, which the marks hold apart
        check(model, loss, Probes(), tolerance=tolerance, jacobians=False)


class MakesItsOwn(Plain):
    """(x, h=None) -> h, from zeros of torch's default precision where none is given"""

    def forward(self, x, h=None):
        return super().forward(x, torch.zeros(len(x), H) if h is None else h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_first_state_that_is_none_has_no_gradient_of_its_own(dtype):
    model, tolerance = Holder(MakesItsOwn()).to(dtype), EXACT if dtype == torch.float64 else 1e-4
    torch.set_default_dtype(dtype)
    try:
        trace = check(model, from_nothing(inputs(dtype=dtype)), Probes(), tolerance=tolerance)
    finally:
        torch.set_default_dtype(torch.float32)
    assert trace.layers[0].first == 1
    assert not trace.notes


def test_inputs_that_grow_from_step_to_step_are_none_to_be_shown():
    class Remembers(Plain):
        def forward(self, past, x, h):
            return super().forward(x, h + past.mean(1))

    def loss(m, mark=unmarked):
        h, outputs = mark(start), [start]
        for x_t in x:
            h = mark(m.cell(torch.stack(outputs, 1), x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs[1:]))

    x, start = inputs(), inputs(B, H)
    (layer,) = check(Holder(Remembers()).double(), loss, Probes(), jacobians=False).layers
    assert layer.inputs.shape == (T, B, 0)


def test_a_layer_whose_inputs_are_all_that_is_seen_is_told_from_a_cell_of_that_name(x):
    (inner,) = record(Holder(Sums(X, H)).double(), lambda m: step_losses(m.cell(x))).layers
    own = Holder(type("Inputs", (Plain,), {})()).double()
    (layer,) = record(own, looped(plain, x, (inputs(B, H),))).layers
    assert [(it.kind, it.has_states) for it in (inner, layer)] == [("Inputs", False), ("Inputs", True)]
