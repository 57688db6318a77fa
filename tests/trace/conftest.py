"""Every test starts from the same random numbers, and registers cells for itself alone."""

import pytest
import torch

from retrograd.trace import discovery
from tests.trace.cells_in_loops import inputs


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(discovery, "REGISTERED", dict(discovery.REGISTERED))


@pytest.fixture
def x():
    return inputs()
