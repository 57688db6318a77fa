"""What every entry of MEASURES is held to: a frozen result, the same each time, and nothing else touched."""

import json
import random
from dataclasses import asdict, is_dataclass

import numpy as np
import pytest
import torch
from torch import nn

from retrograd.measures import MEASURES, reach
from retrograd.trace import record
from tests.measures.subjects import B, H, T, X

OF_SOMETHING_ELSE = {  # than a trace
    "horizon": lambda model, loss, trace: (reach(trace),),
    "context": lambda model, loss, trace: (model, loss),
    "clipping": lambda model, loss, trace: ([0.0, 1.0, 2.0],),
}


def around(model, trace):
    """All that a measure could touch and should not."""
    layers = [(layer.states, layer.inputs, layer.total, layer.entering) for layer in trace.layers]
    weights = [(p, p.grad) for p in model.parameters()]
    generators = torch.get_rng_state(), random.getstate()[1], np.random.get_state()[1].tolist()
    modes = [model.training, torch.is_grad_enabled(), str(torch.get_default_dtype())]
    return as_text([layers, trace.losses, weights, generators, modes])


def as_text(values):
    return json.dumps(values, default=torch.Tensor.tolist)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_gives_a_frozen_result_twice_the_same_and_touches_nothing(name, kind):
    model, x = kind(X, H, num_layers=2), torch.randn(T, B, X)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    if name == "first_nonfinite":
        x[3, 1] = torch.inf  # else there is nothing to give

    def loss(m):
        return m(x)[0].square().sum(-1)

    trace = record(model, loss)
    given = OF_SOMETHING_ELSE[name](model, loss, trace) if name in OF_SOMETHING_ELSE else (trace,)
    before = around(model, trace)
    first, second = (MEASURES[name](*given) for _ in range(2))
    assert around(model, trace) == before
    assert is_dataclass(first)
    assert type(first).__dataclass_params__.frozen
    assert as_text(asdict(first)) == as_text(asdict(second))


def test_every_measure_is_listed_under_its_own_name():
    assert [measure.__name__ for measure in MEASURES.values()] == list(MEASURES)
