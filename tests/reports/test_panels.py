"""Panels: marks at their edges, names that stay apart, a key with room enough, axes of doublings."""

import math

import pytest

from retrograd.reports.plots import panels
from retrograd.reports.plots.colours import LIGHT
from retrograd.reports.plots.frame import Entry, Frame


def test_minus_infinity_falls_to_the_bottom_and_the_rest_is_marked_at_the_top(calls):
    frame = Frame(panels.sheet(LIGHT), LIGHT, box=(1, 1, 4, 2), x=(0, 4), y=(-5, 5))
    panels.marks(frame, [0, 1, 2, 3], [-math.inf, math.nan, 0.5, math.inf], "end")
    marked = [(kind, *args) for kind, args, _ in calls if args[0]]
    assert marked == [
        ("crosses", [(2, 3)], "alarm"),
        ("triangles", [(4, 3)], "alarm", 1),
        ("triangles", [(1, 1)], "end", -1),
    ]


def test_long_names_stay_apart():
    assert panels.shortened(["rnn.l0", "rnn.l1"], 8) == ["rnn.l0", "rnn.l1"]
    assert panels.shortened(["encoder.rnn.l0", "decoder.rnn.l1"], 8) == ["….rnn.l0", "….rnn.l1"]
    alike = [f"encoder.blocks.{i}.recurrent.rnn.l0" for i in range(12)]
    short = panels.shortened(alike, 11)
    assert len(set(short)) == 12
    assert max(map(len, short)) == 11
    assert panels.shortened(["same", "same"], 3) == ["…me", "…me"]


@pytest.mark.parametrize("most", [1, 3, 7])
def test_a_key_takes_as_many_rows_as_it_was_given_room_for(most):
    entries = [Entry("bound from the steps" * (1 + i % 2), "end") for i in range(most)]
    figure, _ = panels.spread_out(LIGHT, panels.Plan(1, across=1), entries)
    heights = {round(text.get_position()[1], 3) for text in figure.findobj(lambda it: hasattr(it, "get_fontsize"))}
    assert len(heights) == panels.key_rows(entries)


@pytest.mark.parametrize("longest", [1, 2, 3, 64, 192, 10_000])
def test_an_axis_of_doublings_has_powers_of_two_within(longest):
    (low, high), (places, labels) = panels.doublings(longest)
    assert low == 0
    assert high == max(math.log2(longest), 1)
    assert len(places) <= 6
    assert all(0 <= x <= high for x in places)
    assert [f"{round(2**x):,}" for x in places] == labels
