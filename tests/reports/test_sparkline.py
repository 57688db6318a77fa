"""One character a value; what is under the scale, zero, not a number and not measured each have their own."""

import math

from retrograd.reports import sparkline

TEN = math.log(10)


def test_the_scale_is_logarithmic_from_one_to_a_millionth():
    assert sparkline([0.0, -2 * TEN, -4 * TEN, -6 * TEN]) == "█▆▃▁"


def test_a_value_over_one_raises_the_top_of_the_scale():
    assert sparkline([0.0, 6 * TEN]) == "▅█"
    assert sparkline([0.0, -6 * TEN]) == "█▁"


def test_too_small_zero_nan_infinite_and_unmeasured_are_told_apart():
    assert sparkline([0.0, -7 * TEN, -math.inf, math.nan, math.inf, None]) == "█_0?∞·"


def test_after_an_underflow_nothing_is_called_zero():
    assert sparkline([0.0, -math.inf, -math.inf], underflow=2) == "█0_"


def test_a_long_profile_keeps_its_ends():
    line = sparkline([0.0, *[-9 * TEN] * 998, -2 * TEN], width=20)
    assert len(line) == 20
    assert line == "█" + "_" * 18 + "▆"


def test_nothing_gives_nothing():
    assert sparkline([]) == ""
    assert sparkline([None, None]) == "··"
