"""Runs killed with SIGKILL at random moments, gone on with until they end, against the run that was never killed.

python -m benchmarks.survival [RUNS]          100 unless said otherwise; all must end in the same bits

The settings save every second step, so that many of the kills fall into a save, and take turns: a language model with
dropout, one that loses patience, one that explodes at its start and goes back, a task without text. A run is killed
over and over until it gets through; one that is killed before its folder is there has lost nothing and begins again.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import retrograd as rg
from retrograd.config import Config, merge
from retrograd.runs import Run
from retrograd.training.pointer import pointed

KILLS = 4  # of one run, at most; then it may get through
ANIMALS = "cat", "dog"
TEXT = "".join(f"the {animal} sat on the mat and looked at me {i} times\n" for i in range(60) for animal in ANIMALS)


BASE: dict[str, Any] = {
    "model": {"hidden": 16, "embedding": 8, "layers": 2, "dropout": 0.2},
    "training": {"steps": 60, "window": 16, "batch": 8, "lr": 0.01, "validate_every": 2, "threads": 1},
    "measure": {"every": 20},
}
KINDS: dict[str, dict[str, Any]] = {
    "language": {},
    "patience": {"training": {"lr": 0.3, "schedule": "constant", "patience": 12}},
    "exploding": {
        "model": {"cell": "elman", "activation": "relu", "init": "normal=1", "layers": 1, "dropout": 0.0},
        "training": {"optimizer": "sgd", "lr": 1.0, "schedule": "constant", "warmup": 0.0, "clip_norm": 0.0}
        | {
            "backend": "reference"  # where an explosion ends hangs on the last digit
        },
    },
    "recall": {"task": {"name": "recall", "length": 5}, "data": {"train": []}, "training": {"window": 64}},
}


def settings(kind: str, text: Path) -> Config:
    given: dict[str, Any] = {"data": {"train": [str(text)]}, **BASE}
    return rg.make_config(merge(given, KINDS[kind]))


def bits(run: Run) -> dict[str, bytes]:
    """The last and the best checkpoint: weights, optimiser, random and carried states, byte for byte."""
    pointer = pointed(run.checkpoints)
    files = [f"{name}/{part}.safetensors" for name in (pointer.last, pointer.best) for part in ("model", "training")]
    return {file: (run.checkpoints / file).read_bytes() for file in files}


def _work(asked: Config, folder: Path) -> None:
    """What the process does that will be killed: begin the run, or go on with it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if folder.exists() and Run(folder).status() == "finished":
        return  # it was killed after its last word
    if folder.exists():
        rg.resume(folder)
    else:
        rg.train(asked, out=folder)


def start(asked: Config, folder: Path) -> "multiprocessing.context.ForkServerProcess":
    """In a process forked from one that has imported everything: starting takes no time that a kill could fall into."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["retrograd.experiments.training", "matplotlib.figure", "torch._dynamo"])
    process = context.Process(target=_work, args=(asked, folder))
    process.start()
    return process


def never_killed(asked: Config, folder: Path) -> float:
    """The seconds that a whole run takes."""
    start(asked, folder.with_name(f"{folder.name}-warm")).join()
    begin = time.monotonic()
    start(asked, folder).join()
    return time.monotonic() - begin


def kill_and_resume(asked: Config, folder: Path, seconds: float, draw: random.Random) -> Counter[str]:
    """Kill one run again and again within the first part of the `seconds` it takes; returns what the kills met."""
    met: Counter[str] = Counter()
    for attempt in range(KILLS + 1):
        halves = set(folder.parent.rglob("*.half"))
        process = start(asked, folder)
        process.join(0.7 * draw.random() * seconds if attempt < KILLS else None)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            met["kills"] += 1
            met["before the run was there"] += not folder.exists()
            met["during a save"] += bool(folder.exists() and set(folder.rglob("*.half")) - halves)
        else:
            met["failures"] += process.exitcode != 0
            break
    return met


def main() -> None:
    from benchmarks import results

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    draw, met, same = random.Random(1), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        text = root / "mat.txt"
        text.write_text(TEXT)
        asked = {kind: settings(kind, text) for kind in KINDS}
        seconds = {kind: never_killed(asked[kind], root / kind) for kind in KINDS}
        returns = len(pointed(Run(root / "exploding").checkpoints).returns)
        for i, kind in zip(range(count), cycle(KINDS), strict=False):
            run = Run(root / f"run{i}")
            met += kill_and_resume(asked[kind], run.path, seconds[kind], draw)
            same += run.status() == "finished" and bits(run) == bits(Run(root / kind))
            print(f"{i + 1} runs, {same} the same, {dict(met)}", file=sys.stderr)
    kinds = list(KINDS)
    results.write("survival", runs=count, ended_in_the_same_bits=same, **met, kinds=kinds, returns_of_exploding=returns)
    sys.exit(same != count)


if __name__ == "__main__":
    main()
