"""Where the recurrent weights start, in place and by name.

    default          all ~ U(-1/sqrt(H), 1/sqrt(H))                  torch's own
    uniform          all ~ U(-b, b)                                  Zaremba et al., 2014: b = 0.1
    normal           W_hh ~ N(0, s^2)                                s = 1 explodes: spectral radius sqrt(H)
    sparse           W_hh: k = (1 - p) H a row, each ~ N(0, 1/k)     Martens, 2010
    orthogonal       W_hh = g Q                                      Saxe et al., 2014: singular values are g
    identity         W_hh = c I,  W_ih ~ N(0, 0.001^2),  b = 0       Le et al., 2015: the IRNN, with ReLU
    np_rnn           W_hh = (A + I) / lambda_max(A + I),  b = 0      Talathi & Vartak, 2015: A = R^T R / H
    spectral_radius  W_hh <- W_hh r / max |eigenvalue|               Jaeger, 2001
    forget_bias      b_f = b  (GRU: b_z = b)                         Gers et al., 2000; Jozefowicz et al. 2015
    chrono           b_f = ln u, b_i = -ln u  (GRU: b_z = ln u)      Tallec & Ollivier, 2018: u ~ U(1, T - 1)

What is not named stays as it is, so recipes combine: `initialise_(model, "orthogonal+forget_bias=3")`.

They act on our cells, on nn.RNN, nn.GRU and nn.LSTM with all their layers and directions, and on any module
that contains some. W_hh is a column of G square blocks, one a gate, and each block is treated by itself: an
orthogonal (4H, H) matrix has blocks with singular values from 0.003 to 0.87. Of a multi-tap cell it is a row of blocks,
one a tap, and they too are treated one by one; what they do adds up, so that two orthogonal ones may double a gradient.
Torch has two biases; a gate's bias is their sum, so b_ih is set and b_hh is zeroed.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from retrograd.errors import ConfigError, UnknownName, UsageError

TORCH_GATES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.RNN: ("h",),
    nn.GRU: ("r", "z", "n"),
    nn.LSTM: ("i", "f", "g", "o"),
}


@dataclass(frozen=True)
class Recurrence:
    """The parameters of one layer in one direction, seen gate by gate and tap by tap."""

    name: str
    gates: tuple[str, ...]
    weight_ih: Tensor  # (G*H, X)
    weight_hh: Tensor | None  # (G*H, H), or (H, n*H) of n taps
    bias_ih: Tensor | None  # (G*H)
    bias_hh: Tensor | None  # (G*H)

    @property
    def hidden_size(self) -> int:
        return len(self.weight_ih) // len(self.gates)

    def parameters(self) -> Iterator[Tensor]:
        both = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return (x for x in both if x is not None)

    def squares(self) -> Iterator[Tensor]:
        """The (H, H) blocks of W_hh, one a gate or one a tap."""
        assert self.weight_hh is not None
        taps = max(1, self.weight_hh.shape[1] // self.hidden_size)
        return (W for rows in self.weight_hh.chunk(len(self.gates)) for W in rows.chunk(taps, -1))

    def set_bias(self, gate: str, value: Tensor | float) -> None:
        assert self.bias_ih is not None
        at = self.gates.index(gate)
        self.bias_ih.view(len(self.gates), -1)[at].copy_(torch.as_tensor(value))
        if self.bias_hh is not None:
            self.bias_hh.view(len(self.gates), -1)[at].zero_()

    def zero_biases(self) -> None:
        for bias in (self.bias_ih, self.bias_hh):
            if bias is not None:
                bias.zero_()


def recurrences(module: nn.Module) -> list[Recurrence]:
    """Every recurrent layer and direction in `module`, itself included, in the order of its parameters."""
    found = [layer for name, part in module.named_modules() for layer in _layers(name, part)]
    if not found:
        raise UsageError(f"There is no recurrent layer in this {type(module).__name__} to initialise.")
    return found


def _layers(name: str, part: nn.Module) -> Iterator[Recurrence]:
    known = (gates for kind, gates in TORCH_GATES.items() if isinstance(part, kind))
    gates = next(known, getattr(part, "gates", None))
    if not isinstance(gates, tuple):
        return
    label = name or type(part).__name__
    if getattr(part, "proj_size", 0):
        raise UsageError(f"The W_hh of {label} is not square: it was made with proj_size. Use proj_size=0.")
    if is_parametrized(part):
        raise UsageError(
            f"The weights of {label} are computed (parametrised), so what is set would be lost. "
            "Initialise first, parametrise then."
        )
    names = [n for n, _ in part.named_parameters(recurse=False)]
    for suffix in [n.removeprefix("weight_ih") for n in names if n.startswith("weight_ih")]:
        weight_ih = part.get_parameter(f"weight_ih{suffix}")
        others = [getattr(part, f"{n}{suffix}", None) for n in ("weight_hh", "bias_ih", "bias_hh")]
        yield Recurrence(f"{label}{suffix}", gates, weight_ih, *others)


def _gated(module: nn.Module, init: str) -> list[Recurrence]:
    """The layers, each of them with a W_hh, or one UsageError before anything has changed."""
    found = recurrences(module)
    for layer in found:
        if layer.weight_hh is None:
            raise UsageError(f"{init} sets recurrent weights, and {layer.name} has none; use default or uniform.")
    return found


def _plain(module: nn.Module, init: str) -> list[Recurrence]:
    found = _gated(module, init)
    for layer in found:
        if len(layer.gates) > 1:
            raise UsageError(
                f"{init} is a recipe for a plain cell, and {layer.name} has gates: {' '.join(layer.gates)}. "
                "Try orthogonal, forget_bias or chrono."
            )
        if (taps := len(list(layer.squares()))) > 1:
            raise UsageError(
                f"{init} gives one matrix an eigenvalue of 1, and {layer.name} adds up those of {taps} taps, which "
                f"would grow. Try orthogonal={1 / taps:.2g}."
            )
    return found


def _forgetting(module: nn.Module, init: str) -> list[tuple[Recurrence, str]]:
    """Each layer with the gate that keeps: f of an LSTM, z of a GRU (torch's h' = (1 - z) n + z h)."""
    found: list[tuple[Recurrence, str]] = []
    for layer in recurrences(module):
        keeps = next((gate for gate in ("f", "z") if gate in layer.gates), None)
        if keeps is None:
            raise UsageError(f"{init} needs a gate that keeps, and {layer.name} has none. Try orthogonal or identity.")
        if layer.bias_ih is None:
            raise UsageError(f"{init} sets a bias, and {layer.name} was made with bias=False.")
        found.append((layer, keeps))
    return found


def _check(good: bool, wanted: str, came: float) -> None:
    if not good:
        raise ConfigError(f"{wanted}, got {came:g}.")


@torch.no_grad()
def default_(module: nn.Module) -> None:
    """Torch's own start, draw for draw: every weight and bias ~ U(-1/sqrt(H), 1/sqrt(H))."""
    for layer in recurrences(module):
        bound = 1 / math.sqrt(layer.hidden_size)
        for x in layer.parameters():
            x.uniform_(-bound, bound)


