"""Each initialiser gives the matrix that its equation says, gate by gate, and touches nothing else."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from retrograd import init
from retrograd.bptt import Stack
from retrograd.cells import GRU, LSTM, Additive, Elman, MultiTap, from_torch
from retrograd.errors import ConfigError, UnknownName, UsageError
from retrograd.init import INITS, initialise_, recurrences

X, H = 6, 20

MODULES = {
    "elman": lambda: Elman(X, H, activation="relu"),
    "multi-tap": lambda: MultiTap(X, H, taps=(1, 3, 4)),
    "lstm": lambda: LSTM(X, H),
    "gru": lambda: GRU(X, H),
    "stack": lambda: Stack([LSTM(X, H), LSTM(H, H)]),
    "nn.RNN": lambda: nn.RNN(X, H, 2, bidirectional=True),
    "nn.LSTM": lambda: nn.LSTM(X, H, 2, bidirectional=True),
    "nn.GRU": lambda: nn.GRU(X, H, bias=False),
    "model": lambda: nn.Sequential(nn.Embedding(9, X), nn.LSTM(X, H), nn.Linear(H, 9)),
}
LAYERS = {"stack": 2, "nn.RNN": 4, "nn.LSTM": 4}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def blocks(module):
    """Every square block of every W_hh, in float64."""
    weights = [p for name, p in module.named_parameters() if "weight_hh" in name]
    return [block.detach().double() for W in weights for rows in W.split(H) for block in rows.split(H, 1)]


def changed(module, act):
    before = {name: p.clone() for name, p in module.named_parameters()}
    act(module)
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("kind", MODULES)
class TestEveryModule:
    def test_every_layer_and_direction_is_found(self, kind):
        assert len(recurrences(MODULES[kind]())) == LAYERS.get(kind, 1)

    def test_orthogonal_blocks_have_singular_values_of_the_gain(self, kind):
        module = MODULES[kind]()
        init.orthogonal_(module, 1.5)
        for W in blocks(module):
            torch.testing.assert_close(W.T @ W, 1.5**2 * torch.eye(H, dtype=W.dtype), atol=1e-5, rtol=0)

    def test_spectral_radius_of_each_block_is_the_one_asked_for(self, kind):
        module = MODULES[kind]()
        before = blocks(module)
        init.spectral_radius_(module, 0.9)
        for W, V in zip(blocks(module), before, strict=True):
            assert abs(torch.linalg.eigvals(W).abs().max() - 0.9) < 1e-5
            ratio = W / V
            torch.testing.assert_close(ratio, ratio.mean().expand(H, H), atol=1e-4, rtol=1e-4)

    def test_normal_has_the_deviation_asked_for_and_a_spectral_radius_near_its_root_h_fold(self, kind):
        module = MODULES[kind]()
        init.normal_(module, 2.0)
        W = torch.stack(blocks(module))
        assert abs(W.std() / 2 - 1) < 5 / math.sqrt(2 * W.numel())
        assert all(0.6 < torch.linalg.eigvals(V).abs().max() / (2 * math.sqrt(H)) < 1.6 for V in W)

    def test_sparse_rows_hold_two_of_twenty_weights(self, kind):
        module = MODULES[kind]()
        init.sparse_(module, 0.9)
        for W in blocks(module):
            assert ((W != 0).sum(1) == 2).all()

    def test_uniform_fills_the_bound_and_no_more(self, kind):
        module = MODULES[kind]()
        init.uniform_(module, 0.1)
        values = torch.cat([x.flatten() for layer in recurrences(module) for x in layer.parameters()])
        assert values.abs().max() <= 0.1
        assert values.abs().max() > 0.099
        assert abs(values.mean()) < 0.1 / math.sqrt(values.numel())

    def test_only_recurrent_weights_change(self, kind):
        for name in ("normal", "sparse", "orthogonal", "spectral_radius"):
            touched = changed(MODULES[kind](), INITS[name])
            assert touched
            assert all("weight_hh" in n for n in touched)


@pytest.mark.parametrize("kind", ["elman", "nn.RNN"])
class TestPlainRecipes:
    def test_identity_is_the_irnn(self, kind):
        module = MODULES[kind]()
        init.identity_(module, 0.5)
        assert all(torch.equal(W, 0.5 * torch.eye(H, dtype=W.dtype)) for W in blocks(module))
        for layer in recurrences(module):
            assert not layer.bias_ih.any()
            assert not layer.bias_hh.any()
            assert abs(layer.weight_ih.std() / 0.001 - 1) < 0.3

    def test_np_rnn_is_positive_definite_with_largest_eigenvalue_one(self, kind):
        module = MODULES[kind]()
        init.np_rnn_(module)
        for W in blocks(module):
            torch.testing.assert_close(W, W.T, atol=1e-7, rtol=0)
            eigenvalues = torch.linalg.eigvalsh(W)
            assert abs(eigenvalues.max() - 1) < 1e-6
            assert eigenvalues.min() > 0.1  # 1 / lambda_max(A + I), and lambda_max(A) is near 4


def test_np_rnn_divides_by_h_once():
    """lambda(A) then fills (0, 4) whatever H, so the smallest eigenvalue is near 1/5; divided twice, near 1."""
    module = nn.RNN(X, 300)
    init.np_rnn_(module)
    assert abs(torch.linalg.eigvalsh(module.weight_hh_l0.detach().double()).min() - 0.2) < 0.01


class TestForgetting:
    @pytest.mark.parametrize("module", [LSTM(X, H), nn.LSTM(X, H, 2, bidirectional=True)])
    def test_forget_bias_of_an_lstm_is_in_f_alone(self, module):
        before = {n: p.clone() for n, p in module.named_parameters()}
        init.forget_bias_(module, 3.0)
        for name, p in module.named_parameters():
            if "weight" in name:
                assert torch.equal(p, before[name])
                continue
            i, f, g, o = p.split(H)
            assert (f == (3.0 if "bias_ih" in name else 0.0)).all()
            assert torch.equal(torch.cat([i, g, o]), torch.cat([before[name].split(H)[k] for k in (0, 2, 3)]))

    def test_forget_bias_of_a_gru_opens_the_gate_that_keeps(self):
        module = GRU(X, H).double()
        init.forget_bias_(module, 100.0)
        h = torch.randn(2, H, dtype=torch.float64)
        torch.testing.assert_close(module.step(torch.randn(2, X).double(), h), h, atol=1e-12, rtol=0)

    def test_chrono_spreads_the_memory_times_of_an_lstm_up_to_the_longest(self):
        module = LSTM(4, 4000)
        init.chrono_(module, 150)
        b_i, b_f, _, _ = module.bias_ih.detach().split(4000)
        time = b_f.exp() + 1
        assert 2 <= time.min() < 3
        assert 149 < time.max() <= 150
        assert abs(time.mean() - 76) < 3  # U(2, 150) over 4000 units: standard error 0.7
        assert torch.equal(b_i, -b_f)
        assert not module.bias_hh[: 2 * 4000].any()

    def test_chrono_of_a_gru_is_in_z_alone(self):
        module = GRU(X, H)
        before = module.bias_ih.detach().clone().split(H)
        init.chrono_(module, 100)
        r, z, n = module.bias_ih.detach().split(H)
        assert torch.equal(r, before[0])
        assert torch.equal(n, before[2])
        assert (z >= 0).all()
        assert (z <= math.log(99)).all()


def test_orthogonal_is_uniform_because_the_signs_are_fixed():
    """The trace of a uniform orthogonal matrix has mean 0 and variance 1; LAPACK's raw Q has a mean far below."""
    traces = []
    for _ in range(200):
        module = Elman(1, H)
        init.orthogonal_(module)
        traces.append(float(module.weight_hh.detach().trace()))
    assert abs(sum(traces)) / 200 < 4 / math.sqrt(200)


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_default_is_torchs_reset_bit_for_bit(make):
    module, twin = make(X, H, 2, bidirectional=True), make(X, H, 2, bidirectional=True)
    torch.manual_seed(2)
    module.reset_parameters()
    torch.manual_seed(2)
    init.default_(twin)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("name", INITS)
