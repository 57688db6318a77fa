"""The gradients of several losses at many tensors in one pass through autograd's graph.

A finite loss knows nothing of what is not finite beside it: 0 * NaN on the way back is none of its gradient.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from retrograd.bptt.denormals import flush_denormals
from retrograd.errors import NotMeasured
from retrograd.trace.replay import Run

LARGEST = torch.finfo(torch.float32).max  # what a float32 model can see
AT_ONCE = 8  # losses that are taken back together


def gradients_of(losses: Tensor, wells: Sequence[Tensor], runs: Sequence[Run]) -> tuple[Tensor, ...]:
    """d losses[a] / d well for each well, (A, ...); the graph is kept."""
    finite, broken = losses.detach().isfinite(), _broken(runs)

    def back(weights: Tensor) -> tuple[Tensor, ...]:
        with _without(broken, (finite & weights.ne(0)).any()):
            return torch.autograd.grad(losses, wells, weights, retain_graph=True, materialize_grads=True)

    each = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
    with flush_denormals(False):
        return each_of(back, each, at_once=AT_ONCE if len(each) > AT_ONCE else None)


def batched_gradient(output: Tensor, well: Tensor, deltas: Tensor) -> Tensor:
    """d <output, delta> / d well for each of a stack of deltas (A, ...); the graph is kept."""

    def back(delta: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, well, delta, retain_graph=True, materialize_grads=True)

    return each_of(back, deltas)[0]


def each_of(
    back: Callable[[Tensor], tuple[Tensor, ...]], rows: Tensor, *, at_once: int | None = None
) -> tuple[Tensor, ...]:
    """What `back` makes of each of the rows, stacked; so many of them together, or all."""
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of vmap; the numbers are the same
        try:
            stacked: tuple[Tensor, ...] = torch.func.vmap(back, chunk_size=at_once)(rows)
        except CheckpointError as error:
            raise NotMeasured(
                "The model runs a layer in torch.utils.checkpoint, which runs it anew on the way back. Switch that off."
            ) from error
        except RuntimeError:  # vmap cannot take something in the model's own backward
            stacked = tuple(map(torch.stack, zip(*map(back, rows), strict=True)))
    return stacked


def _broken(runs: Sequence[Run]) -> list[tuple[Tensor, Tensor]]:
    """What the runs hand to the rest of the model, where it is not finite: the tensor, and which of its rows."""
    doors = [door for run in runs for door in (run.outputs, run.final, *run.others.values())]
    doors = [door for door in doors if door.numel() and not bool(door.detach().abs().amax() < LARGEST)]  # a NaN is not
    rows = [~door.detach().float().isfinite().all(-1, keepdim=True) for door in doors]
    return [(door, row) for door, row in zip(doors, rows, strict=True) if row.any()]


@contextmanager
def _without(broken: Sequence[tuple[Tensor, Tensor]], finite: Tensor) -> Iterator[None]:
    """Where the loss is finite, let no NaN enter a run through its broken rows.

    A finite loss does not depend on what is not finite. That the model's own backward takes 0 * NaN there, when the
    losses of all steps are computed at once, is no gradient.
    """
    hooks = [
        door.register_hook(partial(_cleaned, rows=rows, finite=finite))  # type: ignore[no-untyped-call]
        for door, rows in broken
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cleaned(gradient: Tensor | None, *, rows: Tensor, finite: Tensor) -> Tensor | None:
    return None if gradient is None else torch.where(rows & gradient.isnan() & finite, 0.0, gradient)
