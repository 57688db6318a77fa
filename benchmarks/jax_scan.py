"""The same layers as a `lax.scan` in JAX: what a rival that compiles the whole sequence takes.

The input products stand outside the scan, as one product over all steps; the cells' equations are torch's.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import RNNBase


def pass_of(cell: str, module: RNNBase, x: Tensor, above: Tensor) -> Callable[[], object]:
    """A compiled forward and backward pass: the gradients at x and the weights of a loss `above` . outputs."""
    import jax
    from jax import numpy as jnp

    weights = [jnp.asarray(p.detach().numpy()) for p in module.parameters()]
    inputs, from_above = jnp.asarray(x.numpy()), jnp.asarray(above.numpy())
    step = {"Elman": _elman, "GRU": _gru, "LSTM": _lstm}[cell]
    hidden = module.hidden_size

    def loss(inputs: Any, weights: list[Any]) -> Any:
        W, U, b, d = weights
        p = inputs @ W.T + b
        zero = jnp.zeros((inputs.shape[1], hidden))
        first = (zero, zero) if cell == "LSTM" else zero
        _, h = jax.lax.scan(lambda s, p_t: step(s, p_t, U, d), first, p)
        return (h * from_above).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    gradient(inputs, weights)
    return lambda: jax.block_until_ready(gradient(inputs, weights))


def _elman(h: Any, p: Any, U: Any, d: Any) -> tuple[Any, Any]:
    from jax import numpy as jnp

    h = jnp.tanh(p + h @ U.T + d)
    return h, h


def _gru(h: Any, p: Any, U: Any, d: Any) -> tuple[Any, Any]:
    from jax import nn
    from jax import numpy as jnp

    a_r, a_z, a_n = jnp.split(h @ U.T + d, 3, -1)
    p_r, p_z, p_n = jnp.split(p, 3, -1)
    r, z = nn.sigmoid(p_r + a_r), nn.sigmoid(p_z + a_z)
    n = jnp.tanh(p_n + r * a_n)
    h = n + z * (h - n)
    return h, h


def _lstm(state: Any, p: Any, U: Any, d: Any) -> tuple[Any, Any]:
    from jax import nn
    from jax import numpy as jnp

    h, c = state
    i, f, g, o = jnp.split(p + h @ U.T + d, 4, -1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    h = nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h
