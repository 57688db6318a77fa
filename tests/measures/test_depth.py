"""Small graphs worked by hand, random ones unrolled step by step, and recorded models whose layers read each other."""

import math
import random
from itertools import pairwise

import pytest
import torch
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import Additive, Elman, MultiTap
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures.depth import depth
from retrograd.measures.graphs import Edge, graph_depth
from retrograd.trace import record
from tests.contracts import FORMS, cell_of

X, H, B, T = 3, 4, 2, 6


def measures(*edges, inputs=("x",), outputs=("y",)):
    return tuple(graph_depth([Edge(*edge) for edge in edges], inputs=inputs, outputs=outputs))


# graphs by hand; the last transformation leads to the output y


def test_one_plain_layer():
    assert measures(("x", "y", 0, 1), ("y", "y", 1, 1)) == (1, 1, 1)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_stacked_layers_are_deep_from_input_to_output_and_not_through_time(layers):
    names = ["x", *(f"h{i}" for i in range(layers))]
    up = [(below, above, 0, 1) for below, above in pairwise(names)]
    assert measures(*up, *((h, h, 1, 1) for h in names[1:]), outputs=[names[-1]]) == (1, layers, 1)


def test_a_connection_back_from_the_top_makes_the_way_through_time_as_long_as_the_stack():
    stack = [("x", "h", 0, 1), ("h", "y", 0, 1), ("h", "h", 1, 1), ("y", "y", 1, 1)]
    assert measures(*stack) == (1, 2, 1)
    assert measures(*stack, ("y", "h", 1, 1)) == (2, 2, 1)


@pytest.mark.parametrize("k", [1, 2, 9])
def test_a_connection_over_k_steps_is_a_skip_of_k(k):
    assert measures(("x", "y", 0, 1), ("y", "y", 1, 1), ("y", "y", k, 1)) == (1, 1, k)
    only = measures(("x", "y", 0, 1), ("y", "y", k, 1))
    assert only == (pytest.approx(1 / k), 1, k)


def test_a_deep_transition_takes_its_transformations_at_every_step():
    deep = [("x", "a", 0, 1), ("a", "b", 0, 1), ("b", "y", 0, 1), ("y", "a", 1, 1)]
    assert measures(*deep) == (3, 3, pytest.approx(1 / 3))
    assert measures(*deep, ("y", "y", 1, 0)) == (3, 3, math.inf)


def test_a_way_that_waits_pays_for_the_steps_that_it_takes():
    """h keeps 1 a step; the detour over d has 4 transformations and comes two steps later: 4 - 2 of them count."""
    edges = [("x", "h", 0, 1), ("h", "h", 1, 1), ("h", "y", 0, 0), ("x", "d", 1, 2), ("d", "y", 1, 2)]
    assert measures(*edges) == (1, 2, 1)
    assert measures(*edges[:3]) == (1, 1, 1)


def test_two_transformations_in_three_steps():
    assert measures(("x", "a", 0, 1), ("a", "y", 1, 1), ("y", "a", 2, 1)) == (
        pytest.approx(2 / 3),
        pytest.approx(1 + 1 - 2 / 3),
        pytest.approx(3 / 2),
    )


def test_of_two_cycles_each_measure_takes_its_own():
    edges = [("x", "a", 0, 1), ("a", "a", 3, 1), ("a", "y", 0, 1), ("y", "y", 2, 5)]
    assert measures(*edges) == (2.5, 2, 3)


def test_a_graph_that_is_none_is_refused():
    with pytest.raises(UsageError, match="at least one step"):
        measures(("x", "a", 0, 1), ("a", "y", 0, 1), ("y", "a", 0, 0))
    with pytest.raises(UsageError, match="0 or more"):
        measures(("x", "y", 0, 1), ("y", "y", -1, 1))
    with pytest.raises(NotMeasured, match="no cycle"):
        measures(("x", "y", 0, 1))
    with pytest.raises(NotMeasured, match="No path"):
        measures(("x", "x", 1, 1), ("y", "y", 1, 1))


# random graphs against the slow truth


