"""Numbers from a trace: one quantity a file, the function and its frozen result side by side. No opinions here.

(`clipping` takes logged norms, `context` a model and its loss.)
"""

from collections.abc import Callable
from typing import Any

from retrograd.measures.attribution import Attribution, LayerAttribution, attribution
from retrograd.measures.bootstrap import Estimate
from retrograd.measures.carry import Carry, carry
from retrograd.measures.clipping import Clipping, clipping
from retrograd.measures.context import Context, context
from retrograd.measures.contributions import Contributions, contributions
from retrograd.measures.depth import Depth, LayerDepth, depth
from retrograd.measures.forgetting import Forgetting, LayerForgetting, forgetting
from retrograd.measures.horizon import Horizon, horizon
from retrograd.measures.jacobians import Jacobians, LayerJacobians, jacobians
from retrograd.measures.lyapunov import Exponents, LyapunovSpectrum, lyapunov
from retrograd.measures.nonfinite import NonFinitePlace, first_nonfinite
from retrograd.measures.parts import LayerParts, Parts, parts
from retrograd.measures.pooled import pooled
from retrograd.measures.reach import Reach, reach
from retrograd.measures.saturation import LayerSaturation, Saturation, saturation
from retrograd.measures.spectrum import BlockSpectrum, LayerSpectrum, Spectrum, spectrum
from retrograd.measures.window import LayerWindow, WindowAdequacy, window

__all__ = [
    "MEASURES",
    "Attribution",
    "BlockSpectrum",
    "Carry",
    "Clipping",
    "Context",
    "Contributions",
    "Depth",
    "Estimate",
    "Exponents",
    "Forgetting",
    "Horizon",
    "Jacobians",
    "LayerAttribution",
    "LayerDepth",
    "LayerForgetting",
    "LayerJacobians",
    "LayerParts",
    "LayerSaturation",
    "LayerSpectrum",
    "LayerWindow",
    "LyapunovSpectrum",
    "NonFinitePlace",
    "Parts",
    "Reach",
    "Saturation",
    "Spectrum",
    "WindowAdequacy",
    "attribution",
    "carry",
    "clipping",
    "context",
    "contributions",
    "depth",
    "first_nonfinite",
    "forgetting",
    "horizon",
    "jacobians",
    "lyapunov",
    "parts",
    "pooled",
    "reach",
    "saturation",
    "spectrum",
    "window",
]

MEASURES: dict[str, Callable[..., Any]] = {
    "reach": reach,
    "horizon": horizon,
    "carry": carry,
    "parts": parts,
    "saturation": saturation,
    "contributions": contributions,
    "spectrum": spectrum,
    "attribution": attribution,
    "window": window,
    "jacobians": jacobians,
    "lyapunov": lyapunov,
    "forgetting": forgetting,
    "depth": depth,
    "context": context,
    "clipping": clipping,
    "first_nonfinite": first_nonfinite,
}
