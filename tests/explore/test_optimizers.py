"""The paths against the worked example, torch.optim, and the eigenvalues of the whole iteration."""

import math

import numpy as np
import pytest
import torch

from retrograd.errors import ConfigError
from retrograd.explore import EXPLORATIONS, optimizers

NAMES = ("SGD", "momentum", "Nesterov")
WORKED = {
    "SGD": [(3.55, 0.2), (3.185, -0.0975), (2.871375, -0.19825)],
    "Nesterov": [(3.55, 0.2), (2.8565, -0.36525), (2.05281375, -0.4612075)],
}


def by_name(found):
    return {path.optimizer: path for path in found.paths}


@pytest.mark.parametrize("name", WORKED)
def test_the_default_is_the_worked_example(name):
    path = by_name(optimizers())[name]
    for point, truth in zip(path.points[1:], WORKED[name], strict=False):
        assert point == pytest.approx(truth, abs=1e-14)
    rows = [row for row in EXPLORATIONS["optimizers"].table(optimizers()).rows if row[0] == name]
    for row, (x, y) in zip(rows[1:], WORKED[name], strict=False):
        assert row[2:4] == (repr(x), repr(y))


def torchs(steps, **options):
    p = torch.tensor([4.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.05, **options)
    points, buffers = [(4.0, 1.0)], [torch.zeros(2)]
    for _ in range(steps):
        optimizer.zero_grad()
        (p[0] ** 2 + p[0] * p[1] + 6 * p[1] ** 2).backward()
        optimizer.step()
        points.append(tuple(p.tolist()))
        if options:
            buffers.append(optimizer.state[p]["momentum_buffer"].clone())
    return points, buffers


def test_sgd_and_momentum_are_torchs():
    ours = by_name(optimizers(steps=25))
    for name, options in (("SGD", {}), ("momentum", {"momentum": 0.9})):
        for point, truth in zip(ours[name].points, torchs(25, **options)[0], strict=True):
            assert point == pytest.approx(truth, abs=1e-12)


def test_torchs_nesterov_keeps_the_look_ahead_point():
    points, buffers = torchs(25, momentum=0.9, nesterov=True)
    ours = by_name(optimizers(steps=25))["Nesterov"]
    for t, (ahead, p) in enumerate(zip(ours.look_ahead, points, strict=True)):
        assert ahead == pytest.approx(p, abs=1e-12)
        x = [p[i] + 0.05 * 0.9 * float(buffers[t][i]) for i in (0, 1)]  # and x is p + lr gamma buffer
        assert ours.points[t] == pytest.approx(x, abs=1e-12)
    assert abs(ours.points[3][0] - points[3][0]) > 0.1  # the printed numbers are the textbook's


@pytest.mark.parametrize("quadratic", [(1, 1, 6), (2, -3, 1), (1, 0, -1), (0.5, 0, 20)])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_factor_is_the_largest_eigenvalue_of_the_iteration(quadratic, momentum):
    a, b, c = quadratic
    A, I, alpha, g = np.array([[2 * a, b], [b, 2 * c]]), np.eye(2), 0.07, momentum
    whole = {
        "SGD": I - alpha * A,
        "momentum": np.block([[I - alpha * A, g * I], [-alpha * A, g * I]]),
        "Nesterov": np.block([[I - alpha * A, g * (I - alpha * A)], [-alpha * A, g * (I - alpha * A)]]),
    }
    for name, path in by_name(optimizers(quadratic, rate=alpha, momentum=momentum)).items():
        assert path.factor == pytest.approx(np.abs(np.linalg.eigvals(whole[name])).max(), abs=1e-7)


def test_the_values_and_the_curvatures_are_the_quadratics():
    found = optimizers((2, -3, 1), start=(0.5, -2))
    assert found.paths[0].values[0] == 2 * 0.25 + 3 + 4
    assert found.curvatures == pytest.approx(np.linalg.eigvalsh([[4, -3], [-3, 2]]))


def test_divergence_is_said_and_infinity_is_no_error():
    say = EXPLORATIONS["optimizers"].say
    assert "diverges" not in say(optimizers())
    assert "SGD diverges" in say(optimizers(rate=0.2))
    far = optimizers(rate=1e200, steps=20)
    assert not math.isfinite(far.paths[0].values[-1])
    assert "beyond what a number holds" in say(far)
    assert "SGD does not come nearer" in say(optimizers((1, 0, 0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quadratic": (1, 2)}, "takes 3 numbers, got 2"),
        ({"start": (1, math.inf)}, "finite"),
        ({"rate": 0.0}, "rate must be over 0"),
        ({"momentum": 1.0}, "under 1"),
        ({"steps": 0}, "Steps must be"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(ConfigError, match=said):
        optimizers(**options)