def test_a_module_and_its_shared_cells_are_initialised_alike(name):
    spec = f"{name}=50" if name == "chrono" else name
    make = nn.RNN if name in ("identity", "np_rnn") else nn.LSTM
    ours, theirs = make(X, H), make(X, H)
    ours.load_state_dict(theirs.state_dict())
    torch.manual_seed(4)
    initialise_(from_torch(ours)[0][0], spec)
    torch.manual_seed(4)
    initialise_(theirs, spec)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_and_the_need_for_gradients_are_kept(name, dtype):
    module = nn.RNN(X, H, dtype=dtype) if name in ("identity", "np_rnn") else nn.GRU(X, H, dtype=dtype)
    initialise_(module, f"{name}=50" if name == "chrono" else name)
    assert all(p.dtype == dtype and p.requires_grad and p.grad_fn is None for p in module.parameters())
    assert all(p.isfinite().all() for p in module.parameters())


class TestSpec:
    def test_recipes_combine_from_left_to_right(self):
        module = nn.LSTM(X, H)
        initialise_(module, "uniform=0.5 + orthogonal + forget_bias = 3")
        assert all(abs(torch.linalg.svdvals(W) - 1).max() < 1e-5 for W in blocks(module))
        assert (module.bias_ih_l0.split(H)[1] == 3).all()
        assert 0.45 < module.weight_ih_l0.abs().max() <= 0.5

    @pytest.mark.parametrize("spec", ["ortogonal", "uniform+ortogonal=2", "orthogonal+ortogonal"])
    def test_unknown_names_offer_the_nearest_and_change_nothing(self, spec):
        module = nn.LSTM(X, H)
        before = module.weight_ih_l0.clone()
        with pytest.raises(UnknownName, match="nearest is 'orthogonal'"):
            initialise_(module, spec)
        assert torch.equal(module.weight_ih_l0, before)

    @pytest.mark.parametrize("spec", ["", "+", "orthogonal+"])
    def test_an_empty_name_lists_what_there_is(self, spec):
        with pytest.raises(UnknownName, match="There are: default, uniform"):
            initialise_(nn.LSTM(X, H), spec)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("forget_bias=much", "forget_bias takes a number, such as forget_bias=3; got 'forget_bias=much'"),
            ("forget_bias=", "takes a number"),
            ("orthogonal=nan", "takes a number"),
            ("orthogonal=inf", "takes a number"),
            ("default=2", "default takes no number"),
            ("np_rnn=2", "np_rnn takes no number"),
            ("chrono", "chrono takes a number"),
            ("chrono=2", "over 2, got 2"),
            ("uniform=0", "must be positive, got 0"),
            ("normal=-1", "must not be negative, got -1"),
            ("sparse=1", "under 1, got 1"),
            ("orthogonal=0", "must be positive"),
            ("spectral_radius=-1", "must be positive"),
        ],
    )
    def test_a_bad_number_is_one_clear_sentence(self, spec, message):
        with pytest.raises(ConfigError, match=message):
            initialise_(nn.LSTM(X, H) if "np_rnn" not in spec else nn.RNN(X, H), spec)


