"""Eigenvalues, orbits and norms against numpy, and the names of what each eigenvalue does."""

import math

import numpy as np
import pytest

from retrograd.errors import ConfigError, UnknownName, UsageError
from retrograd.explore import EXPLORATIONS, eigenvalues
from retrograd.explore.checks import matrix
from retrograd.init import INITS

ROTATION = [[0.5, 1.0], [-1.0, 0.5]]
random = np.random.default_rng(3)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_all_is_numpys(size):
    W, v = random.normal(size=(size, size)), random.normal(size=size)
    found = eigenvalues(W.tolist(), vector=v.tolist(), steps=12)
    key = lambda w: (round(w.real, 8), round(w.imag, 8))  # noqa: E731
    ours = sorted((complex(w.real, w.imaginary) for w in found.eigenvalues), key=key)
    assert np.allclose(ours, sorted(np.linalg.eigvals(W).astype(complex), key=key), rtol=1e-10, atol=1e-12)
    assert found.radius == pytest.approx(np.abs(np.linalg.eigvals(W)).max(), rel=1e-12)
    assert found.singular_values == pytest.approx(np.linalg.svd(W, compute_uv=False), rel=1e-10)
    for t in range(13):
        P = np.linalg.matrix_power(W, t)
        assert found.log_norms[t] == pytest.approx(math.log(np.linalg.norm(P @ v) / np.linalg.norm(v)), abs=1e-9)
        assert found.log_most[t] == pytest.approx(math.log(np.linalg.norm(P, 2)), abs=1e-9)


def test_the_orbit_of_two_numbers_is_the_matrix_acting_again_and_again():
    found = eigenvalues(ROTATION, vector=[1.0, 2.0], steps=9)
    for t, point in enumerate(found.points):
        assert point == pytest.approx(np.linalg.matrix_power(np.array(ROTATION), t) @ [1.0, 2.0], rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([[1.1]], ["growth"]),
        ([[0.9]], ["decay"]),
        ([[1.0]], ["steady"]),
        ([[-1.1]], ["growing oscillation"]),
        ([[-0.9]], ["decaying oscillation"]),
        ([[-1.0]], ["steady oscillation"]),
        ([[0.0]], ["decay"]),
        (ROTATION, ["growing rotation"] * 2),
        ([[0.0, 0.5], [-0.5, 0.0]], ["decaying rotation"] * 2),
        ([[0.6, 0.8], [-0.8, 0.6]], ["steady rotation"] * 2),
    ],
)
def test_each_eigenvalue_is_named_by_what_it_does(rows, kinds):
    assert [w.kind for w in eigenvalues(rows).eigenvalues] == kinds


def test_a_turn_takes_two_pi_over_the_angle():
    assert eigenvalues(ROTATION).eigenvalues[0].period == pytest.approx(2 * math.pi / math.atan2(1, 0.5))
    assert eigenvalues([[-3.0]]).eigenvalues[0].period == 2
    assert eigenvalues([[3.0]]).eigenvalues[0].period == math.inf


def test_a_vector_may_grow_first_where_every_eigenvalue_decays():
    found = eigenvalues([[0.5, 4.0], [0.0, 0.5]], steps=40)
    assert found.radius == pytest.approx(0.5)
    assert found.log_most[1] > math.log(4)
    assert found.log_most[-1] < 0
    assert "some vector is first stretched" in EXPLORATIONS["eigenvalues"].say(found)


def test_a_nilpotent_matrix_leaves_exactly_nothing():
    found = eigenvalues([[0.0, 1.0], [0.0, 0.0]], vector=[1.0, 1.0], steps=4)
    assert found.log_norms[2:] == (-math.inf,) * 3 == found.log_most[2:]


def test_the_starts_are_those_of_the_dict_and_theirs_are_the_known_spectra():
    assert all(abs(w.modulus - 1) < 1e-12 for w in eigenvalues(start="orthogonal").eigenvalues)
    assert eigenvalues(start="np_rnn").radius == pytest.approx(1, abs=1e-12)
    assert eigenvalues(start="identity=0.9").radius == pytest.approx(0.9, abs=1e-7)  # 0.9 of a float32 eye
    assert eigenvalues(start="spectral_radius=1.3").radius == pytest.approx(1.3, abs=1e-9)
    assert eigenvalues(start="normal", seed=1).radius != eigenvalues(start="normal", seed=2).radius
    with pytest.raises(UnknownName, match=r"nearest is 'orthogonal'") as found:
        eigenvalues(start="ortogonal")
    assert all(name in str(found.value) for name in INITS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"matrix": [[1.0, 2.0]]}, "must be square"),
        ({"matrix": [[1.0, 2.0], [3.0]]}, "must be square"),
        ({"matrix": []}, "no number"),
        ({"matrix": [[1.0, 2.0], [math.nan, 0.0]]}, "row 2, column 1, must be a finite number, got nan"),
        ({"matrix": [[1.0]], "start": "default"}, "not both"),
        ({"size": 0}, "Size must be"),
        ({"size": 10_000}, "Size must be"),
        ({"seed": -1}, "Seed must be"),
        ({"steps": 0}, "Steps must be"),
        ({"matrix": [[1.0]], "vector": [0.0]}, "must not be zero"),
        ({"matrix": [[1.0]], "vector": [1.0, 2.0]}, "takes 1 number, got 2"),
        ({"start": "forget_bias"}, "needs a gate"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        eigenvalues(**options)


def test_a_matrix_is_read_as_it_is_written():
    assert matrix("0.5 1; -1, 0.5;") == ROTATION_ROWS
    assert matrix("0.5 1\n-1 0.5") == ROTATION_ROWS
    with pytest.raises(ConfigError, match="got 'x'"):
        matrix("1 x; 2 3")


ROTATION_ROWS = [tuple(row) for row in ROTATION]


@pytest.mark.parametrize("size", [1e-170, 1e308])
def test_what_float64_cannot_square_is_measured_all_the_same(size):
    it = eigenvalues([[size, 0.0], [0.0, size]], steps=3)
    truth = [t * math.log(size) for t in range(4)]
    assert it.log_norms == pytest.approx(truth, rel=1e-12)
    assert it.log_most == pytest.approx(truth, rel=1e-12)
