"""Models of other people's in a loop of their own: what a watch measures without the loss is what `record` does with.

Tolerance: 1e-3 of ln |dL/ds|, what a model's own float32 allows between two of its forward passes.
"""

import math
import random

import pytest
import torch

from benchmarks.zoo import ENTRIES
from benchmarks.zoo.check import made
from retrograd.experiments.watching import looking, watch
from retrograd.measures import reach
from retrograd.trace import record

SEEN = [name for name, entry in ENTRIES.items() if entry.refused is None]
BY_PARTS = ("bahdanau",)  # a dict of modules, none of which is called by another
ROUGH = {"half precision": 0.01}
SUMMED = ("speech",)  # one loss of many steps, which a watch tells apart all the same

pytestmark = [  # of torch itself
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
]


def seeded(loss, model):
    torch.manual_seed(5)
    random.seed(5)
    return loss(model)


def watched(name, monkeypatch):
    taken = []
    monkeypatch.setattr(looking, "reach", lambda trace: taken.append(reach(trace)) or taken[-1])
    model, loss = made(name)
    with watch(model) as w:
        seeded(loss, model).sum().backward()
        w.step()
    return taken[-1]


@pytest.mark.parametrize("name", [name for name in SEEN if name not in BY_PARTS])
def test_it_is_measured_in_its_loop_as_with_its_loss_in_hand(name, monkeypatch):
    found = watched(name, monkeypatch)
    model, loss = made(name)
    asked = record(model, lambda m: seeded(loss, m))
    assert (found.per_step == asked.per_step) == (name not in SUMMED)
    if found.per_step == asked.per_step:
        wanted = reach(asked)
        assert found.anchors == wanted.anchors
        a, b = found.log_norms, wanted.log_norms
        some = (b > -600) & (a > -600)  # under that float32 has nothing left
        assert some.any()
        assert (a - b)[some].abs().max() < ROUGH.get(name, 1e-3)
    assert found.longest >= 1
    assert not any(math.isnan(x) for x in found.log_norms.flatten().tolist())