@torch.no_grad()
def uniform_(module: nn.Module, bound: float = 0.1) -> None:
    """Every weight and bias ~ U(-bound, bound)."""
    _check(bound > 0, "The bound of uniform must be positive", bound)
    for layer in recurrences(module):
        for x in layer.parameters():
            x.uniform_(-bound, bound)


@torch.no_grad()
def normal_(module: nn.Module, std: float = 1.0) -> None:
    """W_hh ~ N(0, std^2), of spectral radius about std sqrt(H): with std = 1 gradients explode."""
    _check(std >= 0, "The standard deviation of normal must not be negative", std)
    for layer in _gated(module, "normal"):
        for W in layer.squares():
            W.normal_(0, std)


@torch.no_grad()
def sparse_(module: nn.Module, sparsity: float = 0.9) -> None:
    """Each unit listens to k = (1 - sparsity) H others, at least one, through weights ~ N(0, 1/k)."""
    _check(0 <= sparsity < 1, "The sparsity must be at least 0 and under 1", sparsity)
    for layer in _gated(module, "sparse"):
        k = max(1, round((1 - sparsity) * layer.hidden_size))
        for W in layer.squares():
            heard = torch.rand_like(W).argsort(1)[:, :k]
            W.zero_().scatter_(1, heard, W.new_empty(len(W), k).normal_(0, 1 / math.sqrt(k)))


@torch.no_grad()
def orthogonal_(module: nn.Module, gain: float = 1.0) -> None:
    """W_hh = gain Q, Q uniform over the orthogonal matrices, for each gate's block by itself.

    The QR of a normal matrix is uniform only once the diagonal of R is made positive (Mezzadri, 2007).
    """
    _check(gain > 0, "The gain of orthogonal must be positive", gain)
    for layer in _gated(module, "orthogonal"):
        for W in layer.squares():
            Q, R = torch.linalg.qr(torch.randn_like(W, dtype=torch.float64))
            W.copy_(gain * Q * R.diagonal().sign())


