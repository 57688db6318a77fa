"""One run of a config, as a row of a result: figures, success by what is asked, horizons, steps and minutes."""

import time
from pathlib import Path
from typing import Any

import torch

import retrograd as rg
from retrograd import config
from retrograd.experiments.events import Finished
from retrograd.experiments.own_process import begin_own_process

CONFIGS = Path(__file__).parent.parent / "configs"


def named(file: str, **changes: Any) -> config.Config:
    """A config of configs/ with changes laid over it."""
    return rg.make_config(config.merge(config.read(CONFIGS / f"{file}.toml"), changes))


def row(settings: config.Config, out: Path) -> tuple[Finished, dict[str, Any]]:
    """The run, and what is written of it."""
    begin_own_process()  # as the command line does
    begin = time.perf_counter()
    done = rg.train(settings, out=out)
    minutes = (time.perf_counter() - begin) / 60
    horizons = {name: measured.horizon.display for name, measured in done.report.measurements.items()}
    return done, {
        "minutes": round(minutes, 2),
        "steps": done.steps,
        "threads": torch.get_num_threads(),
        "parameters": done.report.subject.get("parameters"),
        "horizon": horizons,
        "figures": done.report.figures,
        "by": {heading: {str(r[0]): r[1] for r in grid.rows} for heading, grid in done.report.grids.items()},
    }
