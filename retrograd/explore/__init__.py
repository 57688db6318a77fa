"""Small pictures of one idea each, with their numbers: instant, from a seed or from what is given by hand.

>>> result = EXPLORATIONS["scalar"].explore(weights=[0.9, 1.0, 1.1])
>>> write(EXPLORATIONS["scalar"], result, {"png": Path("scalar.png")})
"""

from typing import Any

from retrograd.explore.deep import DeepNet
from retrograd.explore.depth import EXPLORATION as DEPTH
from retrograd.explore.depth import depth
from retrograd.explore.derivatives import EXPLORATION as DERIVATIVES
from retrograd.explore.derivatives import derivatives
from retrograd.explore.eigenvalues import EXPLORATION as EIGENVALUES
from retrograd.explore.eigenvalues import eigenvalues
from retrograd.explore.exploration import Exploration, as_json
from retrograd.explore.files import write
from retrograd.explore.forgetting import EXPLORATION as FORGETTING
from retrograd.explore.forgetting import forgetting
from retrograd.explore.optimizers import EXPLORATION as OPTIMIZERS
from retrograd.explore.optimizers import optimizers
from retrograd.explore.paths import EXPLORATION as PATHS
from retrograd.explore.paths import paths
from retrograd.explore.scalar import EXPLORATION as SCALAR
from retrograd.explore.scalar import scalar
from retrograd.explore.taps import EXPLORATION as TAPS
from retrograd.explore.taps import taps
from retrograd.explore.tied import EXPLORATION as TIED
from retrograd.explore.tied import tied

__all__ = [
    "EXPLORATIONS",
    "DeepNet",
    "Exploration",
    "as_json",
    "depth",
    "derivatives",
    "eigenvalues",
    "forgetting",
    "optimizers",
    "paths",
    "scalar",
    "taps",
    "tied",
    "write",
]

EXPLORATIONS: dict[str, Exploration[Any]] = {
    "scalar": SCALAR,
    "eigenvalues": EIGENVALUES,
    "derivatives": DERIVATIVES,
    "depth": DEPTH,
    "optimizers": OPTIMIZERS,
    "paths": PATHS,
    "tied": TIED,
    "taps": TAPS,
    "forgetting": FORGETTING,
}
