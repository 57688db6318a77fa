"""The reach of a model's gradient on a fixed slice of text: record, measure, form an opinion."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from retrograd import config
from retrograd.bptt.denormals import flush_denormals
from retrograd.cells import Elman
from retrograd.diagnosis import Finding, judge
from retrograd.errors import RunError
from retrograd.experiments.objective import at_rest, losses
from retrograd.measures import (
    Attribution,
    Clipping,
    Horizon,
    attribution,
    contributions,
    horizon,
    reach,
    saturation,
    spectrum,
)
from retrograd.reports import Measurement
from retrograd.tasks.window import IGNORED, Sizes, Window
from retrograd.trace import LayerTrace, Trace, record
from retrograd.training.loop import Step

PICTURED = 3  # sequences that the triangle of contributions is taken from: it costs a sweep for each of its rows
LATEST = 32  # steps over which the change of the gradient is split into its parts
LAST_SHARE = 4  # anchors lie in the last quarter of the slice; three quarters remain as the longest lag


def measure(model: nn.Module, probe: Window, *, anchors: int, step: int, whole: bool = False) -> Measurement:
    """Horizon and saturation on the probe (T, B), dropout off; the model is left as it was found.

    `whole` adds what only a page shows: what a step does to the gradient, the triangle of contributions, and the
    spectrum of the recurrent weights.
    """
    with at_rest(model), flush_denormals(False):
        trace = record(model, lambda m: losses(m, probe))
        few = record(model, lambda m: losses(m, probe.first(PICTURED))) if whole else None
        at = [trace.first_loss + t for t in anchor_steps(probe, anchors)]  # on a clock that a source has set going
        picture = probe.source is not None and probe.source.dim() > 2  # it is in the state before the first step
        reached = horizon(reach(trace, anchors=at, longest=min(at) - (0 if picture else 1)))
        return Measurement(
            step=step,
            horizon=reached,
            saturation=saturation(trace),
            attribution=explained(trace, reached) if whole else None,
            contributions=contributions(few) if few else None,
            spectrum=spectrum(trace) if whole else None,
        )


def explained(trace: Trace, h: Horizon) -> Attribution:
    """What a step does to the gradient, over the last steps and the lags that the horizon is made of."""
    return attribution(trace, longest=max(min(h.steps, LATEST), 1), latest=LATEST)


def activation_of(trace: Trace) -> str | None:
    """Of the plain layers, where they all have the same one."""
    kinds = {layer.cell.activation for layer in trace.layers if isinstance(layer.cell, Elman)}
    return kinds.pop() if len(kinds) == 1 else None


def described(model: nn.Module, trace: Trace, *, sequences: int) -> dict[str, str | int | float | None]:
    """What was measured, in words."""
    return {
        "layers": ", ".join(f"{layer.name} {layer.kind.lower()} {_size(layer)}" for layer in trace.layers),
        "parameters": sum(p.numel() for p in model.parameters()),
        "mode": "training" if model.training else "evaluation",
        "steps": len(trace),
        "sequences": sequences,
        "losses": "one a step" if trace.per_step else "one number",
    }


def _size(layer: LayerTrace) -> int:
    return layer.cell.hidden_size if layer.cell else layer.states.shape[-1]


@dataclass
class Gauge:
    """Measures one model now and then while it trains, and never for more than its share of the time."""

    model: nn.Module
    probe: Window
    settings: config.Measure
    recurrent: bool = True  # is there a state to be followed back?
    latest: Measurement | None = None
    cost: float = 0.0  # seconds of the last measurement
    spent: float = 0.0  # ... of all that were taken while training

    def take(self, step: int, *, whole: bool = False) -> Measurement | None:
        """None of a model without a recurrent layer."""
        if not self.recurrent:
            return None
        begin = time.monotonic()
        self.latest = measure(self.model, self.probe, anchors=self.settings.anchors, step=step, whole=whole)
        self.cost = time.monotonic() - begin
        return self.latest

    def take_when_due(self, step: Step) -> Measurement | None:
        every, share = self.settings.every, self.settings.share
        if not self.recurrent or not every or step.index % every or self.spent + self.cost > share * step.seconds:
            return None
        taken = self.take(step.index)
        self.spent += self.cost
        return taken


def anchor_steps(probe: Window, count: int) -> list[int]:
    """The steps t = 1..T whose losses are followed back: spread over the last quarter, or the last one asked."""
    asked = probe.asked.any(1)
    steps = len(asked)
    if not bool(asked.all()):
        return [int(asked.nonzero().max()) + 1]
    first = steps - max(steps // LAST_SHARE, 1) + 1
    return sorted({int(t) for t in torch.linspace(first, steps, count).round()})


def supposed(settings: config.Config, probe: Window) -> tuple[int, str]:
    """How far back a task that does not say so is supposed to need, and what that is taken from."""
    if settings.task.name in config.TEXTS:
        return settings.training.window, "the window"
    return len(probe.inputs), "the sequences' length"


def opinion(
    measured: Measurement,
    settings: config.Config,
    *,
    need: int,
    assumed: str | None,
    loss: float | None = None,
    guess: float | None = None,
    clipping: Clipping | None = None,
    clip: float = 0.0,
) -> tuple[Finding, ...]:
    """The findings about one measurement, for a task that must reach `need` steps back; see `judge`."""
    return judge(
        measured.horizon,
        measured.saturation,
        need=need,
        assumed=assumed,
        cell=settings.model.cell,
        init=settings.model.init,
        activation=settings.model.activation if settings.model.cell == "elman" else None,
        attribution=measured.attribution,
        lyapunov=measured.lyapunov,
        window_adequacy=measured.window,
        window=settings.training.window if settings.task.name in config.TEXTS else None,
        loss=loss,
        guess=guess,
        clip=clip,
        clipping=clipping,
    )


def dump_window(window: Window) -> bytes:
    """The probe as safetensors: kept beside a run, that can be measured again without the text it came from."""
    return to_bytes({name: tensor.cpu().contiguous() for name, tensor in window.tensors.items()})


def load_window(path: Path, sizes: Sizes | None = None) -> Window:
    """The probe of a model of those sizes. Raises RunError where it is another's."""
    try:
        tensors = load_file(str(path))
        others = {name: tensors.get(name) for name in ("source", "lengths")}
        window = Window(tensors["inputs"], tensors["targets"], tensors.get("starts"), 0.0, **others)
    except KeyError as error:
        raise RunError(f"The measured slice {path} lacks {error}; it is no slice that retrograd wrote.") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"The measured slice {path} cannot be read: {error}.") from None
    shapes = sorted({tuple(tensors[name].shape[:2]) for name in ("inputs", "targets", "starts") if name in tensors})
    if len(shapes) != 1 or len(shapes[0]) != 2 or not bool(window.asked.any()):
        raise RunError(f"{path} must hold inputs and targets of one shape (time, batch); got shapes {shapes}.")
    for name, types in _types(sizes).items() if sizes else ():
        x = tensors.get(name, torch.empty(0))
        ids = x[x != IGNORED]
        if x.is_floating_point() or not len(ids) or not 0 <= int(ids.min()) <= int(ids.max()) < types:
            raise RunError(f"{path} does not hold {name} of the model's {types} types; it is another run's.")
    return window


def _types(sizes: Sizes) -> dict[str, int]:
    """The parts of a window that hold token ids, and of how many types."""
    read = {} if sizes.numbers else {"inputs": sizes.inputs}
    asked = {"targets": sizes.outputs} if sizes.measure == "nats" else {}
    source = {"source": sizes.source} if sizes.source and not sizes.height else {}
    return read | asked | source
