"""Sick networks and their healthy twins: each rule must find its patient, and every rule be silent on the twin.

Patient and twin differ in one thing. Most are untrained models, measured here; `told` is what only a training knows.
`need` is the lag that the task is said to have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.bptt.stack import Stack
from retrograd.cells import Additive, Elman
from retrograd.init import initialise_
from retrograd.measures import attribution, clipping, first_nonfinite, horizon, lyapunov, reach, saturation, window
from retrograd.trace import record

X, H, B, T, NEED = 4, 24, 6, 100, 60


def each_step(outputs: Tensor) -> Tensor:
    return outputs


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to measure, on noise of that size."""

    make: Callable[[], nn.Module]
    noise: float = 0.1
    loss: Callable[[Tensor], Tensor] = each_step  # of the outputs (T, B)
    spoil: bool = False  # is one number of the inputs NaN?
    told: dict[str, Any] = field(default_factory=dict)


def module(kind: type[nn.RNNBase], init: str, *changes: Callable[[nn.Module], None], **options: object) -> nn.Module:
    made = kind(X, H, **options)
    initialise_(made, init)
    with torch.no_grad():
        for change in changes:
            change(made)
    return made


def lstm(init: str = "default", *changes: Callable[[nn.Module], None], **more: Any) -> Subject:
    return Subject(lambda: module(nn.LSTM, init, *changes), **more)


def gru(init: str = "default") -> Subject:
    return Subject(lambda: module(nn.GRU, init))


def tanh(init: str, *changes: Callable[[nn.Module], None], **more: Any) -> Subject:
    return Subject(lambda: module(nn.RNN, init, *changes), **more)


def relu(init: str, *changes: Callable[[nn.Module], None]) -> Subject:
    return Subject(lambda: module(nn.RNN, init, *changes, nonlinearity="relu"))


def linear(init: str) -> Subject:
    def make() -> nn.Module:
        made = Stack([Elman(X, H, activation="identity")])
        initialise_(made, init)
        return made

    return Subject(make)


def louder(m: nn.Module) -> None:
    """Inputs that drive every unit to its limit."""
    m.weight_ih_l0.mul_(300)


def biased(gate: int, value: float) -> Callable[[nn.Module], None]:
    """That block of the biases, such as 0, the input gate of an LSTM, at the value."""

    def change(m: nn.Module) -> None:
        m.bias_ih_l0.view(-1, H)[gate] = value
        m.bias_hh_l0.view(-1, H)[gate] = 0

    return change


