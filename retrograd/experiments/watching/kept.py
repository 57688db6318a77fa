"""A step kept so that it can be run again elsewhere: what broke it, found a second time.

    nonfinite.json             the step, the place, how the arguments are put together, modes, names
    nonfinite.safetensors      weights, buffers, arguments, dLoss/doutput, random states

Nothing is pickled. Arguments that are neither tensors nor plain values are named, and the step is then not kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from retrograd import runs
from retrograd.errors import RunError
from retrograd.experiments.watching.breakage import Broken, broken
from retrograd.experiments.watching.calls import Call
from retrograd.experiments.watching.nested import decoded, encoded, mapped
from retrograd.experiments.watching.setting import MISSING, Setting
from retrograd.measures.nonfinite import NonFinitePlace
from retrograd.runs import Run
from retrograd.trace.snapshot import untouched

SCHEMA = 1
NUMBERS, TENSORS = "nonfinite.json", "nonfinite.safetensors"


def keep(run: Run, found: Broken, model: nn.Module, calls: Sequence[Call]) -> None:
    """Write the step into the run. Raises NotMeasured, with its name, for an argument that cannot be written."""
    tensors = {f"weights.{name}": x for name, x in _weights(model).items()}
    written = []
    for i, call in enumerate(calls):
        values, more = encoded(_parts(model, call), f"calls.{i}")
        written.append(values)
        tensors |= more
    numbers = {"schema": SCHEMA, "found": asdict(found), "training": model.training, "calls": written}
    flat = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    run.keep({NUMBERS: runs.to_json(numbers, indent=1).encode(), TENSORS: to_bytes(flat)})


def again(run: Run, model: nn.Module) -> tuple[Broken, Broken]:
    """What the training found, and what is found now with the step's weights in `model`, which is put back.

    Raises RunError where the run keeps no such step, or one of another model.
    """
    if not (run.path / NUMBERS).is_file():
        raise RunError(f"{run.path} keeps no step that was not finite: no {NUMBERS} is there.")
    try:
        numbers = runs.from_json(run.kept(NUMBERS).read_text(encoding="utf-8"))
        tensors = from_bytes(run.kept(TENSORS).read_bytes())
        then = _broken(numbers["found"])
        with untouched(model), torch.no_grad():
            _load(model, tensors)
            model.train(numbers["training"])
            calls = [_call(model, decoded(values, tensors)) for values in numbers["calls"]]
            return then, broken(model, calls, step=then.step, what=then.what)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise RunError(f"The step kept in {run.path} cannot be read: {type(error).__name__} {error}.") from None


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **{name: b for name, b in model.named_buffers() if b is not None}}


def _load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    mine = _weights(model)
    theirs = {name.removeprefix("weights."): x for name, x in tensors.items() if name.startswith("weights.")}
    if mine.keys() != theirs.keys():
        odd = sorted(mine.keys() ^ theirs.keys())
        raise RunError(f"The step is of another model: only one of them has {', '.join(odd[:5])}.")
    for name, x in sorted(theirs.items()):
        if mine[name].shape != x.shape:
            raise RunError(f"The step is of another model: {name} is {tuple(x.shape)}, here {tuple(mine[name].shape)}.")
        mine[name].copy_(x)


def _parts(model: nn.Module, call: Call) -> dict[str, Any]:
    """A call as plain values and tensors."""
    names = {module: name for name, module in model.named_modules()}
    boxes = {id(box): (names[m], box is m._buffers) for m in names for box in (vars(m), m._buffers)}
    return {
        "module": names[call.plain],
        "arguments": list(call.arguments),
        "links": {path: list(link) for path, link in call.links.items()},
        "number": call.number,
        "modes": call.modes,
        "gradients": call.gradients,
        "autocast": [list(one) for one in call.setting.autocast],
        "generators": {name: _plain(state) for name, state in call.setting.generators.items() if name != "cuda"},
        "attributes": [
            [*boxes[id(box)], name, value is not MISSING, None if value is MISSING else value]
            for box, name, value in call.setting.attributes
        ],
    }


def _call(model: nn.Module, parts: dict[str, Any]) -> Call:
    modules = dict(model.named_modules())
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts |= {name: mapped(parts[name], lambda _, x: x.to(device)) for name in ("arguments", "attributes", "gradients")}
    attributes: list[tuple[Any, str, Any]] = [
        (modules[owner]._buffers if buffer else vars(modules[owner]), name, value if there else MISSING)
        for owner, buffer, name, there, value in parts["attributes"]
    ]
    generators = {name: _state(state) for name, state in parts["generators"].items()}
    args, kwargs = parts["arguments"]
    return Call(
        module=modules[parts["module"]],
        plain=modules[parts["module"]],
        arguments=(args, kwargs),
        links={path: (number, where) for path, (number, where) in parts["links"].items()},
        setting=Setting(generators, attributes, [(kind, on, dtype) for kind, on, dtype in parts["autocast"]], False),
        modes=parts["modes"],
        versions=[],
        gradients=parts["gradients"],
        number=parts["number"],
    )


def _plain(state: Any) -> Any:
    """numpy's state holds an array; its numbers are kept as a tensor."""
    if isinstance(state, tuple):
        return tuple(torch.from_numpy(x.astype(numpy.int64)) if isinstance(x, numpy.ndarray) else x for x in state)
    return state


def _state(kept: Any) -> Any:
    if isinstance(kept, tuple):
        return tuple(x.numpy().astype(numpy.uint32) if isinstance(x, Tensor) else x for x in kept)
    return kept


def _broken(found: dict[str, Any]) -> Broken:
    place = found["place"] and NonFinitePlace(**found["place"])
    return Broken(found["step"], found["what"], place, tuple(found["weights"]))
