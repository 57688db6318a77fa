"""The norm of a product of matrices as it grows, factor by factor: ln sigma_max of J_1, of J_1 J_2, of J_1 J_2 J_3 ...

The product is kept at a largest element of 1, and what was taken out as a logarithm: neither underflow nor overflow
can lose it.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def log_norms(factors: Iterable[Tensor]) -> Iterator[float]:
    """Of square matrices (H, H), each multiplied on from the right; -inf from where the product is exactly zero."""
    product, log = None, 0.0
    for factor in factors:
        own = float(factor.abs().max()) or 1.0
        product = factor / own if product is None else product @ (factor / own)
        size = float(product.abs().max())
        log += math.log(own) + math.log(size) if size else -math.inf
        product = product / (size or 1.0)
        yield log + math.log(float(torch.linalg.eigvalsh(product @ product.mT)[-1])) / 2 if size else -math.inf
