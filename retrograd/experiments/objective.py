"""The loss that is trained and the figure that is reported.

nats = -1/N sum over targets of ln P(target)        IGNORED targets are not counted
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.models import RecurrentLM
from retrograd.tasks.window import IGNORED, Window
from retrograd.training.loop import Loss, State


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy over `tokens` targets, each counted once, and the share named right."""

    nats: float
    tokens: int
    accuracy: float


@contextmanager
def at_rest(model: object) -> Iterator[None]:
    """Dropout off in a network, and its mode put back; what counts has none."""
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        if isinstance(model, nn.Module):
            model.train(training)


def objective(
    model: RecurrentLM, reduction: Literal["token", "sequence"], device: torch.device
) -> Callable[[Window, State], tuple[Loss, State]]:
    """What tbptt asks for: (window, state) -> (loss, state).

    "token" differentiates the mean over targets; "sequence" the sum over a window's steps, averaged over the batch,
    which is what learning rates of 1 in the older literature are made for.
    """

    def lose(window: Window, state: State) -> tuple[Loss, State]:
        window = window.to(device)
        logits, state = model(window.inputs, state, window.starts)
        nats = F.cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORED)
        tokens = int((window.targets != IGNORED).sum())
        scale = 1.0 if reduction == "token" else tokens / window.targets.shape[1]
        return Loss(nats * scale, nats.detach(), tokens), state

    return lose


@torch.no_grad()
def evaluate(model: RecurrentLM, windows: Iterable[Window], device: torch.device) -> Evaluation:
    """Read the windows in order, the state carried from each to the next, dropout off."""
    state = None
    nats, hits, tokens = 0.0, 0, 0
    with at_rest(model):
        for cpu_window in windows:
            window = cpu_window.to(device)
            logits, state = model(window.inputs, state, window.starts)
            flat, targets = logits.flatten(0, 1), window.targets.flatten()
            nats += float(F.cross_entropy(flat, targets, ignore_index=IGNORED, reduction="sum"))
            hits += int((flat.argmax(-1) == targets).sum())
            tokens += int((targets != IGNORED).sum())
    return Evaluation(nats / max(tokens, 1), tokens, hits / max(tokens, 1))


def figures(result: Evaluation, unit: str, *, hits: bool) -> dict[str, float]:
    """An evaluation by name: nats per token, perplexity, bits for characters and bytes, accuracy where it counts."""
    nats = result.nats
    named = {
        "test nats": nats,
        "perplexity": math.exp(nats) if nats < 709 else math.inf,
        "test tokens": float(result.tokens),
    }
    if unit in ("character", "byte"):
        named[f"bits per {unit}"] = nats / math.log(2)
    return named | ({"accuracy": result.accuracy} if hits else {})


def losses(model: nn.Module, window: Window) -> Tensor:
    """Each step's loss (T, B), zero where nothing is asked: what `record` measures the reach of."""
    logits: Tensor = model(window.inputs, None, window.starts)[0]
    return F.cross_entropy(logits.permute(0, 2, 1), window.targets, ignore_index=IGNORED, reduction="none")
