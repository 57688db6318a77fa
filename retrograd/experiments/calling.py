"""Somebody's loss, as it is called: loss(model), or loss(model, batch) for each of several batches.

A loss that is measured must be the same at each call: it is called twice under one random state and refused where the
values differ.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from retrograd.errors import NotMeasured, UsageError
from retrograd.trace import Trace
from retrograd.trace.record import eagerly
from retrograd.trace.snapshot import untouched

Loss = Callable[..., Tensor]  # loss(model), or loss(model, batch)
OneLoss = Callable[[nn.Module], Tensor]
Batches = Iterable[Any] | Callable[[], Iterable[Any]]  # one by one, or a function that gives them
MOST, MEASURED = 64, 4  # batches of an endless supply: where they are only measured, and where more may follow
ROUNDING = 1e-4  # of a loss: what float32 may do to it


def each(loss: Loss, batches: Batches | None) -> list[OneLoss]:
    """The loss of every batch, as a function of the model alone; the loss itself where there are no batches."""
    if not callable(loss):
        raise UsageError(f"The loss must be a function of the model, got {type(loss).__name__}.")
    found = taken(batches, MOST)
    if found is not None:
        return [partial(_on, loss, batch) for batch in found]
    if not _takes_one(loss):
        raise UsageError("The loss must be a function of the model alone, or give batches=[...] for its second.")
    return [loss]


def taken(batches: Batches | None, most: int) -> list[Any] | None:
    """As many batches as there are, and at most so many; None for a loss that needs none."""
    if batches is None:
        return None
    supply = batches() if callable(batches) else batches
    if isinstance(supply, Tensor | str | dict) or not isinstance(supply, Iterable):
        raise UsageError(
            "The batches must be a list of them, or a function that gives them one by one; got "
            f"{type(supply).__name__}. Wrap one as [batch]."
        )
    found = list(islice(supply, most))
    if not found:
        raise UsageError("There are no batches; give at least one.")
    return found


def _takes_one(loss: Loss) -> bool:
    try:
        inspect.signature(loss).bind(None)
    except TypeError:
        return False
    except ValueError:  # a function that has no signature to show
        return True
    return True


def _on(loss: Loss, batch: Any, model: nn.Module) -> Tensor:
    return loss(model, batch)


def steadily(model: nn.Module, loss: OneLoss, replay: Callable[[], Trace]) -> tuple[Tensor, Trace]:
    """The model's own losses, and the trace of a second call. Raises NotMeasured where that gives others.

    The replay is in float64: only where it differs by more than float32 explains is the model called once more.
    """
    own = called(model, loss)
    trace = replay()
    if not _same(own, trace.losses.detach().double(), ROUNDING):
        again = called(model, loss)
        if not _same(own, again, 1e-5):
            raise NotMeasured(
                f"The loss is another one each time it is called ({_mean(own)}, then {_mean(again)}), also under one "
                "random state. Let it compute on one batch that is chosen beforehand, and from a state that is given."
            )
    return own, trace


def _same(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=1e-12, equal_nan=True)


def called(model: nn.Module, loss: OneLoss) -> Tensor:
    """The losses of one plain call. Raises NotMeasured where they cannot be measured, or are not the model's."""
    ran = []
    with untouched(model), torch.enable_grad(), eagerly(model):
        for module in model.modules():
            module.register_forward_pre_hook(lambda *_: ran.append(True))
        value = loss(model)
    if not isinstance(value, Tensor):
        raise NotMeasured(
            f"The loss must be a tensor, of the losses of all steps or a single number; got {type(value).__name__}."
        )
    if value.is_complex():
        raise NotMeasured(f"The loss must be of real numbers, got {value.dtype}.")
    if not value.numel():
        what = "sequences: the batch is empty" if len(value) else "steps"
        raise NotMeasured(f"The loss is of no {what}; got shape {tuple(value.shape)}.")
    if not ran:
        raise NotMeasured("The loss does not use the model that it is given; let it call model(...), its argument.")
    return value.detach().double()


def refuse_what_cannot_run(model: nn.Module) -> None:
    """Raises UsageError or NotMeasured for what no measurement can be taken of, before anything is tried."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"The model must be an nn.Module, got {type(model).__name__}; the loss comes after it.")
    scripted = [name or "the top" for name, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        raise NotMeasured(
            f"The model is compiled by TorchScript (at {scripted[0]}), whose steps cannot be seen. Give the module "
            "that it was made from."
        )
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise NotMeasured(f"A lazy layer ({name.rpartition('.')[0]}) is not yet initialised; call the model once.")
        if p.is_meta:
            raise NotMeasured(
                "The model is on the meta device, which holds no numbers; move it to a CPU or a GPU first."
            )


def _mean(losses: Tensor) -> str:
    return f"{float(losses.mean()):.6g}"
