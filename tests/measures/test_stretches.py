"""Which steps of a batch lead from a state to the next, and averages along them whose interval is worth its name."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd.bptt.stack import Stack
from retrograd.cells import GRU
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.bootstrap import quantile
from retrograd.measures.stretches import averages, check_transient, stretches, student
from retrograd.trace import record

X, H, B, T = 3, 4, 4, 12
LENGTHS = torch.tensor([5, 12, 1, 9])


def traced(starts=None):
    x = torch.randn(T, B, X)
    return record(Stack([GRU(X, H)]), lambda m: m(x, None, starts)[0].sum(-1))


def packed(**options):
    x = pack_padded_sequence(torch.randn(T, B, X), LENGTHS, enforce_sorted=False)
    return record(nn.GRU(X, H, **options), lambda m: m(x)[0].data.sum())


def rows(along):
    return list(zip(along.sequence.tolist(), along.begin.tolist(), along.length.tolist(), strict=True))


def test_every_step_of_a_plain_batch_is_in_one_stretch():
    along = stretches(traced().layers[0])
    assert rows(along) == [(b, 0, T) for b in range(B)]
    assert along.times(0, T).tolist() == [[t] * B for t in range(1, T + 1)]
    assert along.inside.all()


def test_padding_is_in_none_whichever_way_the_layer_runs():
    forward, backward = packed(bidirectional=True).layers
    assert rows(stretches(forward)) == [(1, 0, 12), (3, 0, 9), (0, 0, 5), (2, 0, 1)]
    assert rows(stretches(backward)) == [(1, 0, 12), (3, 3, 9), (0, 7, 5), (2, 11, 1)]
    assert rows(stretches(backward, 2)) == [(1, 0, 12), (3, 3, 9)]


def test_a_new_document_breaks_a_stretch_and_the_longest_is_taken():
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[0] = True  # nothing went before
    starts[4, 1] = True  # 3 steps, then 7
    starts[8, 2] = starts[9, 2] = True  # 7, none, 2
    along = stretches(traced(starts).layers[0])
    assert rows(along) == [(0, 1, 11), (3, 1, 11), (1, 5, 7), (2, 1, 7)]
    assert along.times(6, 9).tolist() == [[8, 8, 12, 8], [9, 9, 12, 8], [10, 10, 12, 8]]
    assert along.inside.sum(0).tolist() == [11, 11, 7, 7]


def test_the_first_step_from_another_layers_last_state_does_not_count():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.GRU(X, H), nn.GRU(X, H)

        def forward(self, x):
            _, h = self.encoder(x)
            return self.decoder(x, h)[0]

    x = torch.randn(T, B, X)
    encoder, decoder = record(Pair(), lambda m: m(x).square().sum()).layers
    assert (stretches(encoder).steps, stretches(decoder).steps) == (T, T - 1)


def test_where_each_step_begins_a_document_there_is_nothing_to_measure():
    with pytest.raises(NotMeasured, match="each of the 12 begins anew"):
        stretches(traced(torch.ones(T, B, dtype=torch.bool)).layers[0])


def test_the_transient_is_a_quarter_of_the_longest_and_may_not_be_all():
    trace = packed()
    along = stretches(trace.layers[0])
    assert along.counted(None).sum(0).tolist() == [9, 6, 2, 0]
    assert along.counted(0).sum(0).tolist() == [12, 9, 5, 1]
    for transient in (-1, 12):
        with pytest.raises(UsageError, match="some of the 12 steps"):
            check_transient(trace, transient)
    with pytest.raises(NotMeasured, match="leaves none"):
        along.counted(12)


def test_an_average_is_over_the_counted_steps_and_its_error_that_of_the_blocks():
    values = torch.randn(T, B, 2, dtype=torch.float64)
    counted = torch.arange(T)[:, None] < LENGTHS
    found = averages(values, counted, blocks=7)  # two blocks of each sequence; of a single step, one
    blocks = []
    for b, n in enumerate(LENGTHS.tolist()):
        cut = math.ceil(n / 2)
        blocks += [part for part in (values[:cut, b].numpy(), values[cut:n, b].numpy()) if len(part)]
    mean = np.concatenate(blocks).mean(0)
    shares = np.array([len(block) for block in blocks]) / 27
    means = np.stack([block.mean(0) for block in blocks])
    error = np.sqrt((shares[:, None] ** 2 * (means - mean) ** 2).sum(0) * 7 / 6)
    assert (found.blocks, found.sequences, found.steps) == (7, 4, 27)
    assert found.mean.tolist() == pytest.approx(mean.tolist(), rel=1e-12)
    assert found.high.tolist() == pytest.approx((mean + 2.4469 * error).tolist(), rel=1e-3)
    assert found.low.tolist() == pytest.approx((mean - 2.4469 * error).tolist(), rel=1e-3)


@pytest.mark.parametrize("sequences", [1, 3, 12])
def test_95_of_100_intervals_hold_the_truth(sequences):
    """Steps that remember each other for some ten steps, as an autoregression does; its mean is 0."""
    noise = torch.randn(500, 300 * sequences, dtype=torch.float64)
    x = [noise[0]]
    for step in noise[1:]:
        x.append(0.8 * x[-1] + step)
    values = torch.stack(x).view(500, 300, sequences)
    every = torch.ones(500, sequences, dtype=torch.bool)
    found = [averages(values[:, i, :, None], every, blocks=10) for i in range(300)]
    held = sum(float(one.low) <= 0 <= float(one.high) for one in found) / 300
    assert 0.91 <= held <= 0.99  # of 300 draws at 0.95 the standard deviation is 0.013


def test_one_block_has_no_interval_and_an_infinite_mean_is_its_own():
    values = torch.tensor([[[0.0, -math.inf]], [[1.0, 0.0]]], dtype=torch.float64)
    every = torch.ones(2, 1, dtype=torch.bool)
    one = averages(values, every, blocks=1)
    assert (one.mean.tolist(), one.low, one.high) == ([0.5, -math.inf], None, None)
    two = averages(values, every, blocks=2)
    assert two.low[1] == two.high[1] == -math.inf
    assert two.high[0] == pytest.approx(0.5 + 12.7062 * 0.5)
    with pytest.raises(UsageError, match="block"):
        averages(values, every, blocks=0)


def test_students_t_is_that_of_the_tables():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 15: 2.131, 30: 2.042, 120: 1.980}
    assert [student(n) for n in table] == pytest.approx(list(table.values()), rel=3e-3)


def test_a_quantile_is_one_of_the_values_and_nan_where_one_is():
    x = torch.tensor([[3.0, -math.inf, 1.0, 2.0], [1.0, math.nan, 2.0, 3.0]])
    assert [float(quantile(x, q)[0]) for q in (0.1, 0.5, 0.9)] == [-math.inf, 1.0, 3.0]
    assert quantile(x, 0.5)[1].isnan()
