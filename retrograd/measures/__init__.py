"""Numbers from a trace: one quantity a file, the function and its frozen result side by side. No opinions here."""

from collections.abc import Callable
from typing import Any

from retrograd.measures.carry import Carry, carry
from retrograd.measures.contributions import Contributions, contributions
from retrograd.measures.horizon import Horizon, horizon
from retrograd.measures.reach import Reach, reach
from retrograd.measures.saturation import LayerSaturation, Saturation, saturation
from retrograd.measures.spectrum import BlockSpectrum, LayerSpectrum, Spectrum, spectrum

__all__ = [
    "MEASURES",
    "BlockSpectrum",
    "Carry",
    "Contributions",
    "Horizon",
    "LayerSaturation",
    "LayerSpectrum",
    "Reach",
    "Saturation",
    "Spectrum",
    "carry",
    "contributions",
    "horizon",
    "reach",
    "saturation",
    "spectrum",
]

MEASURES: dict[str, Callable[..., Any]] = {
    "reach": reach,
    "horizon": horizon,
    "carry": carry,
    "saturation": saturation,
    "contributions": contributions,
    "spectrum": spectrum,
}
