"""Runs killed with SIGKILL at random moments, gone on with until they end, against the run that was never killed.

python -m benchmarks.survival [RUNS]          100 unless said otherwise; all must end in the same bits

The settings save every second step, so that many of the kills fall into a save. A run is killed over and over until it
gets through; one that is killed before its folder is there has lost nothing and begins again.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import retrograd as rg
from retrograd.config import Config
from retrograd.runs import Run
from retrograd.training import checkpoint

KILLS = 4  # of one run, at most; then it may get through
ANIMALS = "cat", "dog"
TEXT = "".join(f"the {animal} sat on the mat and looked at me {i} times\n" for i in range(60) for animal in ANIMALS)


def settings(text: Path) -> Config:
    return rg.make_config(
        {
            "data": {"train": [str(text)]},
            "model": {"hidden": 16, "embedding": 8, "layers": 2, "dropout": 0.2},
            "training": {"steps": 60, "window": 16, "batch": 8, "lr": 0.01, "validate_every": 2, "threads": 1},
            "measure": {"every": 20},
        }
    )


def bits(run: Run) -> dict[str, bytes]:
    """The last and the best checkpoint: weights, optimiser, random and carried states, byte for byte."""
    pointer = checkpoint.pointed(run.checkpoints)
    files = [f"{name}/{part}.safetensors" for name in (pointer.last, pointer.best) for part in ("model", "training")]
    return {file: (run.checkpoints / file).read_bytes() for file in files}


def _work(text: Path, folder: Path) -> None:
    """What the process does that will be killed: begin the run, or go on with it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if folder.exists():
        rg.resume(folder)
    else:
        rg.train(settings(text), out=folder)


def start(text: Path, folder: Path) -> "multiprocessing.context.ForkServerProcess":
    """In a process forked from one that has imported everything: starting takes no time that a kill could fall into."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["retrograd.experiments.training", "matplotlib.figure", "torch._dynamo"])
    process = context.Process(target=_work, args=(text, folder))
    process.start()
    return process


def never_killed(text: Path, folder: Path) -> float:
    """The seconds that a whole run takes."""
    start(text, folder.with_name("warm")).join()
    begin = time.monotonic()
    start(text, folder).join()
    return time.monotonic() - begin


def kill_and_resume(text: Path, folder: Path, seconds: float, draw: random.Random) -> Counter[str]:
    """Kill one run again and again within the first part of the `seconds` it takes; returns what the kills met."""
    met: Counter[str] = Counter()
    for attempt in range(KILLS + 1):
        process = start(text, folder)
        process.join(0.7 * draw.random() * seconds if attempt < KILLS else None)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            met["kills"] += 1
            met["before the run was there"] += not folder.exists()
            met["during a save"] += bool(list(folder.glob("checkpoints/.step-*")) or list(folder.glob(".*.*")))
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
        seconds = never_killed(text, root / "whole")
        for i in range(count):
            met += kill_and_resume(text, root / f"run{i}", seconds, draw)
            run = Run(root / f"run{i}")
            same += run.status() == "finished" and bits(run) == bits(Run(root / "whole"))
            print(f"{i + 1} runs, {same} the same, {dict(met)}", file=sys.stderr)
    results.write("survival", runs=count, ended_in_the_same_bits=same, seconds_unkilled=seconds, **met)
    sys.exit(same != count)


if __name__ == "__main__":
    main()
