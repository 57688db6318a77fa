"""Train recurrent networks and see, exactly, how far back in time their gradients reach.

    import retrograd as rg

    result = rg.train(rg.config({"data": {"train": ["notes.txt"]}}))     a run folder, its figures, its report
    model = rg.load(result.run.path)                                      an nn.Module
    trace = rg.record(any_module, lambda m: per_step_losses(m))           states and gradients at every step
    rg.horizon(rg.reach(trace)).display                                   how many steps back the gradient counts

Names are loaded when they are first used: `import retrograd` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrograd.bptt import BACKENDS, bptt
    from retrograd.bptt.stack import Stack
    from retrograd.cells import CELLS, GRU, LSTM, Additive, Cell, Elman, from_torch
    from retrograd.config import make as config
    from retrograd.diagnosis import RULES, Finding, diagnose
    from retrograd.errors import RetrogradError
    from retrograd.experiments.build import load, to_torch
    from retrograd.experiments.generation import generate
    from retrograd.experiments.training import train
    from retrograd.init import INITS, initialise_
    from retrograd.measures import MEASURES, carry, horizon, reach, saturation
    from retrograd.models import RecurrentLM
    from retrograd.reports import Report
    from retrograd.tasks import TASKS
    from retrograd.trace import Trace, record

_HOME = {
    "BACKENDS": "bptt",
    "bptt": "bptt",
    "Stack": "bptt.stack",
    "CELLS": "cells",
    "GRU": "cells",
    "LSTM": "cells",
    "Additive": "cells",
    "Cell": "cells",
    "Elman": "cells",
    "from_torch": "cells",
    "config": "config:make",
    "RULES": "diagnosis",
    "Finding": "diagnosis",
    "diagnose": "diagnosis",
    "RetrogradError": "errors",
    "load": "experiments.build",
    "to_torch": "experiments.build",
    "generate": "experiments.generation",
    "train": "experiments.training",
    "INITS": "init",
    "initialise_": "init",
    "MEASURES": "measures",
    "carry": "measures",
    "horizon": "measures",
    "reach": "measures",
    "saturation": "measures",
    "RecurrentLM": "models",
    "Report": "reports",
    "TASKS": "tasks",
    "Trace": "trace",
    "record": "trace",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"retrograd has no {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"retrograd.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
