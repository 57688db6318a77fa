"""What is read by the models of recall.py."""

import pytest
import torch

from tests.experiments.recall import B, T, V


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return torch.randint(V, (T, B))