def simple_cycles(edges):
    """(transformations, delay) of every cycle that visits no node twice."""
    found = []

    def walk(start, at, seen, l, s):
        for source, target, delay, n in edges:
            if source == at and target == start:
                found.append((l + n, s + delay))
            elif source == at and target > start and target not in seen:
                walk(start, target, {*seen, target}, l + n, s + delay)

    for start in {end for edge in edges for end in edge[:2]}:
        walk(start, start, {start}, 0, 0)
    return found


def unrolled(edges, inputs, outputs, steps):
    """D(n): the longest way from an input now to an output n steps later, over the unrolled network."""
    order = sorted({end for edge in edges for end in edge[:2]})
    longest = {(0, name): 0 for name in inputs}
    for t in range(steps + 1):
        for target in order:  # an edge without delay leads from a smaller name to a larger one
            ways = [
                longest[t - delay, source] + n
                for source, to, delay, n in edges
                if to == target and (t - delay, source) in longest
            ]
            if ways:
                longest[t, target] = max(*ways, longest.get((t, target), 0))
    return {t: max(there) for t in range(steps + 1) if (there := [longest[t, o] for o in outputs if (t, o) in longest])}


@pytest.mark.parametrize("seed", range(40))
def test_a_random_graph_has_the_measures_of_its_unrolled_network(seed):
    """By enumerating the cycles, and the longest ways of 60 steps; to 1e-12."""
    rng = random.Random(seed)
    nodes = "abcde"
    edges = [Edge(a, b, 0, rng.randint(0, 2)) for a in nodes for b in nodes if a < b and rng.random() < 0.5]
    edges += [Edge(a, b, rng.randint(1, 4), rng.randint(0, 3)) for a in nodes for b in nodes if rng.random() < 0.3]
    edges += [Edge("a", "e", 0, 1), Edge("e", "e", 4, 1)]
    found = graph_depth(edges, inputs=["a"], outputs=["e"])
    cycles = simple_cycles(edges)
    assert found.recurrent == pytest.approx(max(l / s for l, s in cycles), rel=1e-12)
    assert found.skip == pytest.approx(max(s / l if l else math.inf for l, s in cycles), rel=1e-12)
    truth = max(d - n * found.recurrent for n, d in unrolled(edges, ["a"], ["e"], 60).items())
    assert found.feedforward == pytest.approx(truth, rel=1e-12)


# traces


def of(model, x=None, *, run=lambda m, x: m(x)[0]):
    x = torch.randn(T, B, X) if x is None else x
    return depth(record(model, lambda m: run(m, x.to(next(m.parameters()).dtype)).sum(-1)))


