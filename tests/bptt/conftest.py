"""The kernels' tests run on each instruction set that this processor has."""

import pytest

from retrograd.bptt.native import library

KERNELS = library()


@pytest.fixture(params=() if isinstance(KERNELS, str) else KERNELS.sets)
def instructions(request):
    """Each instruction set in turn; without kernels there is none, and every test that asks for it is skipped."""
    before, KERNELS.set = KERNELS.set, request.param
    yield
    KERNELS.set = before
