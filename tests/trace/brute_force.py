"""Layers over time as a plain loop from the textbook step, every state kept: autograd's own answer, slowly."""

import torch
from torch import Tensor, nn

from tests.oracles import STEPS

FUSED = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
TEXTBOOK = {nn.RNN: "elman", nn.GRU: "gru", nn.LSTM: "lstm"}


def unrolled(module: nn.RNNBase, x: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """Outputs (T, B, H) of a one-way float64 module, and each layer's states s[0] .. s[T]."""
    step = STEPS[TEXTBOOK[type(module)]]
    size = module.hidden_size * (2 if isinstance(module, nn.LSTM) else 1)
    kept = []
    inputs = list(x)
    for layer in range(module.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = tuple(getattr(module, f"{name}_l{layer}") for name in names)
        states = [torch.zeros(x.shape[1], size, dtype=x.dtype, requires_grad=True)]
        for x_t in inputs:
            states.append(step(weights, x_t, states[-1]))
        inputs = [s[:, : module.hidden_size] for s in states[1:]]
        kept.append(states)
    return torch.stack(inputs), kept


def gradients(loss: Tensor, states: list[list[Tensor]]) -> list[Tensor]:
    """d loss / d s[k] of each layer, (T+1, B, S)."""
    return [
        torch.stack(torch.autograd.grad(loss, layer, retain_graph=True, materialize_grads=True)) for layer in states
    ]
