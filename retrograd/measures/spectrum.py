"""The recurrent weights' eigenvalues and largest singular value: of W_hh, or of each gate's block of it.

    W v = w v          radius = max |w|          sigma_max = max |W v| / |v|

|w| < 1 decays and > 1 grows, a complex pair turns, a negative real alternates. The radius alone decides neither
vanishing nor exploding.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockSpectrum:
    """Of one square block (H, H)."""

    gate: str  # "h" for a cell without gates, else "i", "f", "g", "o" or "r", "z", "n"
    eigenvalues: tuple[tuple[float, float], ...]  # (real, imaginary), the largest modulus first
    radius: float
    sigma_max: float


@dataclass(frozen=True)
class LayerSpectrum:
    layer: str
    cell: str  # the class: "LSTM"
    blocks: tuple[BlockSpectrum, ...]


@dataclass(frozen=True)
class Spectrum:
    layers: tuple[LayerSpectrum, ...]
