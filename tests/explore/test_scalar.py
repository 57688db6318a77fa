"""The scalar recurrence against a plain loop, closed forms and autograd, in float64."""

import math

import pytest
import torch

from retrograd.errors import UsageError
from retrograd.explore import scalar

FUNCTIONS = {
    "sigmoid": lambda z: 1 / (1 + torch.exp(-z)),
    "tanh": torch.tanh,
    "relu": lambda z: z.clamp(min=0),
    "identity": lambda z: z,
}
WEIGHTS = (-1.3, 0.5, 0.9, 1.0, 1.1, 2.0)


@pytest.fixture(scope="module")
def courses():
    found = scalar(WEIGHTS, inputs=[1.0, -0.4, 0.7], input_weight=1.5, start=0.3, steps=20)
    return {(course.activation, course.weight): course for course in found.courses}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("w", WEIGHTS)
def test_states_and_derivative_are_those_of_a_plain_loop_and_autograd(courses, name, w):
    h0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    h, states = h0, [0.3]
    for x in [1.0, -0.4, 0.7] + [0.0] * 17:
        h = FUNCTIONS[name](w * h + 1.5 * x)
        states.append(h.item())
    [derivative] = torch.autograd.grad(h, h0)
    course = courses[name, w]
    assert course.states == pytest.approx(states, rel=1e-12, abs=1e-300)
    assert course.gradient == pytest.approx(derivative.item(), rel=1e-10, abs=0)
    assert course.log_gradients[-1] == pytest.approx(derivative.abs().log().item(), abs=1e-9)
    assert len(course.log_gradients) == len(course.states) == 21


def test_the_identity_is_a_geometric_series():
    for course in scalar(WEIGHTS, activations=["identity"], steps=30).courses:
        assert course.gradient == pytest.approx(course.weight**30, rel=1e-12)
        assert course.states[1:] == pytest.approx([course.weight ** (t - 1) for t in range(1, 31)], rel=1e-12)
        assert course.left == pytest.approx(abs(course.weight) ** 29, rel=1e-12)


def test_sigmoid_forgets_whatever_w_and_relu_keeps_at_one_and_blows_up_above():
    found = {(course.activation, course.weight): course for course in scalar().courses}
    for w in (0.5, 0.9, 1.0, 1.1, 2.0):
        assert found["sigmoid", w].left < 1e-12
        assert found["sigmoid", w].settled <= 5
    assert found["relu", 1.0].left == 1
    assert found["relu", 1.0].settled == 1
    assert found["relu", 2.0].left == 2.0**29
    assert found["relu", 2.0].settled is None
    assert found["tanh", 2.0].settled <= 5


def test_what_is_left_is_counted_from_the_last_input():
    [course] = scalar([0.5], activations=["identity"], inputs=[1.0, 1.0, 2.0], steps=10).courses
    assert course.left == pytest.approx(0.5**7, rel=1e-12)


def test_a_dead_relu_lets_nothing_through_and_an_exact_zero_is_minus_infinity():
    [course] = scalar([1.0], activations=["relu"], inputs=[-1.0]).courses
    assert math.isnan(course.left)
    assert course.log_gradients[1:] == (-math.inf,) * 30
    assert course.gradient == 0


def test_what_leaves_the_numbers_is_infinite_and_no_error():
    [course] = scalar([1e200], activations=["identity"], steps=10).courses
    assert course.states[-1] == math.inf
    assert course.log_gradients[-1] == pytest.approx(10 * math.log(1e200))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": []}, "1 to 1,000 numbers, got 0"),
        ({"weights": [math.nan]}, "finite number, got nan"),
        ({"weights": range(16)}, "At most 15 weights"),
        ({"steps": 0}, "Steps must be a whole number from 1"),
        ({"steps": 2, "inputs": [1.0, 1.0]}, "before the last of the 2 steps"),
        ({"activations": ["tahn"]}, "nearest is 'tanh'"),
        ({"activations": []}, "At least one activation"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        scalar(**options)
