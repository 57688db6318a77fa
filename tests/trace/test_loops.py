"""Cells called once a step in a Python loop: torch's and somebody's own, against zeros added by hand.

Tolerance: 1e-9 where all is float64 or the state goes on untouched; 1e-6 where a float32 model lies between the steps.
"""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import retrograd as rg
from retrograd.errors import NotMeasured
from retrograd.trace import discovery, record
from tests.trace.probing import BRIDGED, EXACT, Probes, check, unmarked

X, H, B, T = 3, 4, 2, 7


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(discovery, "REGISTERED", dict(discovery.REGISTERED))


def inputs(*shape, dtype=torch.float64):
    return torch.randn(*(shape or (T, B, X)), dtype=dtype)


def step_losses(outputs):
    """(T, B), of (T, B, ...): other from step to step, and not linear."""
    flat = outputs.flatten(2)
    return (flat @ torch.linspace(-1, 1, flat.shape[-1], dtype=flat.dtype) - 0.3).square()


class Holder(nn.Module):
    """A model that is more than its cell."""

    def __init__(self, cell, *, head=None):
        super().__init__()
        self.cell = cell
        self.head = head or nn.Identity()


# ---------------------------------------------------------------------------------------------- torch's own cells

CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
NORM = nn.LayerNorm(H, elementwise_affine=False)
BETWEEN = {
    "nothing": lambda h, t: h,
    "mask": lambda h, t: h * torch.tensor([1.0, float(t != 3)], dtype=h.dtype)[:, None],
    "where": lambda h, t: torch.where(torch.tensor([[True], [t != 3]]), h, 0.5 * h),
    "clone": lambda h, t: h.clone(),
    "layer norm": lambda h, t: NORM(h),
    "dropout": lambda h, t: F.dropout(h, 0.3),
}


def stepwise(x, start, between=BETWEEN["nothing"]):
    """The losses of a cell that is given its state, h or (h, c), and the marks of these."""

    def loss(m, mark=unmarked):
        state, outputs = mark(*start), []
        for t, x_t in enumerate(x):
            given = [between(s, t) if t else s for s in (state if len(start) > 1 else (state,))]
            state = m.cell(x_t, unmarked(*given))
            state = mark(*(state if len(start) > 1 else (state,)))
            outputs.append(m.head(state[0] if len(start) > 1 else state))
        return step_losses(torch.stack(outputs))

    return loss


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("between", BETWEEN)
def test_torchs_cells_are_followed_through_what_is_done_to_their_state(kind, between):
    model = Holder(CELLS[kind](X, H), head=nn.Linear(H, 3)).double()
    start = tuple(inputs(B, H) for _ in range(1 + (kind == "lstm")))
    (layer,) = check(model, stepwise(inputs(), start, BETWEEN[between]), Probes()).layers
    assert (layer.name, layer.kind) == ("cell.l0", {"rnn": "Elman", "gru": "GRU", "lstm": "LSTM"}[kind])
    assert layer.cell is not None


def forgetful(model):
    """One whose gradient float32 cannot hold for long."""
    with torch.no_grad():
        for name, p in model.cell.named_parameters():
            p.fill_(-2.0) if "bias" in name else p.mul_(0.05)
    return model


