"""torch.optim's optimisers by name.

torch's Nesterov keeps the look-ahead point as its parameter; the textbook's x is p + lr * momentum * buffer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from retrograd.errors import UnknownName

Make = Callable[..., torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p, lr, momentum, betas, decay: torch.optim.SGD(p, lr, weight_decay=decay),
    "nesterov": lambda p, lr, momentum, betas, decay: torch.optim.SGD(
        p, lr, momentum=momentum, nesterov=True, weight_decay=decay
    ),
    "rmsprop": lambda p, lr, momentum, betas, decay: torch.optim.RMSprop(p, lr, alpha=betas[1], weight_decay=decay),
    "adam": lambda p, lr, momentum, betas, decay: torch.optim.Adam(p, lr, betas=betas, weight_decay=decay),
    "adamw": lambda p, lr, momentum, betas, decay: torch.optim.AdamW(p, lr, betas=betas, weight_decay=decay),
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
    """Raises UnknownName. `momentum` is Nesterov's, `betas` Adam's, and betas[1] RMSprop's decay."""
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    extra: dict[str, Any] = {"momentum": momentum, "betas": betas, "decay": weight_decay}
    return OPTIMIZERS[name](list(parameters), lr, **extra)
