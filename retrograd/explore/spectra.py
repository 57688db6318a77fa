"""What is found of a matrix: its eigenvalues with what each does, its singular values, and the orbit of a vector."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Eigenvalue:
    real: float
    imaginary: float
    modulus: float
    kind: str  # "growth", "decay", "steady", or "growing", "decaying", "steady" with "rotation" or "oscillation"
    period: float  # steps of a whole turn; inf where it does not turn


@dataclass(frozen=True)
class Eigenvalues:
    """Of one square matrix (H, H). Orbits run over t = 0 .. T; logarithms are natural."""

    source: str  # where the matrix is from
    eigenvalues: tuple[Eigenvalue, ...]  # the largest modulus first
    radius: float
    singular_values: tuple[float, ...]  # the largest first
    vector: tuple[float, ...]  # v
    log_norms: tuple[float, ...]  # ln |W^t v| / |v|
    log_most: tuple[float, ...]  # ln sigma_max(W^t)
    points: tuple[tuple[float, ...], ...]  # W^t v itself, of a matrix of two rows
