"""Which of many steps are taken, by hand."""

import pytest

from retrograd.measures.spacing import drawn, from_first, from_first_to_last, spaced, up_to_last


def test_lengths_grow_by_a_half_and_a_third_in_turn_up_to_the_longest():
    assert spaced(13) == [1, 2, 3, 4, 6, 8, 12, 13]
    assert spaced(1) == [1]


@pytest.mark.parametrize(
    ("take", "three", "one"),
    [(from_first, [10, 13, 16], [10]), (up_to_last, [13, 16, 19], [19]), (from_first_to_last, [10, 14, 19], [19])],
)
def test_a_few_are_spread_evenly_and_never_more_than_there_are(take, three, one):
    assert take(range(10, 20), 3) == three
    assert take(range(10, 20), 1) == one
    assert take(range(10, 20), 99) == list(range(10, 20))


def test_each_equal_stretch_has_one_drawn_from_it():
    for seed in range(20):
        assert [step // 5 for step in drawn(range(20), 4, seed)] == [0, 1, 2, 3]
    assert len({tuple(drawn(range(20), 4, seed)) for seed in range(20)}) > 10
