"""The kernels as one operation of torch among others: under autocast, beside in-place changes, on the way back."""

import pytest
import torch

from retrograd.bptt.embedded import Embedded
from retrograd.bptt.native import native
from retrograd.cells import GRU
from retrograd.errors import UsageError
from tests.contracts import KNOWN, cell_of, point

pytestmark = pytest.mark.usefixtures("instructions")


def of_tokens(x):
    """As many of its rows as a table, and their numbers."""
    table = x.flatten(0, 1)[:4]
    return Embedded(table, torch.arange(x.shape[0] * x.shape[1]).view(x.shape[:2]) % len(table))


@pytest.mark.parametrize("read", [torch.Tensor.clone, lambda x: x[:, :2].bfloat16(), of_tokens])
@pytest.mark.parametrize("form", KNOWN)
def test_autocast_is_none_of_the_kernels_business(form, read):
    cell = cell_of(form, dtype=torch.float32)
    x, s0 = point(cell)
    x = read(x)

    def both(x, s0):
        outputs, last = native(cell, x, s0[: x.shape[1]])
        return outputs, last, *torch.autograd.grad(outputs.square().sum() + last.sum(), list(cell.parameters()))

    expected = both(x.float() if isinstance(x, torch.Tensor) else x, s0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = both(x, s0)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("form", KNOWN)
def test_operands_of_several_types_are_refused(form):
    cell = cell_of(form, dtype=torch.float32)
    x, s0 = point(cell)
    for mixed in ((x.double(), s0), (x, s0.double()), (x.half(), s0)):
        with pytest.raises(UsageError, match=r"of one type, on one device; got .*\bfloat32 on cpu"):
            native(cell, *mixed)


@pytest.mark.parametrize("form", KNOWN)
def test_outputs_may_be_changed_where_nothing_goes_back_through_them(form):
    cell = cell_of(form, dtype=torch.float32)
    outputs, _ = native(cell, *point(cell))
    outputs.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_inputs_that_were_copied_may_be_written_over_before_the_way_back():
    cell, x = GRU(3, 5), torch.randn(2, 4, 3)
    s0, weights = torch.zeros(2, 5), list(cell.parameters())
    expected = torch.autograd.grad(native(cell, x.clone().transpose(0, 1), s0)[0].sum(), weights)
    outputs, _ = native(cell, x.transpose(0, 1), s0)
    x.zero_()
    assert all(map(torch.equal, torch.autograd.grad(outputs.sum(), weights), expected))


def test_the_way_back_is_differentiable_once_and_says_so():
    cell, x = GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    [d_x] = torch.autograd.grad(native(cell, x, torch.zeros(2, 4))[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_x.sum().backward()


def test_a_changed_weight_is_refused_on_the_way_back():
    cell, x = GRU(3, 4), torch.randn(5, 2, 3)
    outputs, _ = native(cell, x, torch.zeros(2, 4))
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()
