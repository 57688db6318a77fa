"""The loss that is trained and the figure that is reported.

classes    nats          = -1/N sum over targets of ln P(target)             what is not asked is not counted
numbers    squared error =  1/N sum over targets of (answer - target)^2
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrograd.bptt.native import softmax_loss
from retrograd.models import Network
from retrograd.tasks.window import IGNORED, Window
from retrograd.training.loop import Loss, State

NEAR = 0.04  # a number is right within this: half of what Hochreiter and Schmidhuber (1997) allow, for a sum of 0 to 2


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over `tokens` targets, each counted once, the share that is right, and that of sequences all right."""

    loss: float  # nats, or squared error
    tokens: int
    accuracy: float
    whole: float = math.nan


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


def answers(
    model: nn.Module, window: Window, state: State = None, *, call: Callable[..., Any] | None = None
) -> tuple[Tensor, State]:
    """(outputs (T, B, K), last state), of the model or of `call`, which takes what it takes.

    Where all sequences begin anew nothing is carried into the window.
    """
    starts = window.starts
    if starts is not None and bool(starts[0].all()):
        state, starts = None, starts if bool(starts[1:].any()) else None
    asks: tuple[str, ...] = getattr(model, "asks", ())
    outputs, state = (call or model)(window.inputs, state, starts, **{name: getattr(window, name) for name in asks})
    return outputs, state


def objective(
    model: Network, reduction: Literal["token", "sequence"], device: torch.device
) -> Callable[[Window, State], tuple[Loss, State]]:
    """What tbptt asks for: (window, state) -> (loss, state).

    "token" differentiates the mean over targets; "sequence" the sum over a window's steps, averaged over the batch,
    which is what learning rates of 1 in the older literature are made for.
    """

    def lose(window: Window, state: State) -> tuple[Loss, State]:
        window = window.to(device)
        asked = window.asked
        tokens = int(asked.sum())
        if window.targets.is_floating_point():
            outputs, state = answers(model, window, state)
            mean = (outputs.squeeze(-1)[asked] - window.targets[asked]).square().mean()
        else:
            h, state = answers(model, window, state, call=model.read)
            softmax = model.softmax
            mean = softmax_loss(
                h.flatten(0, 1), softmax.weight, softmax.bias, window.targets.flatten(), ignored=IGNORED
            )
        scale = 1.0 if reduction == "token" else tokens / window.targets.shape[1]
        return Loss(mean * scale, mean.detach(), tokens), state

    return lose


@torch.no_grad()
def evaluate(model: nn.Module, windows: Iterable[Window], device: torch.device) -> Evaluation:
    """Read the windows in order, the state carried from each to the next, dropout off."""
    state = None
    loss, hits, tokens, whole, sequences = 0.0, 0, 0, 0, 0
    with at_rest(model):
        for cpu_window in windows:
            window = cpu_window.to(device)
            outputs, state = answers(model, window, state)
            right = _right(outputs, window)
            loss += float(_each(outputs, window.targets).sum(dtype=torch.float64))
            hits, tokens = hits + int((right & window.asked).sum()), tokens + int(window.asked.sum())
            whole += int((right | ~window.asked).all(0).sum())
            sequences += right.shape[1]
    return Evaluation(loss / max(tokens, 1), tokens, hits / max(tokens, 1), whole / max(sequences, 1))


def _right(outputs: Tensor, window: Window) -> Tensor:
    """(T, B): is the answer the target, or near it where that is a number?"""
    if window.targets.is_floating_point():
        return (outputs.squeeze(-1) - window.targets).abs() < NEAR
    return outputs.argmax(-1) == window.targets


def _each(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each step, (T, B), zero where nothing is asked."""
    if targets.is_floating_point():
        return (
            outputs.squeeze(-1) - targets.nan_to_num()
        ).square() * ~targets.isnan()  # a NaN would come back with the gradient
    return F.cross_entropy(outputs.permute(0, 2, 1), targets, ignore_index=IGNORED, reduction="none")


def figures(result: Evaluation, unit: str, *, measure: str = "nats", hits: bool = False) -> dict[str, float]:
    """By name: nats, perplexity and bits of a text, squared error of numbers, accuracy where it counts."""
    named = {f"test {measure}": result.loss, "test tokens": float(result.tokens)}
    if not hits:
        named["perplexity"] = math.exp(result.loss) if result.loss < 709 else math.inf
    if unit in ("character", "byte"):
        named[f"bits per {unit}"] = result.loss / math.log(2)
    return named | ({"accuracy": result.accuracy} if hits else {})


def losses(model: nn.Module, window: Window) -> Tensor:
    """Each step's loss (T, B), zero where nothing is asked: what `record` measures the reach of."""
    return _each(answers(model, window)[0], window.targets)
