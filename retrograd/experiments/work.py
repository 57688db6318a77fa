"""What one training works with: the task, the model, its optimiser, and the gauge that looks at it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrograd import config
from retrograd.bptt import Stack
from retrograd.errors import ConfigError
from retrograd.experiments import build, weights
from retrograd.experiments.measuring import Gauge, supposed
from retrograd.models import Network
from retrograd.remedies import Course, Plain, remedy_in
from retrograd.tasks import Task, make_task, refuse_unread
from retrograd.tasks.tokenizers import NONE, Fitted
from retrograd.tasks.window import Window
from retrograd.training.optimizers import make_optimizer
from retrograd.training.schedules import Budget, Schedule, make_schedule

DEFAULT_MINUTES = 5.0
BESIDE = ("norm_preserving", "clip_in_time")  # remedies that a step can take without remembering the steps before


@dataclass(frozen=True)
class Work:
    """Built from a config of which nothing is left open."""

    settings: config.Config
    task: Task
    model: Network
    device: torch.device
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    gauge: Gauge
    course: Course  # what a training step does besides

    @property
    def budget(self) -> Budget:
        t = self.settings.training
        return Budget(t.minutes, t.steps, t.epochs)

    @property
    def need(self) -> int:
        """Steps back that the task needs, or is supposed to."""
        return self.task.need or supposed(self.settings, self.gauge.probe)[0]

    @property
    def assumed(self) -> str | None:
        """What the need is supposed from, where the task does not say it."""
        return supposed(self.settings, self.gauge.probe)[1] if self.task.need is None else None


def prepare(settings: config.Config, fitted: Fitted = NONE, *, resumed: bool = False) -> Work:
    """Seeds torch's global random state, from which the weights are drawn. Raises UsageError.

    A run that is `resumed` has its tokenizers, `fitted` before, and its weights.
    """
    settings = resolve(settings)
    task = make_task(settings, fitted)
    if not resumed:
        refuse_unread(settings)
    torch.manual_seed(settings.training.seed)
    device = build.device(settings.training.device)
    model = build.settle(build.build(settings, task.sizes), settings, device)
    backends = [module.backend for module in model.modules() if isinstance(module, Stack)]
    settings = _with(settings, backend=next(iter(backends), settings.training.backend), device=str(device))
    if settings.model.weights and not resumed:
        weights.load_into(model, weights.read(settings.model.weights))
    t = settings.training
    optimizer = make_optimizer(
        t.optimizer, model.parameters(), lr=t.lr, momentum=t.momentum, betas=t.betas, weight_decay=t.weight_decay or 0.0
    )
    schedule = make_schedule(t.schedule, warmup=t.warmup, divide_by=t.divide_by, divide_after=t.divide_after)
    probe = task.probe().to(device)
    gauge = Gauge(model, probe, settings.measure, recurrent=bool(backends) and _goes_back(probe))
    return Work(settings, task, model, device, optimizer, schedule, gauge, _course(t.remedy, model))


def _goes_back(probe: Window) -> bool:
    """Is anything before the last step that is asked?"""
    return len(probe.inputs) > 1 or probe.source is not None


def _course(remedy: str | None, model: nn.Module) -> Course:
    """Raises UnknownName, and ConfigError for a remedy that is applied once, or remembers how far it has come."""
    if remedy is None:
        return Plain()
    patch, numbers = remedy_in(remedy)
    if patch.name not in BESIDE:
        raise ConfigError(f"training.remedy takes {' or '.join(BESIDE)}; got {remedy!r}. Starts are model.init.")
    return patch.apply(model, _unasked, *numbers)


def _unasked(model: nn.Module) -> Tensor:
    raise AssertionError("neither of them measures before it is applied")


def resolve(settings: config.Config) -> config.Config:
    """Leave nothing open: a start, a budget, the number of threads, absolute paths."""
    t, d, m = settings.training, settings.data, settings.model
    if t.threads is not None:
        torch.set_num_threads(t.threads)
    init = m.init or ("forget_bias=1" if m.cell == "lstm" else "default")
    # as an L2 penalty, which the other optimisers make of it, 0.1 would keep a model from learning at all
    decay = t.weight_decay if t.weight_decay is not None else 0.1 if t.optimizer == "adamw" else 0.0
    budget = {} if t.minutes or t.steps or t.epochs else {"minutes": DEFAULT_MINUTES}
    model = m.model_copy(update={"init": init, "weights": m.weights and _absolute(m.weights)})
    settings = settings.model_copy(update={"data": with_paths(d), "model": model})
    return _with(settings, threads=torch.get_num_threads(), weight_decay=decay, **budget)


def with_paths(data: config.Data) -> config.Data:
    """Its texts by absolute paths."""
    paths = {
        "train": tuple(map(_absolute, data.train)),
        "valid": data.valid and _absolute(data.valid),
        "test": data.test and _absolute(data.test),
    }
    return data.model_copy(update=paths)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _with(settings: config.Config, **changes: Any) -> config.Config:
    return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})
