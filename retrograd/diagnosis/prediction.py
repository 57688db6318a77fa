"""How far the gradient is expected to reach under a remedy.

    horizon      = ln threshold / ln a                         a the factor of a step
    forget bias    a = sigmoid(b)
    chrono         a = 1 - 1 / (T / 2 + 1)                     what half of the units keep at least
    orthogonal     a = the activation's factor alone           the weights take none

With tanh the activation's factor is another one under orthogonal weights, because the states are larger. In the mean
field of wide layers (Poole et al., 2016), z ~ N(0, 1) and w the factor that the weights take:

    a(v)^2 = E tanh'(sqrt(v) z)^2        v the variance of the pre-activations
    v = u + w^2 q(v)                     u what inputs and biases bring to it
    q(v)   = E tanh(sqrt(v) z)^2         the variance of the states

a and w are measured: a gives v, v gives u, and w = 1 gives the v and the a of orthogonal weights.
"""

import math
from collections.abc import Callable

NODES = 60
Z = [6 * (i + 0.5) / NODES for i in range(NODES)]  # what is expected here is the same at -z
DENSITY = [2 * math.exp(-z * z / 2) * 6 / NODES / math.sqrt(2 * math.pi) for z in Z]
SMALLEST, LARGEST = 1e-6, 1e6  # variances


def reached(factor: float, threshold: float) -> float:
    """The last lag at which a gradient that takes this factor with each step is over the threshold."""
    if not factor > 0:
        return 0
    return math.inf if factor >= 1 else math.floor(math.log(threshold) / math.log(factor))


def forgetting(bias: float, threshold: float) -> float:
    """Of a memory whose gate is sigmoid(bias)."""
    return reached(1 / (1 + math.exp(-bias)), threshold)


def chrono(longest: float, threshold: float) -> float:
    return reached(1 - 1 / (longest / 2 + 1), threshold)


def orthogonal_tanh(activation: float, weights: float, threshold: float) -> float:
    """Of a tanh layer given orthogonal weights, whose activation and weights took these factors before."""
    if not (activation > 0 and 0 <= weights < math.inf):
        return 0
    if activation >= 1:
        return math.inf
    v = _solve(lambda v: activation - _slope(v))
    brought = max(v - weights**2 * _states(v), 0.0)
    return reached(_slope(_solve(lambda v: v - _states(v) - brought)), threshold)


def _states(v: float) -> float:
    return sum(p * math.tanh(math.sqrt(v) * z) ** 2 for z, p in zip(Z, DENSITY, strict=True))


def _slope(v: float) -> float:
    return math.sqrt(sum(p * (1 - math.tanh(math.sqrt(v) * z) ** 2) ** 2 for z, p in zip(Z, DENSITY, strict=True)))


def _solve(rising: Callable[[float], float]) -> float:
    """Where it crosses zero, between the smallest and the largest variance, by bisection on their logarithms."""
    low, high = SMALLEST, LARGEST
    for _ in range(48):  # the logarithm to 1e-13
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return math.sqrt(low * high)