CELLS = {  # recurrent, feedforward, skip
    "elman": (1, 1, 1),
    "elman-relu": (1, 1, 1),
    "elman-sigmoid": (1, 1, 1),
    "elman-identity": (0, 0, math.inf),
    "gru": (2, 2, math.inf),  # h -> r -> n and x -> r -> n; z keeps h
    "lstm": (2, 2, math.inf),  # h -> gate, c -> tanh; f keeps c
    "additive": (0, 1, math.inf),
    "multi-tap": (1, 1, 4),  # the longest way takes the tap 1 each time, the shortest the tap 4
    "multi-tap-relu": (1 / 2, 1, 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_cell_is_a_graph_of_its_own_nonlinearities(form):
    it = of(Stack([cell_of(form)]))
    assert (it.recurrent, it.feedforward, it.skip) == CELLS[form]
    [layer] = it.layers
    assert (layer.recurrent, layer.feedforward, layer.skip) == CELLS[form]
    assert (layer.layer, layer.at_least, it.feeds, it.joined, it.at_least) == ("stack.l0", False, (), True, False)


def test_a_sum_of_what_each_input_adds_has_no_more_depth_than_what_is_added():
    it = of(Stack([Additive(X, H, activation="identity"), Additive(H, H, activation="relu")]))
    assert (it.recurrent, it.feedforward, it.skip) == (0, 1, math.inf)


@pytest.mark.parametrize("taps", [(1,), (4,), (3, 5), (2, 4, 16)])
def test_a_tap_is_one_transformation_in_as_many_steps_as_it_is_long(taps):
    it = of(Stack([MultiTap(X, H, taps=taps)]))
    assert (it.recurrent, it.feedforward, it.skip) == (1 / min(taps), 1, max(taps))
    it = of(Stack([MultiTap(X, H, taps=taps), Elman(H, H)]))  # what goes through the upper layer takes no time below
    assert (it.recurrent, it.feedforward, it.skip) == (1, 2, max(taps))
    it = of(Stack([MultiTap(X, H, taps=taps, activation="identity")]))
    assert (it.recurrent, it.feedforward, it.skip) == (0, 0, math.inf)


@pytest.mark.parametrize(("kind", "each", "through"), [(nn.RNN, 1, 1), (nn.GRU, 2, 2), (nn.LSTM, 2, 2)])
def test_the_layers_of_a_module_are_stacked(kind, each, through):
    it = of(kind(X, H, num_layers=3))
    assert (it.recurrent, it.feedforward) == (through, 3 * each)
    assert it.feeds == tuple((f"{kind.__name__.lower()}.l{i}", f"{kind.__name__.lower()}.l{i + 1}") for i in (0, 1))
    assert [layer.feedforward for layer in it.layers] == [each] * 3


def test_a_projected_lstm_is_an_lstm():
    it = of(nn.LSTM(X, H, proj_size=2))
    assert (it.recurrent, it.feedforward, it.skip, it.at_least) == (2, 2, math.inf, False)


def test_both_directions_are_read_by_the_layer_above():
    it = of(nn.RNN(X, H, num_layers=2, bidirectional=True))
    below, above = ("rnn.l0", "rnn.l0.reverse"), ("rnn.l1", "rnn.l1.reverse")
    assert set(it.feeds) == {(b, a) for b in below for a in above}
    assert (it.recurrent, it.feedforward, it.skip) == (1, 2, 1)


class Chain(nn.Module):
    """Modules whose names are not in the order in which they read each other, with others between them."""

    def __init__(self, side_by_side=False):
        super().__init__()
        self.c, self.b, self.a = nn.RNN(X, H), nn.GRU(X if side_by_side else H, H), nn.RNN(X if side_by_side else H, H)
        self.side_by_side, self.norm = side_by_side, nn.LayerNorm(H)

    def forward(self, x):
        if self.side_by_side:
            return self.c(x)[0] + self.b(x)[0] + self.a(x)[0]
        return self.a(self.norm(self.b(self.norm(self.c(x)[0].relu()))[0]))[0]


def test_separate_modules_are_joined_as_they_read_each_other_and_not_by_name():
    it = of(Chain(), run=lambda m, x: m(x))
    assert it.feeds == (("c.l0", "b.l0"), ("b.l0", "a.l0"))
    assert (it.recurrent, it.feedforward) == (2, 1 + 2 + 1)
    beside = of(Chain(side_by_side=True), run=lambda m, x: m(x))
    assert beside.feeds == ()
    assert (beside.recurrent, beside.feedforward, beside.joined) == (2, 2, True)


class Translator(nn.Module):
    """The decoder starts from the encoder's last state; with attention it also reads its outputs."""

    def __init__(self, *, attends):
        super().__init__()
        self.encoder, self.attends = nn.RNN(X, H, num_layers=2), attends
        self.decoder = nn.RNN(X + H if attends else X, H, num_layers=2)

    def forward(self, x):
        memory, state = self.encoder(x)
        if self.attends:
            x = torch.cat([x, memory.softmax(0).sum(0).expand(len(x), -1, -1)], -1)
        return self.decoder(x, state)[0]


def test_a_state_that_is_handed_on_adds_no_depth_and_outputs_that_are_read_do():
    """The decoder goes on with the encoder's clock: what it reads is at least a step old, and 2 + 2 - 1 count."""
    within = (("encoder.l0", "encoder.l1"), ("decoder.l0", "decoder.l1"))
    handed = of(Translator(attends=False), run=lambda m, x: m(x))
    assert (handed.feeds, handed.feedforward) == (within, 2)
    read = of(Translator(attends=True), run=lambda m, x: m(x))
    assert set(read.feeds) == {*within, ("encoder.l1", "decoder.l0")}
    assert (read.recurrent, read.feedforward) == (1, 3)


class Speaker(nn.Module):
    """Called step by step on its own outputs, some steps later."""

    def __init__(self, *lates):
        super().__init__()
        self.rnn, self.lates = nn.RNN(H, H, num_layers=2), lates

    def forward(self, x):
        said, state = [x.new_zeros(1, B, H)] * max(self.lates), None
        for _ in range(T):
            y, state = self.rnn(torch.stack([said[-late] for late in self.lates]).sum(0).tanh(), state)
            said.append(y)
        return torch.cat(said[max(self.lates) :])


def test_a_stack_that_hears_itself_has_its_whole_height_in_every_step():
    once = of(Speaker(1), run=lambda m, x: m(x))
    assert once.feeds == (("rnn.l0", "rnn.l1"), ("rnn.l1", "rnn.l0"))
    assert (once.recurrent, once.feedforward, once.skip) == (2, 2, 1)
    late = of(Speaker(3), run=lambda m, x: m(x))
    assert (late.recurrent, late.feedforward, late.skip) == (1, 2, 1.5)


@pytest.mark.parametrize("lates", [(1, 4), (4, 1), (2, 1, 3)])
def test_of_several_delays_the_shortest_counts(lates):
    it = of(Speaker(*lates), run=lambda m, x: m(x))
    assert (it.recurrent, it.feedforward) == (2, 2)


def test_layers_on_no_common_clock_are_taken_alone_and_it_is_said():
    """A step of the slow one, two of the fast one on what it said, and the next of the slow one on these."""
    levels = nn.ModuleDict({"fast": nn.RNN(H, H), "slow": nn.RNN(X, H), "read": nn.Linear(H, X)})

    def call(m, x):
        y, state = m["slow"](x[:1])
        z, _ = m["fast"](y.expand(2, -1, -1))
        return m["slow"](m["read"](z[-1:]), state)[0]

    it = of(levels, run=call)
    assert (it.joined, it.at_least, it.feeds) == (False, True, ())
    assert (it.recurrent, it.feedforward, it.skip) == (1, 1, 1)


class Leaky(nn.Module):
    """Somebody's own cell."""

    def __init__(self):
        super().__init__()
        self.read, self.keep = nn.Linear(X, H), nn.Linear(H, H)

    def forward(self, x, h):
        return 0.9 * h + torch.tanh(self.read(x) + self.keep(h))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.rnn = Leaky(), nn.LSTM(H, H)

    def forward(self, x):
        h, said = x.new_zeros(B, H), []
        for x_t in x:
            h = self.own(x_t, h)
            said.append(h)
        return self.rnn(torch.stack(said))[0]


def test_a_cell_that_is_not_known_counts_one_transformation_a_step_at_least():
    it = of(Mixed(), run=lambda m, x: m(x))
    own, rnn = it.layers
    assert (own.layer, own.cell, own.at_least, rnn.at_least) == ("own", "Leaky", True, False)
    assert (own.recurrent, own.feedforward, own.skip) == (1, 1, None)
    assert (it.recurrent, it.feedforward, it.skip, it.at_least) == (2, 3, math.inf, True)
    assert it.feeds == (("own", "rnn.l0"),)


def test_of_nothing_but_unknown_cells_the_skip_coefficient_is_not_known():
    def call(m, x):
        h = x.new_zeros(B, H)
        for x_t in x:
            h = m(x_t, h)
        return h

    it = of(Leaky(), run=call)
    assert (it.recurrent, it.feedforward, it.skip, it.at_least) == (1, 1, None, True)


class Scan(nn.Module):
    """A linear recurrence that shows no state."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.9))

    def forward(self, x):
        lags = torch.arange(len(x))[:, None] - torch.arange(len(x))
        return torch.einsum("tk,kbx->tbx", (self.rate ** lags.clamp(0)).tril(), x)


def test_a_layer_whose_state_cannot_be_seen_has_no_depth():
    with pytest.raises(NotMeasured, match="No state of scan can be seen"):
        of(nn.ModuleDict({"scan": Scan()}), run=lambda m, x: m["scan"](x))


def test_only_the_steps_count_and_not_the_sizes_or_the_values():
    cells = [Elman(X, H), Elman(H, 7, activation="identity")]
    with torch.no_grad():
        cells[0].weight_hh.fill_(math.nan)
    it = of(Stack(cells), torch.randn(1, 1, X))
    assert (it.recurrent, it.feedforward, it.skip) == (1, 1, math.inf)