@torch.no_grad()
def identity_(module: nn.Module, scale: float = 1.0) -> None:
    """The IRNN: W_hh = scale I, W_ih ~ N(0, 0.001^2), no bias; for ReLU. A scale under 1 forgets."""
    for layer in _plain(module, "identity"):
        for W in layer.squares():
            W.copy_(scale * torch.eye(len(W)))
        layer.weight_ih.normal_(0, 0.001)
        layer.zero_biases()


@torch.no_grad()
def np_rnn_(module: nn.Module) -> None:
    """The np-RNN: W_hh positive definite with largest eigenvalue exactly 1, for ReLU; no bias.

    R is normal (H, H), and R^T R is divided by H once. The input weights are scaled so that ReLU units keep
    the size of their input: W_ih ~ N(0, g^2 / X), g = sqrt(2) exp(1.2 / (max(X, 6) - 2.4)) (Sussillo & Abbott,
    2014).
    """
    for layer in _plain(module, "np_rnn"):
        for W in layer.squares():
            R = torch.randn_like(W, dtype=torch.float64)
            A = R.T @ R / len(W) + torch.eye(len(W), dtype=R.dtype, device=R.device)
            W.copy_(A / torch.linalg.eigvalsh(A).max())
        fan_in = layer.weight_ih.shape[1]
        g = math.sqrt(2) * math.exp(1.2 / (max(fan_in, 6) - 2.4))
        layer.weight_ih.normal_(0, g / math.sqrt(fan_in))
        layer.zero_biases()


@torch.no_grad()
def spectral_radius_(module: nn.Module, radius: float = 1.0) -> None:
    """Each gate's W_hh as it stands, scaled until its largest |eigenvalue| is `radius`."""
    _check(radius > 0, "The spectral radius must be positive", radius)
    layers = _gated(module, "spectral_radius")
    radii = [[float(torch.linalg.eigvals(W.double()).abs().max()) for W in layer.squares()] for layer in layers]
    for layer, found in zip(layers, radii, strict=True):
        if not all(0 < r < math.inf for r in found):
            raise UsageError(f"W_hh of {layer.name} has spectral radius {min(found):g} and cannot be scaled.")
    for layer, found in zip(layers, radii, strict=True):
        for W, r in zip(layer.squares(), found, strict=True):
            W.mul_(radius / r)


@torch.no_grad()
def forget_bias_(module: nn.Module, bias: float = 1.0) -> None:
    """The gate that keeps starts near sigmoid(bias): f of an LSTM, z of a GRU."""
    for layer, keeps in _forgetting(module, "forget_bias"):
        layer.set_bias(keeps, bias)


@torch.no_grad()
def chrono_(module: nn.Module, longest: float) -> None:
    """Memory times spread evenly up to `longest` steps: a gate at sigmoid(ln u) = 1 - 1 / (u + 1) keeps u + 1.

    An LSTM's input gate starts at 1 - f, so that what is kept and what is let in add up.
    """
    _check(longest > 2, "chrono needs the longest dependency in steps, over 2", longest)
    for layer, keeps in _forgetting(module, "chrono"):
        b = layer.weight_ih.new_empty(layer.hidden_size).uniform_(1, longest - 1).log()
        layer.set_bias(keeps, b)
        if "i" in layer.gates:
            layer.set_bias("i", -b)


INITS: dict[str, Callable[..., None]] = {
    "default": default_,
    "uniform": uniform_,
    "normal": normal_,
    "sparse": sparse_,
    "orthogonal": orthogonal_,
    "identity": identity_,
    "np_rnn": np_rnn_,
    "spectral_radius": spectral_radius_,
    "forget_bias": forget_bias_,
    "chrono": chrono_,
}


def initialise_(module: nn.Module, spec: str) -> None:
    """Apply initialisers by name, from left to right, each with at most one number.

    >>> initialise_(nn.LSTM(8, 16), "orthogonal+forget_bias=3")

    Every name and number is read before anything changes.
    """
    for init, numbers in [_parse(part) for part in spec.split("+")]:
        init(module, *numbers)


def _parse(part: str) -> tuple[Callable[..., None], list[float]]:
    name, equals, text = (piece.strip() for piece in part.partition("="))
    if name not in INITS:
        raise UnknownName("initialiser", name, INITS)
    most = len(inspect.signature(INITS[name]).parameters) - 1
    least = 1 if name == "chrono" else 0
    if not equals and least == 0:
        return INITS[name], []
    if equals and most == 0:
        raise ConfigError(f"The initialiser {name} takes no number, got {part.strip()!r}.")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"The initialiser {name} takes a number, such as {name}=3; got {part.strip()!r}.")
    return INITS[name], [number]
