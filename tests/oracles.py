"""Slow, obvious truths in float64, written from the textbook equations and from nothing in retrograd.

Each step function takes (W_ih, W_hh, b_ih, b_hh), one input x (B, X) and a state (B, S), and gives the next state.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Weights = tuple[Tensor, Tensor | None, Tensor, Tensor | None]


def elman_step(f: Callable[[Tensor], Tensor]) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def step(weights: Weights, x: Tensor, h: Tensor) -> Tensor:
        W, U, b, d = weights
        return f(x @ W.T + b + h @ U.T + d)

    return step


def additive_step(weights: Weights, x: Tensor, h: Tensor) -> Tensor:
    W, _, b, _ = weights
    return h + torch.tanh(x @ W.T + b)


def gru_step(weights: Weights, x: Tensor, h: Tensor) -> Tensor:
    W, U, b, d = weights
    H = h.shape[-1]
    (W_r, W_z, W_n), (U_r, U_z, U_n) = W.split(H), U.split(H)
    (b_r, b_z, b_n), (d_r, d_z, d_n) = b.split(H), d.split(H)
    r = sigmoid(x @ W_r.T + b_r + h @ U_r.T + d_r)
    z = sigmoid(x @ W_z.T + b_z + h @ U_z.T + d_z)
    n = torch.tanh(x @ W_n.T + b_n + r * (h @ U_n.T + d_n))
    return (1 - z) * n + z * h


def lstm_step(weights: Weights, x: Tensor, s: Tensor) -> Tensor:
    W, U, b, d = weights
    H = s.shape[-1] // 2
    h, c = s[:, :H], s[:, H:]
    z_i, z_f, z_g, z_o = (x @ W.T + b + h @ U.T + d).split(H, dim=1)
    c = sigmoid(z_f) * c + sigmoid(z_i) * torch.tanh(z_g)
    return torch.cat([sigmoid(z_o) * torch.tanh(c), c], dim=1)


def multi_tap_step(f: Callable[[Tensor], Tensor], taps: tuple[int, ...]) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    """The state is the last h first, then the one before it, and so on to the longest tap."""

    def step(weights: Weights, x: Tensor, s: Tensor) -> Tensor:
        W, U, b, d = weights
        H = len(W)
        past = s.split(H, dim=1)  # h(t-1), h(t-2), ...
        z = x @ W.T + b + d
        for i, tap in enumerate(taps):
            z = z + past[tap - 1] @ U[:, i * H : (i + 1) * H].T
        return torch.cat([f(z), *past[:-1]], dim=1)

    return step


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


STEPS = {
    "elman": elman_step(torch.tanh),
    "elman-relu": elman_step(lambda z: z.clamp(min=0)),
    "elman-sigmoid": elman_step(sigmoid),
    "elman-identity": elman_step(lambda z: z),
    "gru": gru_step,
    "lstm": lstm_step,
    "additive": additive_step,
    "multi-tap": multi_tap_step(torch.tanh, (1, 4)),
    "multi-tap-relu": multi_tap_step(lambda z: z.clamp(min=0), (2, 3)),
}


def autograd_jacobian(step: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    """ds'/ds, (B, S, S), one sequence and one output element at a time."""
    s = s.detach().requires_grad_()
    out = step(s)
    rows = [torch.autograd.grad(out[:, i].sum(), s, retain_graph=True)[0] for i in range(out.shape[1])]
    return torch.stack(rows, dim=1)


def trajectory(step: Callable[[Tensor, Tensor], Tensor], x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """J[t] = ds[t]/ds[t-1] of every step, (T, B, S, S), and the states from the first on, (T+1, B, S)."""
    states, found = [s], []
    for x_t in x:
        found.append(autograd_jacobian(partial(step, x_t), states[-1]))
        states.append(step(x_t, states[-1]).detach())
    return torch.stack(found), torch.stack(states)


def difference_quotient(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, step: float = 1e-6) -> Tensor:
    """(f(x + step v) - f(x - step v)) / (2 step), off by about step^2."""
    return (f(x + step * v) - f(x - step * v)) / (2 * step)


def gradient_by_differences(f: Callable[[], Tensor], p: Tensor, step: float = 1e-6) -> Tensor:
    """df/dp of a number that f() makes of p, one element of p at a time."""
    gradient = torch.zeros_like(p)
    with torch.no_grad():
        flat = p.view(-1)
        for i, x in enumerate(flat.tolist()):
            flat[i] = x + step
            above = f().item()
            flat[i] = x - step
            gradient.view(-1)[i] = (above - f().item()) / (2 * step)
            flat[i] = x
    return gradient