@pytest.mark.parametrize("kind", CELLS)
def test_torchs_cells_in_float32_go_on_in_float64(kind):
    model = Holder(CELLS[kind](X, H))
    start = tuple(inputs(B, H, dtype=torch.float32) for _ in range(1 + (kind == "lstm")))
    check(model, stepwise(inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
    trace = record(forgetful(model), stepwise(inputs(60, B, X, dtype=torch.float32), start))
    assert 0 < trace.gradients(60)[0][0].abs().max() < 1e-45


def test_torchs_cells_take_one_sequence_without_a_batch():
    def loss(m, mark=unmarked):
        state, losses = mark(torch.zeros(H).double(), torch.ones(H).double()), []
        for x_t in x:
            state = mark(*m.cell(x_t, state))
            losses.append(state[0].square().sum())
        return torch.stack(losses)

    x = inputs(T, X)
    check(Holder(nn.LSTMCell(X, H)).double(), loss, Probes(batch=None))


def test_a_cell_without_a_first_state_starts_from_zeros():
    def loss(m, mark=unmarked):
        state, outputs = None, []
        for x_t in x:
            state = mark(m.cell(x_t, state))
            outputs.append(state)
        return step_losses(torch.stack(outputs))

    x = inputs()
    check(Holder(nn.GRUCell(X, H)).double(), loss, Probes())


# ----------------------------------------------------------------------------------------------- somebody's own


class Plain(nn.Module):
    """(x, h) -> h"""

    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(X, H), nn.Linear(H, H, bias=False)

    def forward(self, x, h):
        return torch.tanh(self.W(x) + self.U(h))


class Peephole(Plain):
    """(x, (h, c)) -> h, (h, c)"""

    def step(self, x, h, c):
        c = torch.sigmoid(self.W(x) + c) * c + torch.tanh(self.U(h))
        return torch.tanh(c) * torch.sigmoid(self.W(x)), c

    def forward(self, x, state):
        h, c = self.step(x, *state)
        return h, (h, c)


class Three(Peephole):
    """(x, h, c) -> (h, c)"""

    def forward(self, x, h, c):
        return self.step(x, h, c)


class ReadOut(Peephole):
    """(x, state) -> out, state: what it puts out is not its state, but made from that and from the state before."""

    def __init__(self, parts=1):
        super().__init__()
        self.out, self.parts, self.mark = nn.Linear(3 * H, 5), parts, unmarked

    def forward(self, x, *state):
        new = self.mark(*self.step(x, *state)) if self.parts > 1 else (self.mark(Plain.forward(self, x, *state)),)
        return torch.sigmoid(self.out(torch.cat([new[0], new[-1], state[0]], -1))), *new


class Keyword(Plain):
    """(x, *, state=h) -> h"""

    def forward(self, x, *, state):
        return super().forward(x, state)


class InDict(Peephole):
    """{"x", "state"} -> {"out", "state"}"""

    def forward(self, given):
        h, c = self.step(given["x"], *given["state"])
        return {"out": h, "state": [h, c]}


def plain(m, x, state):
    h = m.cell(x, state[0])
    return h, (h,)


def peephole(m, x, state):
    return m.cell(x, state)


def three(m, x, state):
    state = m.cell(x, *state)
    return state[0], state


def read_out(m, x, state):
    out, *state = m.cell(x, *state)
    return out, tuple(state)


def keyword(m, x, state):
    h = m.cell(x=x, state=state[0])
    return h, (h,)


def in_dict(m, x, state):
    found = m.cell({"x": x, "state": list(state)})
    return found["out"], tuple(found["state"])


FORMS = {  # the cell, how it is called, and how many tensors its state is
    "x and h": (Plain, plain, 1),
    "a pair in and out": (Peephole, peephole, 2),
    "three arguments": (Three, three, 2),
    "output and state apart": (ReadOut, read_out, 1),
    "output and two states apart": (lambda: ReadOut(2), read_out, 2),
    "a keyword": (Keyword, keyword, 1),
    "a dictionary": (InDict, in_dict, 2),
}


def looped(step, x, start):
    """The losses of a loop over `step`; what it puts out besides its state is used, and so is the state."""

    def loss(m, mark=unmarked):
        state, outputs = mark(*start), []
        m.cell.mark = mark
        for x_t in x:
            out, state = step(m, x_t, state if isinstance(state, tuple | list) else (state,))
            if not isinstance(m.cell, ReadOut):
                state = mark(*state)
                out = state[0] if isinstance(state, tuple | list) else state
            outputs.append(m.head(out))
        m.cell.mark = unmarked
        return step_losses(torch.stack(outputs))

    return loss


@pytest.mark.parametrize("form", FORMS)
def test_ones_own_cell_is_found_and_followed(form):
    cell, step, parts = FORMS[form]
    start = tuple(inputs(B, H) for _ in range(parts))
    (layer,) = check(Holder(cell()).double(), looped(step, inputs(), start), Probes()).layers
    assert (layer.name, layer.kind, layer.cell, layer.first) == ("cell", type(cell()).__name__, None, 0)
    assert layer.has_memory == (parts > 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", ["mask", "layer norm"])
def test_ones_own_cell_is_followed_through_what_is_done_to_its_state(form, between):
    cell, step, parts = FORMS[form]
    start, clock = tuple(inputs(B, H) for _ in range(parts)), {}

    def changed(m, x, state):
        t = clock["t"] = (clock.get("t", -1) + 1) % T
        return step(m, x, tuple(BETWEEN[between](s, t) if t else s for s in state))

    check(Holder(cell()).double(), looped(changed, inputs(), start), Probes())


@pytest.mark.parametrize("form", FORMS)
def test_ones_own_cell_in_float32_goes_on_in_float64(form):
    cell, step, parts = FORMS[form]
    start = tuple(torch.randn(B, H) for _ in range(parts))
    model = Holder(cell())
    check(model, looped(step, inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
    trace = record(forgetful(model), looped(step, inputs(60, B, X, dtype=torch.float32), start))
    assert not trace.notes
    assert 0 < trace.gradients(60)[0][0].abs().max() < 1e-45


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
            y, (read, (h, c), memory) = m.cell(x_t, (read, (h, c), memory))
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
            self.gru, self.to = nn.GRUCell(X + 2, H), nn.Linear(H, 4)

        def forward(self, x, state):
            h = self.gru(torch.cat([x, state["z"]], -1), state["h"])
            mean, spread = self.to(h).chunk(2, -1)
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


def test_two_cells_above_one_another_are_two_layers_on_one_clock():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = ReadOut(), Peephole()
            self.mix = nn.Linear(5, X)

    def loss(m, below=unmarked, above=unmarked):
        h, s, outputs = below(start[0]), above(*start[1:]), []
        m.below.mark = below
        for x_t in x:
            out, h = m.below(x_t, h)
            out, s = m.above(m.mix(out), s)
            s = above(*s)
            outputs.append(s[0])
        return step_losses(torch.stack(outputs))

    x, start = inputs(), [inputs(B, H) for _ in range(3)]
    trace = check(Two().double(), loss, Probes(), Probes())
    assert [(layer.name, layer.begins) for layer in trace.layers] == [("below", 0), ("above", 0)]


class Residual(nn.Module):
    """Around an nn.GRUCell, whose state it mixes with the one before."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRUCell(X, H)

    def forward(self, x, h):
        return 0.3 * h + 0.7 * self.gru(x, h)


class PassesOn(Residual):
    """Around an nn.GRUCell, whose state it hands on as it is."""

    def forward(self, x, h):
        return self.gru(2 * x, h)


def test_of_a_cell_within_a_cell_the_outer_is_taken_where_the_state_is_its_own():
    (layer,) = check(Holder(Residual()).double(), looped(plain, inputs(), (inputs(B, H),)), Probes()).layers
    assert (layer.name, layer.kind) == ("cell", "Residual")


def test_of_a_cell_within_a_cell_the_inner_is_taken_where_the_outer_hands_its_state_on():
    (layer,) = check(Holder(PassesOn()).double(), looped(plain, inputs(), (inputs(B, H),)), Probes()).layers
    assert (layer.name, layer.kind) == ("cell.gru.l0", "GRU")


def test_a_model_that_is_itself_a_cell_is_found():
    def loss(m, mark=unmarked):
        h, outputs = mark(start), []
        for x_t in x:
            h = mark(m(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    x, start = inputs(), inputs(B, H)
    (layer,) = check(Plain().double(), loss, Probes()).layers
    assert (layer.name, layer.kind) == ("plain", "Plain")
    (layer,) = check(Residual().double(), loss, Probes()).layers
    assert (layer.name, layer.kind) == ("residual", "Residual")


def test_zoneout_and_dropout_inside_a_cell_are_drawn_as_the_cell_draws_them():
    class Zoneout(Residual):
        def forward(self, x, h):
            new = F.dropout(self.gru(x, h), 0.3, self.training)
            keep = torch.rand_like(h) < 0.3
            return torch.where(keep, h, new)

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        model = Holder(Zoneout()).to(dtype).train()
        check(model, looped(plain, inputs(dtype=dtype), (inputs(B, H, dtype=dtype),)), Probes(), tolerance=tolerance)


def test_noise_is_drawn_as_the_cell_draws_it():
    class Noisy(Plain):
        def forward(self, x, h):
            h = h + 0.3 * torch.randn_like(h) + torch.empty_like(h).uniform_() + torch.rand(len(h), 1)
            keep = torch.empty_like(h).bernoulli_(0.8) * torch.bernoulli(h.sigmoid())
            return super().forward(x, keep * F.dropout(h, 0.2) + torch.normal(torch.zeros_like(h), 1.0))

    x, start = inputs(dtype=torch.float32), (torch.randn(B, H),)
    assert not check(Holder(Noisy()), looped(plain, x, start), Probes(), tolerance=1e-4).notes


def test_noise_that_float64_would_change_is_left_in_the_cells_own_precision_and_it_is_said():
    class Feature(Plain):
        def forward(self, x, h):
            return super().forward(x, F.feature_alpha_dropout(h[..., None], 0.2, training=True)[..., 0] + self.other())

        def other(self):
            return torch.distributions.Gamma(torch.tensor(1.0), torch.tensor(1.0)).sample((H,))

    x, start = inputs(dtype=torch.float32), (torch.randn(B, H),)
    trace = check(Holder(Feature()), looped(plain, x, start), Probes(), tolerance=1e-4)
    assert all("other random numbers" in note for note in trace.notes)


# ------------------------------------------------------------------------------------------------------ registered


class Keeps(Plain):
    """x -> h, kept in self.h"""

    def __init__(self):
        super().__init__()
        self.h = None

    def forward(self, x):
        h = x.new_zeros(len(x), H) if self.h is None else self.h
        self.h = super().forward(x, h)
        return self.h


def kept(x, start=None, name="h"):
    def loss(m, mark=unmarked):
        setattr(m.cell, name, start if start is None else mark(start))
        outputs = []
        for x_t in x:
            m.cell(x_t)
            setattr(m.cell, name, mark(getattr(m.cell, name)))
            outputs.append(getattr(m.cell, name))
        setattr(m.cell, name, None)
        return step_losses(torch.stack(outputs))

    return loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("started", [True, False])
def test_a_registered_cell_keeps_its_state_in_an_attribute(registered, dtype, started):
    rg.register(Keeps, state="h")
    start = inputs(B, H, dtype=dtype) if started else None
    tolerance = EXACT if dtype == torch.float64 else 1e-4
    trace = check(Holder(Keeps()).to(dtype), kept(inputs(dtype=dtype), start), Probes(), tolerance=tolerance)
    assert not trace.notes
    assert trace.layers[0].first == int(not started)


def test_a_registered_cell_may_be_given_integers(registered):
    class Reads(Keeps):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, X)

        def forward(self, token):
            return super().forward(self.embedding(token))

    rg.register(Reads, state="h")
    check(Holder(Reads()).double(), kept(torch.randint(9, (T, B)), inputs(B, H)), Probes())


def test_a_registered_state_may_be_a_buffer_that_is_written_to_in_place(registered):
    class Buffered(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", torch.zeros(B, H))

        def forward(self, x):
            new = super().forward(x, self.h)
            self.h = self.h.clone()
            self.h.mul_(0.5).add_(new)
            return self.h

    def loss(m, mark=unmarked):
        m.cell.h = mark(start)
        outputs = []
        for x_t in x:
            m.cell(x_t)
            m.cell.h = mark(m.cell.h)
            outputs.append(m.cell.h)
        m.cell.h = start
        return step_losses(torch.stack(outputs))

    rg.register(Buffered, state="h")
    x, start = inputs(), inputs(B, H)
    check(Holder(Buffered()).double(), loss, Probes())


def test_a_registered_cell_says_where_it_returns_its_state(registered):
    class Mixed(Peephole):
        """(x, h, c) -> c, something, h, and every state is new each time it is handed on"""

        def forward(self, x, h, c):
            h, c = self.step(x, h, c)
            return c, x.sum(), h

    def mixed(m, x, state):
        c, _, h = m.cell(x, *state)
        return h, (h, c)

    start = inputs(B, H), inputs(B, H)
    rg.register(Mixed, state="h", returns=2)
    rg.register(Mixed, state=("h", "c"), returns=(2, 0))  # the later word holds
    (layer,) = check(Holder(Mixed()).double(), looped(mixed, inputs(), start), Probes()).layers
    assert layer.states.shape == (T + 1, B, 2 * H)

    class Younger(Mixed):
        pass

    (layer,) = check(Holder(Younger()).double(), looped(mixed, inputs(), start), Probes()).layers
    assert layer.kind == "Younger"


def test_a_registered_state_that_is_not_there_is_refused(registered):
    rg.register(Keeps, state="memory")
    with pytest.raises(NotMeasured, match="memory"):
        record(Holder(Keeps()), kept(inputs(dtype=torch.float32)))


# ------------------------------------------------------------------------------------------------ what may happen


class MakesItsOwn(Plain):
    """(x, h=None) -> h, from zeros of torch's default precision where none is given"""

    def forward(self, x, h=None):
        return super().forward(x, torch.zeros(len(x), H) if h is None else h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_first_state_that_is_none_has_no_gradient_of_its_own(dtype):
    def loss(m, mark=unmarked):
        h, outputs = None, []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    torch.set_default_dtype(dtype)
    try:
        x = inputs(dtype=dtype)
        trace = check(
            Holder(MakesItsOwn()).to(dtype), loss, Probes(), tolerance=EXACT if dtype == torch.float64 else 1e-4
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert trace.layers[0].first == 1
    assert not trace.notes


def test_weights_that_are_dropped_anew_at_each_call_are_those_of_that_call():
    class Dropped(Plain):
        """As weight-drop does it: the weight is made from a parameter before each step."""

        def __init__(self):
            super().__init__()
            self.raw = nn.Parameter(self.U.weight.detach().clone())
            del self.U.weight

        def forward(self, x, h):
            self.U.weight = F.dropout(self.raw, 0.3, self.training)
            return super().forward(x, h)

    class Outside(nn.Module):
        """The same on a torch cell, by the model and with the mask of each step."""

        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(X, H), nn.Identity()
            self.raw = nn.Parameter(self.cell.weight_hh.detach().clone())
            del self.cell.weight_hh

    def outside(m, x, state):
        m.cell.weight_hh = F.dropout(m.raw, 0.3)
        return plain(m, x, state)

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        x, start = inputs(dtype=dtype), (inputs(B, H, dtype=dtype),)
        trace = check(Holder(Dropped()).to(dtype).train(), looped(plain, x, start), Probes(), tolerance=tolerance)
        assert not trace.notes
        check(Outside().to(dtype), looped(outside, x, start), Probes(), tolerance=tolerance)


def test_what_is_set_on_a_cell_before_the_loop_is_what_it_runs_with():
    """A mask for all steps of a sequence, and the outputs of an encoder, whose gradient comes back through them."""

    class Attends(Plain):
        mask, memory = None, None

        def forward(self, x, h):
            scores = torch.einsum("tbh,bh->tb", self.memory[0], h).softmax(0)
            return super().forward(x, h * self.mask + torch.einsum("tb,tbh->bh", scores, self.memory[0]))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.cell = nn.GRU(X, H), Attends()

    def loss(m, encoder=unmarked, mark=unmarked):
        h, outs = encoder(inner), []
        for x_t in x:
            if encoder is unmarked:
                outs, _ = m.encoder(x, h[None])
                break
            h = encoder(m.encoder(x_t[None], h[None])[1][0])
            outs.append(h)
        m.cell.memory = [torch.stack(list(outs))]
        m.cell.mask = F.dropout(torch.ones(B, H, dtype=x.dtype), 0.5)
        h, outputs = mark(start), []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, 1e-4)):
        x, inner, start = inputs(dtype=dtype), inputs(B, H, dtype=dtype), inputs(B, H, dtype=dtype)
        assert not check(Model().to(dtype), loss, Probes(), Probes(), tolerance=tolerance).notes


def test_a_cell_that_cannot_run_in_float64_runs_in_its_own_precision_and_it_is_said():
    class Single(Plain):
        def forward(self, x, h):
            x = F.dropout(x, 0.2)  # drawn before it fails
            h = torch.from_numpy(h.detach().numpy().astype("float32") * 0 + 1) * h
            assert h.dtype is torch.float32, "compiled for float32"
            return super().forward(x, h)

    for start in ((torch.randn(B, H),), (torch.zeros(B, H),)):
        model = Holder(Single())
        trace = check(model, looped(plain, inputs(dtype=torch.float32), start), Probes(), tolerance=1e-4)
        (note,) = trace.notes
        assert note.startswith("cell does not run in float64 (compiled for float32)")
        assert "its own precision" in note


def test_a_cell_that_raises_raises_what_it_raises():
    class Raises(Plain):
        def forward(self, x, h):
            if x is not None and getattr(self, "calls", 0) > 2:
                raise KeyError("half-way")
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x, h)

    model = Holder(Raises())
    forward = nn.LSTM.forward
    with pytest.raises(KeyError, match="half-way"):
        record(model, looped(plain, inputs(dtype=torch.float32), (torch.randn(B, H),)))
    assert nn.LSTM.forward is forward
    assert "calls" not in vars(model.cell)
    assert "forward" not in vars(model.cell)


def test_one_sequence_without_a_batch_is_followed():
    def loss(m, mark=unmarked):
        h, losses = mark(start), []
        for x_t in x:
            h = mark(m.cell(x_t, h))
            losses.append(h.square().sum())
        return torch.stack(losses)

    x, start = inputs(T, X), inputs(H)
    (layer,) = check(Holder(Plain()).double(), loss, Probes(batch=None)).layers
    assert layer.states.shape == (T + 1, 1, H)


def test_frozen_weights_change_nothing():
    model, x, start = Holder(Peephole()).double(), inputs(), (inputs(B, H), inputs(B, H))
    free = record(model, looped(peephole, x, start)).layers[0].total
    frozen = check(model.requires_grad_(False), looped(peephole, x, start), Probes()).layers[0].total
    assert torch.equal(free, frozen)


@pytest.mark.parametrize("cell", [Plain, lambda: nn.GRUCell(X, H)])
@pytest.mark.parametrize("in_turn", [False, True])
def test_one_cell_on_two_sequences_is_two_trajectories(cell, in_turn):
    def loss(m, one=unmarked, other=unmarked):
        outputs = []
        if in_turn:
            h, g = one(start[0]), other(start[1])
            for x_t in x:
                h = one(m.cell(x_t, h))
                g = other(m.cell(2 * x_t, g))
                outputs.append(h * g)
        else:
            for mark, scale, s in ((one, 1, start[0]), (other, 2, start[1])):
                h, hs = mark(s), []
                for x_t in x:
                    h = mark(m.cell(scale * x_t, h))
                    hs.append(h)
                outputs.append(torch.stack(hs))
            outputs = outputs[0] * outputs[1]
        return step_losses(torch.stack(list(outputs)))

    x, start = inputs(), [inputs(B, H), inputs(B, H)]
    trace = check(Holder(cell()).double(), loss, Probes(), Probes())
    assert [(layer.name[-3:], len(layer), layer.begins) for layer in trace.layers][1] == ("(2)", T, 0)


@pytest.mark.parametrize("cell", [Plain, lambda: nn.GRUCell(X, H)])
def test_attention_over_all_outputs_so_far_is_followed(cell):
    def loss(m, mark=unmarked):
        h, outputs, read = mark(start), [], 0
        for x_t in x:
            if outputs:
                past = torch.stack(outputs, 1)
                context = torch.einsum("bth,bh->bt", past, h).softmax(1)
                read = m.head(torch.einsum("bt,bth->bh", context, past))
            h = mark(m.cell(x_t + read, h))
            outputs.append(h)
        return step_losses(torch.stack(outputs))

    x, start = inputs(), inputs(B, H)
    model = Holder(cell(), head=nn.Linear(H, X)).double()
    check(model, loss, Probes(), jacobians=False)  # the state also goes through the input: that is no step of the cell


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


def test_a_recording_lets_go_of_the_model():
    import weakref

    model = Holder(Plain()).double()
    trace = record(model, looped(plain, inputs(), (inputs(B, H),)))
    seen = weakref.ref(model.cell)
    del trace, model
    gc.collect()
    assert seen() is None


def test_bridged_states_in_float32_are_said_to_be():
    model, start = Holder(nn.GRUCell(X, H)), (torch.randn(B, H),)
    x = inputs(dtype=torch.float32)
    trace = check(model, stepwise(x, start, BETWEEN["mask"]), Probes(), tolerance=1e-4)
    assert any("float32" in note for note in trace.notes)
    assert not record(model, stepwise(x, start)).notes
    twin = Holder(nn.GRUCell(X, H)).double()
    twin.load_state_dict(model.state_dict())
    exact = record(twin, stepwise(x.double(), (start[0].double(),), BETWEEN["mask"]))
    torch.testing.assert_close(trace.layers[0].total, exact.layers[0].total, rtol=BRIDGED * 100, atol=BRIDGED)
