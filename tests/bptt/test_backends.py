"""The backends give the same numbers: outputs, last states and every gradient, to 1e-12 in float64."""

import pytest
import torch

from retrograd.bptt import BACKENDS, choose
from retrograd.bptt.backends import OBSTACLES
from retrograd.cells import Cell, Elman
from retrograd.errors import ShapeError, UnknownName, UsageError
from tests.contracts import FORMS, HERE, B, H, T, X, cell_of, point
from tests.oracles import STEPS

FASTEST = {
    "elman": ("native", "fused"),
    "elman-relu": ("native", "fused"),
    "elman-sigmoid": ("native", "manual"),
    "elman-identity": ("native", "manual"),
    "gru": ("native", "fused"),
    "lstm": ("native", "fused"),
    "additive": ("native", "fused"),
    "multi-tap": ("manual", "manual"),
    "multi-tap-relu": ("manual", "manual"),
}
FITS = [(form, b) for form in FORMS for b in BACKENDS if b not in OBSTACLES or not OBSTACLES[b](cell_of(form))]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Open(Elman):
    """A cell that gives no closed form."""

    linearize = Cell.linearize


def everything(run, cell, x, s0):
    """Outputs, last state, and the gradients of a loss on both at x, s0 and each parameter."""
    x, s0 = x.detach().requires_grad_(), s0.detach().requires_grad_()
    outputs, last = run(cell, x, s0)
    torch.manual_seed(1)
    loss = (outputs * torch.randn_like(outputs)).sum() + (last * torch.randn_like(last)).sum()
    wanted = {"x": x, "s0": s0, **dict(cell.named_parameters())}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return {"outputs": outputs, "last": last, **dict(zip(wanted, gradients, strict=True))}


def textbook(form):
    def run(cell, x, s):
        weights, hs = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh), []
        for x_t in x:
            s = STEPS[form](weights, x_t, s)
            hs.append(s[:, :H])
        return torch.stack(hs), s

    return run


@pytest.mark.parametrize(("form", "backend"), FITS)
def test_every_backend_is_the_textbook_loop_and_its_gradients(form, backend):
    cell = cell_of(form)
    expected = everything(textbook(form), cell, *point(cell))
    torch.testing.assert_close(everything(BACKENDS[backend], cell, *point(cell)), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("form", "backend"), FITS)
@pytest.mark.parametrize("bias", [True, False])
def test_every_backend_is_right_in_float32_to_1e5(form, backend, bias):
    cell = cell_of(form, bias=bias)
    exact = everything(BACKENDS["reference"], cell, *point(cell))
    x, s0 = point(cell)
    torch.manual_seed(1)
    rough = everything(BACKENDS[backend], cell.float(), x.float(), s0.float())
    for name in ("outputs", "last"):
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name].double(), exact[name], atol=1e-5, rtol=1e-5)
    reference = everything(BACKENDS["reference"], cell, x.float(), s0.float())
    torch.testing.assert_close(rough, reference, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", HERE)
def test_a_backend_in_two_halves_is_the_backend_in_one(backend):
    cell = cell_of("lstm")
    x, s0 = point(cell)
    run = BACKENDS[backend]
    first, s = run(cell, x[:3], s0)
    second, s = run(cell, x[3:], s)
    outputs, last = run(cell, x, s0)
    torch.testing.assert_close(torch.cat([first, second]), outputs, atol=1e-14, rtol=0)
    torch.testing.assert_close(s, last, atol=1e-14, rtol=0)


@pytest.mark.parametrize("backend", HERE)
def test_frozen_weights_get_no_gradient_and_the_input_still_does(backend):
    cell = cell_of("gru").requires_grad_(False)
    x, s0 = point(cell)
    x.requires_grad_()
    outputs, _ = BACKENDS[backend](cell, x, s0)
    outputs.sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in cell.parameters())


def test_manual_refuses_weights_that_changed_since_the_forward():
    cell = cell_of("gru")
    x, s0 = point(cell)
    outputs, _ = BACKENDS["manual"](cell, x, s0)
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_manual_survives_outputs_changed_in_place():
    cell = cell_of("gru")
    x, s0 = point(cell)
    expected = torch.autograd.grad(BACKENDS["reference"](cell, x, s0)[0].mul(2).sum(), cell.weight_hh)[0]
    outputs, _ = BACKENDS["manual"](cell, x, s0)
    found = torch.autograd.grad(outputs.mul_(2).sum(), cell.weight_hh)[0]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_auto_takes_the_fastest_that_fits(form):
    assert choose(cell_of(form)) == FASTEST[form]["native" not in HERE]


def test_a_cell_without_closed_form_runs_on_the_reference_alone():
    cell = Open(X, H, activation="sigmoid").double()
    assert choose(cell) == "reference"
    with pytest.raises(UsageError, match=r"'manual' does not fit: Open gives no derivative.*Try 'reference'"):
        choose(cell, "manual")


@pytest.mark.parametrize("form", ["elman-sigmoid", "elman-identity", "multi-tap"])
def test_a_backend_that_does_not_fit_is_refused_with_the_reason(form):
    with pytest.raises(
        UsageError, match=rf"'fused' does not fit: torch has a kernel.*Try '{choose(cell_of(form))}' or"
    ):
        choose(cell_of(form), "fused")


def test_an_unknown_backend_offers_the_nearest():
    with pytest.raises(UnknownName, match="nearest is 'fused'"):
        choose(cell_of("gru"), "fusd")


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize(
    ("shape", "state", "message"),
    [
        ((T, B, X + 1), (B, H), r"x must be \(time, batch, 3\)"),
        ((T, X), (B, H), "x must be"),
        ((0, B, X), (B, H), "at least one step"),
        ((T, B, X), (B + 1, H), "first state must be"),
        ((T, B, X), (B, 2 * H), "first state must be"),
    ],
)
def test_wrong_shapes_are_named(backend, shape, state, message):
    with pytest.raises(ShapeError, match=message):
        BACKENDS[backend](cell_of("gru"), torch.zeros(shape).double(), torch.zeros(state).double())
