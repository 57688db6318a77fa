"""Train recurrent networks and see, exactly, how far back in time their gradients reach.

    import retrograd as rg

    result = rg.train(rg.make_config({"data": {"train": ["notes.txt"]}}))     a run folder, its figures, its report
    model = rg.load(result.run.path)                                      an nn.Module
    report = rg.diagnose(any_module, loss, need=200)                      how far back it reaches, what is wrong
    trace = rg.record(any_module, loss)                                   states and gradients at every step

Names are loaded when they are first used: `import retrograd` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrograd.bptt import BACKENDS as BACKENDS
    from retrograd.bptt import Stack as Stack
    from retrograd.cells import (
        CELLS as CELLS,
    )
    from retrograd.cells import (
        GRU as GRU,
    )
    from retrograd.cells import (
        LSTM as LSTM,
    )
    from retrograd.cells import (
        Additive as Additive,
    )
    from retrograd.cells import (
        Cell as Cell,
    )
    from retrograd.cells import (
        Elman as Elman,
    )
    from retrograd.cells import (
        from_torch as from_torch,
    )
    from retrograd.config import make as make_config  # noqa: F401
    from retrograd.diagnosis import RULES as RULES
    from retrograd.diagnosis import Finding as Finding
    from retrograd.diagnosis import judge as judge
    from retrograd.errors import RetrogradError as RetrogradError
    from retrograd.experiments.build import load as load
    from retrograd.experiments.build import to_torch as to_torch
    from retrograd.experiments.callbacks import LightningWatch as LightningWatch
    from retrograd.experiments.callbacks import TrainerWatch as TrainerWatch
    from retrograd.experiments.comparing.compare import compare as compare
    from retrograd.experiments.examination import assert_horizon as assert_horizon
    from retrograd.experiments.examination import diagnose as diagnose
    from retrograd.experiments.fixing import fix as fix
    from retrograd.experiments.generation import generate as generate
    from retrograd.experiments.labelling import label as label
    from retrograd.experiments.sentences import caption as caption
    from retrograd.experiments.sentences import translate as translate
    from retrograd.experiments.training import resume as resume
    from retrograd.experiments.training import train as train
    from retrograd.experiments.watching import watch as watch
    from retrograd.explore import EXPLORATIONS as EXPLORATIONS
    from retrograd.init import INITS as INITS
    from retrograd.init import initialise_ as initialise_
    from retrograd.measures import (
        MEASURES as MEASURES,
    )
    from retrograd.measures import (
        carry as carry,
    )
    from retrograd.measures import (
        context as context,
    )
    from retrograd.measures import (
        horizon as horizon,
    )
    from retrograd.measures import (
        reach as reach,
    )
    from retrograd.models import Recurrent as Recurrent
    from retrograd.remedies import REMEDIES as REMEDIES
    from retrograd.reports import Report as Report
    from retrograd.tasks import TASKS as TASKS
    from retrograd.trace import Trace as Trace
    from retrograd.trace import record as record
    from retrograd.trace import register as register

_HOME = {
    "BACKENDS": "bptt",
    "Stack": "bptt",
    "CELLS": "cells",
    "GRU": "cells",
    "LSTM": "cells",
    "Additive": "cells",
    "Cell": "cells",
    "Elman": "cells",
    "from_torch": "cells",
    "make_config": "config:make",
    "RULES": "diagnosis",
    "Finding": "diagnosis",
    "judge": "diagnosis",
    "RetrogradError": "errors",
    "load": "experiments.build",
    "to_torch": "experiments.build",
    "LightningWatch": "experiments.callbacks",
    "TrainerWatch": "experiments.callbacks",
    "compare": "experiments.comparing.compare",
    "assert_horizon": "experiments.examination",
    "diagnose": "experiments.examination",
    "fix": "experiments.fixing",
    "generate": "experiments.generation",
    "label": "experiments.labelling",
    "caption": "experiments.sentences",
    "translate": "experiments.sentences",
    "resume": "experiments.training",
    "train": "experiments.training",
    "watch": "experiments.watching",
    "EXPLORATIONS": "explore",
    "INITS": "init",
    "initialise_": "init",
    "MEASURES": "measures",
    "carry": "measures",
    "context": "measures",
    "horizon": "measures",
    "reach": "measures",
    "Recurrent": "models",
    "REMEDIES": "remedies",
    "Report": "reports",
    "TASKS": "tasks",
    "Trace": "trace",
    "record": "trace",
    "register": "trace",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"retrograd has no {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"retrograd.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
