"""What a training goes on from beside the weights, as tensors by name: the same bits after it was put back.

optimizer.3.exp_avg     the optimiser's state of the fourth parameter
carried.0               the state carried over the window's edge
random.cpu random.cuda  torch's random states
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from retrograd.errors import RunError
from retrograd.training.loop import State


def take(optimizer: torch.optim.Optimizer, carried: State, device: torch.device) -> dict[str, Tensor]:
    """Copies of all of it, on the CPU."""
    tensors = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items() if value is not None}
    tensors |= {f"carried.{i}": tensor for i, tensor in enumerate(carried or ())}
    return {name: torch.as_tensor(value).detach().cpu().clone() for name, value in tensors.items()}


def put_back(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, device: torch.device) -> State:
    """Restore the optimiser and the random states; returns the carried state. Raises RunError where they do not fit."""
    try:
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = tensor
        _check(state, optimizer)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random.cpu"])
        if device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RunError(
            f"The checkpoint's training state does not fit this model: {reason}. "
            f"Its weights can start a new run: train --weights FILE."
        ) from None
    count = sum(name.startswith("carried.") for name in tensors)
    return tuple(tensors[f"carried.{i}"].to(device) for i in range(count)) or None


def _check(state: Mapping[int, Mapping[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in state.items():
        if index >= len(parameters):
            raise ValueError(f"it is of {index + 1} parameters, the model has {len(parameters)}")
        for name, value in values.items():
            if value.dim() and value.shape != parameters[index].shape:
                raise ValueError(f"{name} of parameter {index} is {tuple(value.shape)}")
