"""Each cell is its equation, and its closed forms are that equation's derivatives (float64, to 1e-12)."""

import pytest
import torch

from retrograd.cells import CELLS, GRU, LSTM, Additive, Cell, Elman, make_cell
from retrograd.cells.activations import ACTIVATIONS, activation_named
from retrograd.errors import ConfigError, NotMeasured, UnknownName
from tests.contracts import FORMS, B, H, T, X, cell_of, point
from tests.oracles import STEPS, autograd_jacobian, difference_quotient

EXACT = {"atol": 1e-12, "rtol": 1e-12}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_every_cell_is_under_the_contract():
    assert {name for name, _ in FORMS.values()} == set(CELLS)
    assert set(FORMS) == set(STEPS)


@pytest.mark.parametrize("form", FORMS)
class TestEveryCell:
    def test_step_is_the_textbook_equation(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        for t in range(T):
            expected = STEPS[form](weights, x[t], s)
            s = cell.step(x[t], s)
            torch.testing.assert_close(s, expected, **EXACT)

    def test_shapes_names_and_types_are_those_declared(self, form):
        cell = cell_of(form, dtype=torch.float32)
        G = len(cell.gates)
        shapes = {name: tuple(p.shape) for name, p in cell.named_parameters()}
        taps = getattr(cell, "taps", (1,))
        every = {"weight_ih": (G * H, X), "weight_hh": (G * H, len(taps) * H), "bias_ih": (G * H,), "bias_hh": (G * H,)}
        recurrent = cell.weight_hh is not None
        assert shapes == {k: v for k, v in every.items() if recurrent or k.endswith("_ih")}
        assert cell.state_size == (2 * H if cell.has_memory else max(taps) * H)
        for dtype in (torch.float32, torch.float64):
            s = cell.to(dtype).initial_state(B)
            assert s.shape == (B, cell.state_size)
            assert s.dtype == dtype
            assert not s.any()
            assert cell.step(torch.ones(B, X, dtype=dtype), s).dtype == dtype

    def test_output_is_h_the_first_of_the_state(self, form):
        cell = cell_of(form)
        s = torch.arange(float(cell.state_size)).expand(2, 3, -1)
        assert torch.equal(cell.output(s), s[..., :H])

    def test_w_hh_acts_on_what_the_cell_reads_of_its_state(self, form):
        cell = cell_of(form)
        if cell.weight_hh is None:
            return
        x, s = point(cell)
        delta = torch.randn(B, cell.state_size, dtype=s.dtype)
        (expected,) = torch.autograd.grad(cell.step(x[0], s), cell.weight_hh, delta)
        with torch.no_grad():
            _, _, da = cell.linearize(cell.project(x[0]), s).pullback(delta)
            torch.testing.assert_close(da.T @ cell.read(s), expected, **EXACT)

    def test_the_recurrent_blocks_are_square_and_are_all_of_w_hh(self, form):
        cell = cell_of(form)
        blocks = cell.recurrent_blocks
        assert all(W.shape == (H, H) and not W.requires_grad for W in blocks.values())
        assert sum(W.numel() for W in blocks.values()) == (0 if cell.weight_hh is None else cell.weight_hh.numel())

    def test_project_takes_all_steps_at_once(self, form):
        cell = cell_of(form)
        x, _ = point(cell)
        each = torch.stack([cell.project(x_t) for x_t in x])
        torch.testing.assert_close(cell.project(x), each, **EXACT)

    def test_jacobian_is_autograds(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        expected = autograd_jacobian(lambda s: cell.step(x[0], s), s)
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(cell.jacobian(x[0], s), expected, **EXACT)

    def test_jacobian_is_the_limit_of_difference_quotients(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        v = torch.randn_like(s)
        slope = difference_quotient(lambda s: cell.step(x[0], s), s, v)
        along = (cell.jacobian(x[0], s) @ v.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(along, slope, atol=1e-8, rtol=1e-8)

    def test_pullback_is_autograds_at_the_state_and_at_both_projections(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        s.requires_grad_()
        delta = torch.randn(B, cell.state_size, dtype=s.dtype)
        p = cell.project(x[0]).detach().requires_grad_()
        new = cell.recur(p, s)
        wanted = {"s": s, "p": p} | ({} if cell.bias_hh is None else {"b_hh": cell.bias_hh})
        expected = dict(zip(wanted, torch.autograd.grad(new, list(wanted.values()), delta), strict=True))
        with torch.no_grad():
            local = cell.linearize(p, s)
            ds, dp, da = local.pullback(delta)
        torch.testing.assert_close(local.state, new, **EXACT)
        torch.testing.assert_close(ds, expected["s"], **EXACT)
        torch.testing.assert_close(dp, expected["p"], **EXACT)
        if cell.bias_hh is None:
            assert da.shape == (B, 0)
        else:
            torch.testing.assert_close(da.sum(0), expected["b_hh"], **EXACT)

    def test_pullback_takes_a_stack_of_gradients(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        local = cell.linearize(cell.project(x[0]), s)
        deltas = torch.randn(2, 3, B, cell.state_size, dtype=s.dtype)
        stacked = local.pullback(deltas)
        for i in range(2):
            for j in range(3):
                each = local.pullback(deltas[i, j])
                for whole, one in zip(stacked, each, strict=True):
                    torch.testing.assert_close(whole[i, j], one, **EXACT)

    def test_the_paths_back_add_up_to_the_pullback(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        local = cell.linearize(cell.project(x[0]), s)
        delta = torch.randn(2, 3, B, cell.state_size, dtype=s.dtype)
        paths = local.paths(delta)
        assert all(piece.shape == delta.shape for piece in paths.values())
        assert all(piece.ne(0).any() for piece in paths.values())
        torch.testing.assert_close(sum(paths.values()), local.pullback(delta)[0], **EXACT)

    def test_all_steps_linearised_at_once_are_each_step_linearised(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        states = torch.stack([s + t for t in range(T)])
        whole = cell.linearize(cell.project(x), states)
        delta = torch.randn_like(s)
        for t in range(T):
            one = cell.linearize(cell.project(x[t]), states[t])
            torch.testing.assert_close(whole[t].state, one.state, **EXACT)
            for a, b in zip(whole[t].pullback(delta), one.pullback(delta), strict=True):
                torch.testing.assert_close(a, b, **EXACT)

    def test_local_names_each_gate_and_the_slope_of_each_non_linearity(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        local = cell.linearize(cell.project(x[0]), s)
        assert tuple(local.gates) == cell.gates
        assert set(local.derivatives) == {*cell.gates, *(("c",) if cell.has_memory else ())}
        for name, y in local.gates.items():
            slope = local.derivatives[name]
            assert y.shape == slope.shape == (B, H)
            if name in ("i", "f", "o", "r", "z"):
                torch.testing.assert_close(slope, y * (1 - y), **EXACT)

    def test_float32_agrees_with_float64(self, form):
        cell = cell_of(form)
        x, s = point(cell)
        exact = cell.jacobian(x[0], s)
        rough = cell.float().jacobian(x[0].float(), s.float())
        torch.testing.assert_close(rough.double(), exact, atol=1e-5, rtol=1e-5)

    def test_a_cell_without_bias_is_one_with_zero_bias(self, form):
        with_bias, without = cell_of(form), cell_of(form, bias=False)
        without.load_state_dict({k: v for k, v in with_bias.state_dict().items() if "weight" in k})
        torch.nn.init.zeros_(with_bias.bias_ih)
        if with_bias.bias_hh is not None:
            torch.nn.init.zeros_(with_bias.bias_hh)
        x, s = point(without)
        torch.testing.assert_close(without.step(x[0], s), with_bias.step(x[0], s), **EXACT)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_of_an_activation_is_its_slope(name):
    activation = activation_named(name)
    z = torch.linspace(-3, 3, 60, dtype=torch.float64)  # 0, where relu has no slope, is not among them
    slope = difference_quotient(activation.function, z, torch.ones_like(z))
    torch.testing.assert_close(activation.derivative(activation.function(z)), slope, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("form", "kept"), [("lstm", "memory"), ("gru", "keep")])
def test_a_path_is_autograds_gradient_at_a_copy_of_the_state_that_this_path_alone_reads(form, kept):
    cell = cell_of(form)
    x, s = point(cell)
    delta = torch.randn_like(s)
    copies = {name: s.clone().requires_grad_() for name in (kept, *(f"gate {gate}" for gate in cell.gates))}
    p = cell.project(x[0]).chunk(len(cell.gates), -1)
    blocks = list(zip(cell.weight_hh.chunk(len(cell.gates)), cell.bias_hh.chunk(len(cell.gates)), strict=True))
    a = [copies[f"gate {g}"][:, :H] @ W.T + b for g, (W, b) in zip(cell.gates, blocks, strict=True)]
    if form == "lstm":
        i, f, g, o = (torch.tanh(p[k] + a[k]) if k == 2 else torch.sigmoid(p[k] + a[k]) for k in range(4))
        c = f * copies[kept][:, H:] + i * g
        new = torch.cat([o * c.tanh(), c], -1)
    else:
        r, z = torch.sigmoid(p[0] + a[0]), torch.sigmoid(p[1] + a[1])
        n = torch.tanh(p[2] + r * a[2])
        new = (1 - z) * n + z * copies[kept]
    torch.testing.assert_close(new, cell.step(x[0], s), **EXACT)
    truth = dict(zip(copies, torch.autograd.grad(new, list(copies.values()), delta), strict=True))
    paths = cell.linearize(cell.project(x[0]), s).paths(delta)
    assert paths.keys() == truth.keys()
    for name, piece in paths.items():
        torch.testing.assert_close(piece, truth[name], **EXACT)


def test_lstm_derivative_c_is_that_of_the_tanh_of_the_memory():
    cell = cell_of("lstm")
    x, s = point(cell)
    local = cell.linearize(cell.project(x[0]), s)
    c = local.state[:, H:]
    torch.testing.assert_close(local.derivatives["c"], torch.cosh(c) ** -2, **EXACT)


def test_gradient_of_an_additive_cell_is_carried_whole_to_any_lag():
    cell = Additive(X, H)
    for t in range(50):
        assert torch.equal(
            cell.jacobian(torch.randn(2, X), torch.full((2, H), float(t))), torch.eye(H).expand(2, -1, -1)
        )


def test_memory_of_an_open_lstm_is_carried_whole():
    cell = LSTM(X, H).double()
    with torch.no_grad():
        cell.bias_ih[H : 2 * H] = 100.0  # f = 1
    x, s = point(cell)
    along_c = cell.jacobian(x[0], s)[:, H:, H:]
    assert torch.equal(along_c, torch.eye(H, dtype=torch.float64).expand(B, -1, -1))


def test_jacobian_of_a_linear_cell_is_its_matrix():
    cell = Elman(X, H, activation="identity")
    assert torch.equal(cell.jacobian(torch.randn(2, X), torch.randn(2, H)), cell.weight_hh.expand(2, -1, -1))


def test_jacobian_of_a_scalar_sigmoid_is_at_most_a_quarter_of_its_weight():
    cell = Elman(1, 1, activation="sigmoid").double()
    with torch.no_grad():
        cell.weight_hh.fill_(3.0), cell.bias_ih.zero_(), cell.bias_hh.zero_()
    J = cell.jacobian(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    torch.testing.assert_close(J, torch.full((1, 1, 1), 0.75, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize(("name", "twin"), [("elman", torch.nn.RNN), ("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)])
def test_a_new_cell_starts_as_torchs_does_draw_for_draw(name, twin):
    torch.manual_seed(5)
    ours = list(make_cell(name, X, H).parameters())
    torch.manual_seed(5)
    theirs = list(twin(X, H).parameters())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class TestBadInput:
    def test_unknown_cell_offers_the_nearest(self):
        with pytest.raises(UnknownName, match="nearest is 'lstm'"):
            make_cell("lstn", X, H)

    def test_unknown_activation_offers_the_nearest(self):
        with pytest.raises(UnknownName, match="nearest is 'tanh'"):
            Elman(X, H, activation="tahn")

    def test_unknown_option_lists_what_there_is(self):
        with pytest.raises(ConfigError, match="takes no 'activation'; it takes bias"):
            make_cell("lstm", X, H, activation="relu")

    @pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (-1, 4)])
    def test_sizes_under_one_are_refused(self, sizes):
        with pytest.raises(ConfigError, match="at least 1"):
            GRU(*sizes)

    def test_a_cell_without_closed_form_says_so(self):
        class Open(Elman):
            linearize = Cell.linearize

        with pytest.raises(NotMeasured, match="Open gives no derivative in closed form"):
            Open(X, H).jacobian(torch.zeros(1, X), torch.zeros(1, H))