class TestRefusals:
    @pytest.mark.parametrize("spec", ["forget_bias", "chrono=50"])
    @pytest.mark.parametrize("module", [Elman(X, H), nn.RNN(X, H), Additive(X, H)])
    def test_a_cell_without_a_gate_that_keeps(self, spec, module):
        with pytest.raises(UsageError, match="needs a gate that keeps"):
            initialise_(module, spec)

    @pytest.mark.parametrize("spec", ["identity", "np_rnn"])
    @pytest.mark.parametrize("module", [LSTM(X, H), nn.GRU(X, H)])
    def test_a_plain_recipe_on_gates(self, spec, module):
        with pytest.raises(UsageError, match="recipe for a plain cell"):
            initialise_(module, spec)

    @pytest.mark.parametrize("spec", ["identity", "np_rnn"])
    def test_a_recipe_for_one_matrix_on_several_taps(self, spec):
        cell = MultiTap(X, H, taps=(1, 4))
        before = cell.weight_ih.clone()
        with pytest.raises(UsageError, match=r"adds up those of 2 taps, which would grow. Try orthogonal=0\.5"):
            initialise_(cell, spec)
        assert torch.equal(cell.weight_ih, before)
        initialise_(MultiTap(X, H, taps=(4,)), spec)

    @pytest.mark.parametrize("spec", ["normal", "sparse", "orthogonal", "identity", "np_rnn", "spectral_radius"])
    def test_recurrent_weights_of_a_cell_that_has_none(self, spec):
        with pytest.raises(UsageError, match="has none; use default or uniform"):
            initialise_(Additive(X, H), spec)

    def test_a_bias_where_there_is_none(self):
        with pytest.raises(UsageError, match="made with bias=False"):
            initialise_(nn.LSTM(X, H, bias=False), "forget_bias")

    def test_one_layer_that_cannot_leaves_all_layers_as_they_were(self):
        lower = LSTM(X, H)
        stack, bias = Stack([lower, Elman(H, H)]), lower.bias_ih.clone()
        with pytest.raises(UsageError, match=r"cells\.1"):
            init.forget_bias_(stack)
        assert torch.equal(lower.bias_ih, bias)

    def test_no_recurrent_layer(self):
        with pytest.raises(UsageError, match="no recurrent layer in this Linear"):
            initialise_(nn.Linear(2, 2), "default")

    def test_a_matrix_of_zeros_has_no_radius_to_scale(self):
        module = Elman(X, H)
        nn.init.zeros_(module.weight_hh)
        with pytest.raises(UsageError, match="spectral radius 0"):
            init.spectral_radius_(module)

    def test_a_projected_lstm(self):
        with pytest.raises(UsageError, match="proj_size=0"):
            init.orthogonal_(nn.LSTM(X, H, proj_size=3))

    def test_parametrised_weights(self):
        module = parametrizations.orthogonal(nn.RNN(X, H), "weight_hh_l0")
        with pytest.raises(UsageError, match="parametrise then"):
            init.normal_(module)
