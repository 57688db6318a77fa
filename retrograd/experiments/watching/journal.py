"""What a watched training tells on its way, in memory and, where a folder was named, as a run.

config.toml      task = "watched", and what is known of the model; it trains nothing
metrics.jsonl    events.jsonl    report.json    report.html        as in any other run
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import nn

from retrograd import config, runs
from retrograd.bptt import Stack
from retrograd.errors import RunError
from retrograd.experiments import logbook
from retrograd.experiments.reporting import environment
from retrograd.reports import Curve, Happening, Report
from retrograd.runs import Run

PAGE = 0.005  # of the time goes into drawing the page, at most, until the end
FIRST_PAGE = 5.0  # seconds that a page may take, before one was drawn
MOST = 4000  # lines that are held in memory; then every second one is dropped


@dataclass
class Journal:
    """The lines and happenings of one training; `run` is None where nothing is written."""

    run: Run | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    drawing: float = FIRST_PAGE  # seconds that the last page took
    drawn: float = 0.0  # ... and all of them
    held: ExitStack = field(default_factory=ExitStack, repr=False)  # the run's lock

    def line(self, step: int, **values: Any) -> None:
        """Numbers of one step."""
        self.lines.append({"step": step, **values})
        if len(self.lines) > MOST:
            self.lines = [line for i, line in enumerate(self.lines) if i % 2 or "horizon" in line]
        if self.run:
            self.run.record(step=step, **values)

    def event(self, name: str, **values: Any) -> None:
        """Something happened."""
        self.happenings.append(Happening(name, round(time.time(), 3), values))
        if self.run:
            self.run.event(name, **values)

    def curves(self) -> dict[str, Curve]:
        """Every quantity by name. What one unit of the loss is, only its author knows."""
        drawn = logbook.curves(self.lines)
        return drawn | ({"loss": replace(drawn["loss"], unit="loss")} if "loss" in drawn else {})

    def write(self, report: Report, *, seconds: float, page: bool = False) -> None:
        """The report of now, into the run. The page is drawn where it must be, or its share of the time allows."""
        if self.run is None:
            return
        runs.write(self.run.path / "report.json", report.to_json())
        if page or self.drawn + self.drawing <= PAGE * seconds:
            from retrograd.reports import html  # which draws with matplotlib

            begin = time.monotonic()
            runs.write(self.run.path / "report.html", html.page(report, run=str(self.run.path)))
            self.drawing = time.monotonic() - begin
            self.drawn += self.drawing


def begun(model: nn.Module, out: str | Path | None, *, title: str, **known: Any) -> Journal:
    """A new journal, and its run where `out` names a folder. Raises RunError where something is there already."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    journal = Journal(environment=environment(device))
    if out is not None:
        try:
            with runs.creating(out, name=title) as (draft, run):
                runs.write(draft.path / "config.toml", tomli_w.dumps(settings(model, **known)))
                draft.event("started", environment=journal.environment, by=runs.this_process())
        except RunError as error:
            raise RunError(str(error).replace("with --out", "with out=")) from None
        journal.run = run
        journal.held.enter_context(run.writing())
    journal.happenings.append(Happening("started", round(time.time(), 3)))
    return journal


def settings(
    model: nn.Module, *, every: int, share: float, clip_norm: float | None, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """What is known of somebody's model and loop, under the names that a run's config has; nothing else."""
    found = [m for m in model.modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase | Stack)]
    lr = float(optimizer.param_groups[0].get("lr", 0.0)) if optimizer else 0.0
    training: dict[str, Any] = {
        "optimizer": type(optimizer).__name__.lower() if optimizer else config.UNKNOWN,
        "schedule": config.UNKNOWN,
        "clip_norm": clip_norm or 0.0,
    }
    values = {
        "task": "watched",
        "model": {**(_shape(found[0]) if found else {"cell": config.UNKNOWN}), "init": config.UNKNOWN},
        "training": training | ({"lr": lr} if lr > 0 else {}),
        "measure": {"every": every, "share": share},
    }
    config.make(values)  # is it one that can be read?
    return values


def _shape(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, Stack):
        first = module.layers[0]
        sizes = {"hidden": first.hidden_size, "layers": len(module.layers), "dropout": module.dropout}
        return {"cell": type(first).__name__.lower(), **sizes}
    kind = type(module).__name__.lower()
    kind = next((known for known in ("lstm", "gru", "rnn") if known in kind), kind)
    layers, dropout = getattr(module, "num_layers", 1), getattr(module, "dropout", 0.0)
    return {"cell": "elman" if kind == "rnn" else kind, "hidden": module.hidden_size, "layers": layers} | (
        {"dropout": dropout} if 0 <= dropout < 1 else {}
    )