def half_biased(m: nn.Module) -> None:
    m.bias_ih_l0[: H // 2 + 1] = -1


def nan_weight(m: nn.Module) -> None:
    m.weight_hh_l0[0, 0] = math.nan


def cut_at(threshold: float) -> dict[str, Any]:
    """What clipping did to twenty gradients of norm about 1."""
    return {"clipping": clipping([0.1 * math.sin(i) for i in range(20)], threshold=threshold)}


@dataclass(frozen=True)
class Case:
    rule: str
    patient: Subject
    twin: Subject
    remedy: str  # what is recommended
    also: tuple[str, ...] = ()  # what the same patient has beside it
    severity: str = "error"


KEEPS, ROTATES, TURNS, COPIES = lstm("forget_bias=4.1"), tanh("orthogonal"), linear("orthogonal"), relu("identity")
IDENTITY = "--init identity --set model.activation=relu"

CASES = {
    "a default LSTM": Case("vanishing", lstm(), KEEPS, "--init forget_bias=4.1"),
    "a default GRU": Case("vanishing", gru(), gru("forget_bias=4.1"), "--init forget_bias=4.1"),
    "a default tanh network": Case("vanishing", tanh("default"), ROTATES, "--init orthogonal"),
    "a default ReLU network": Case("vanishing", relu("default"), COPIES, "--init identity"),
    "a linear network of radius 0.8": Case("vanishing", linear("spectral_radius=0.8"), TURNS, "--init orthogonal"),
    "a linear network of radius 1.2": Case("exploding", linear("spectral_radius=1.2"), TURNS, "--init orthogonal"),
    "a tanh network whose gradient grows": Case(
        "exploding", tanh("normal=1"), ROTATES, "--init orthogonal", also=("chaotic",)
    ),
    "an LSTM from wide normal weights": Case("exploding", lstm("normal=3"), KEEPS, "--clip 1", also=("chaotic",)),
    "a tanh network from normal weights": Case(
        "chaotic", tanh("normal=1"), tanh("normal=0.3"), "--init orthogonal", also=("exploding",)
    ),
    "inputs that drive every unit to its limit": Case(
        "saturated", tanh("orthogonal", louder), tanh("normal=0.5"), IDENTITY, also=("vanishing",)
    ),
    "ReLU units that never answer": Case(
        "dead-units", relu("identity", biased(0, -1)), COPIES, "--init identity", also=("vanishing",)
    ),
    "half a layer that never answers": Case(
        "dead-units", relu("identity", half_biased), COPIES, "--init identity", severity="note"
    ),
    "forget gates that are shut": Case(
        "gate-closed", lstm("forget_bias=-3"), lstm("chrono=60"), "--init forget_bias=4.1", also=("vanishing",)
    ),
    "update gates that are shut": Case(
        "gate-closed", gru("forget_bias=-3"), gru("chrono=60"), "--init forget_bias=4.1", also=("vanishing",)
    ),
    "input gates that are shut": Case(
        "gate-closed",
        lstm("default", biased(0, -8)),
        lstm("forget_bias=4.1", biased(0, -5)),
        "--init chrono=60",
        also=("vanishing",),
    ),
    "a window under the need": Case(
        "window-too-short",
        lstm("forget_bias=4.1", told={"window": 20}),
        lstm("forget_bias=4.1", told={"window": NEED}),
        "--window 96",
    ),
    "a window that loses some of the gradient": Case(
        "window-too-short",
        lstm("forget_bias=4.1", told={"window": 4, "need": 4, "assumed": "the window"}),
        lstm("default", told={"window": 20, "need": 4, "assumed": "the window"}),
        "--window 96",
        severity="note",
    ),
    "every step clipped": Case(
        "clipping-too-hard",
        lstm("forget_bias=4.1", told=cut_at(0.01)),
        lstm("forget_bias=4.1", told=cut_at(0.9)),
        "--clip 1.1",
        severity="note",
    ),
    "a network that overflows": Case("non-finite", linear("spectral_radius=1e10"), TURNS, "--init orthogonal"),
    "a NaN in the inputs": Case("non-finite", lstm(spoil=True), KEEPS, ""),
    "a NaN in the weights": Case("non-finite", lstm("default", nan_weight), KEEPS, ""),
    "a loss that is no number": Case("non-finite", lstm(loss=lambda y: y.relu().neg().log()), KEEPS, ""),
    "one loss for many steps": Case(
        "summed-loss", lstm("default", loss=lambda y: y.sum()), lstm("forget_bias=4.1", loss=lambda y: y[-1].sum()), ""
    ),
    "a sum over a whole text": Case(
        "diverged",
        Subject(
            lambda: Stack([Additive(X, H)]), told={"loss": 120.0, "guess": 4.17, "window": NEED, "cell": "additive"}
        ),
        Subject(lambda: Stack([Additive(X, H)]), told={"loss": 4.2, "guess": 4.17, "window": NEED, "cell": "additive"}),
        "--cell lstm --init forget_bias=4.1",
    ),
    "a training that diverged": Case(
        "diverged",
        lstm("forget_bias=4.1", told={"loss": 5.6e30, "guess": 4.17}),
        lstm("forget_bias=4.1", told={"loss": 4.2, "guess": 4.17}),
        "--clip 1",
    ),
}


@cache
def measured(subject: Subject, *, seed: int = 0) -> dict[str, Any]:
    """All that `judge` takes of a model, and what it is told of its training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, x, w = subject.make(), subject.noise * torch.randn(T, B, X), torch.randn(H)
        if subject.spoil:
            x[3, 1, 0] = math.nan
        trace = record(model, lambda m: subject.loss(m(x)[0] @ w))
    cell = trace.layers[0].cell
    finite = first_nonfinite(trace) is None
    cut = subject.told.get("window") is not None and getattr(cell, "weight_hh", None) is not None
    return {
        "horizon": horizon(reach(trace)),
        "saturation": saturation(trace),
        "need": NEED,
        "activation": cell.activation if isinstance(cell, Elman) else None,
        "attribution": attribution(trace),
        "lyapunov": lyapunov(trace, first=1) if finite else None,
        "window_adequacy": window(trace) if cut else None,
        "nonfinite": first_nonfinite(trace),
    } | subject.told
