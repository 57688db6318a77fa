"""torch.optim's optimisers by name.

torch's Nesterov keeps the look-ahead point as its parameter; the textbook's x is p + lr * momentum * buffer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from retrograd.errors import UnknownName

Make = Callable[[list[dict[str, Any]], float, float, tuple[float, float]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p, lr, momentum, betas: torch.optim.SGD(p, lr),
    "nesterov": lambda p, lr, momentum, betas: torch.optim.SGD(p, lr, momentum=momentum, nesterov=True),
    "rmsprop": lambda p, lr, momentum, betas: torch.optim.RMSprop(p, lr, alpha=betas[1]),
    "adam": lambda p, lr, momentum, betas: torch.optim.Adam(p, lr, betas=betas, fused=True),
    "adamw": lambda p, lr, momentum, betas: torch.optim.AdamW(p, lr, betas=betas, fused=True),
}


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Raises UnknownName. `momentum` is Nesterov's, `betas` Adam's, betas[1] RMSprop's; biases do not decay."""
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    every = list(parameters)
    groups = [
        {"params": [p for p in every if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in every if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, lr, momentum, betas)
