"""Sick networks and their healthy twins: each rule must find its patient, and every rule be silent on the twin.

A case is a model, untrained; `need` is the lag that its task is said to have. Patient and twin differ in one thing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from retrograd.bptt.stack import Stack
from retrograd.cells import Elman
from retrograd.init import initialise_
from retrograd.measures import Horizon, Saturation, horizon, reach, saturation
from retrograd.trace import record

X, H, B, T, NEED = 4, 24, 6, 100, 60


def module(kind: type[nn.RNNBase], init: str, **options: object) -> nn.Module:
    made = kind(X, H, **options)
    initialise_(made, init)
    return made


def linear(init: str) -> nn.Module:
    made = Stack([Elman(X, H, activation="identity")])
    initialise_(made, init)
    return made


@dataclass(frozen=True)
class Case:
    rule: str
    patient: Callable[[], nn.Module]
    twin: Callable[[], nn.Module]
    remedy: str  # what is recommended


CASES = {
    "a default LSTM": Case(
        "vanishing",
        lambda: module(nn.LSTM, "default"),
        lambda: module(nn.LSTM, "forget_bias=4.1"),
        "--init forget_bias=4.1",
    ),
    "a default GRU": Case(
        "vanishing",
        lambda: module(nn.GRU, "default"),
        lambda: module(nn.GRU, "forget_bias=4.1"),
        "--init forget_bias=4.1",
    ),
    "a default ReLU network": Case(
        "vanishing",
        lambda: module(nn.RNN, "default", nonlinearity="relu"),
        lambda: module(nn.RNN, "identity", nonlinearity="relu"),
        "--init orthogonal",
    ),
    "a linear network of radius 0.8": Case(
        "vanishing", lambda: linear("spectral_radius=0.8"), lambda: linear("orthogonal"), "--init orthogonal"
    ),
    "a linear network of radius 1.2": Case(
        "exploding", lambda: linear("spectral_radius=1.2"), lambda: linear("orthogonal"), "--init orthogonal"
    ),
    "a tanh network from normal weights": Case(
        "exploding",
        lambda: module(nn.RNN, "normal=1"),
        lambda: module(nn.RNN, "orthogonal"),
        "--init orthogonal",
    ),
    "an LSTM from wide normal weights": Case(
        "exploding",
        lambda: module(nn.LSTM, "normal=3"),
        lambda: module(nn.LSTM, "forget_bias=4.1"),
        "--clip 1",
    ),
    "a network that overflows": Case(
        "exploding", lambda: linear("spectral_radius=1e10"), lambda: linear("orthogonal"), "--init orthogonal"
    ),
}


def measured(make: Callable[[], nn.Module], *, seed: int = 0) -> tuple[Horizon, Saturation]:
    """Horizon and saturation of an untrained model on weak noise, with a loss at every step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, x, w = make(), 0.1 * torch.randn(T, B, X), torch.randn(H)
        trace = record(model, lambda m: m(x)[0] @ w)
    return horizon(reach(trace)), saturation(trace)
