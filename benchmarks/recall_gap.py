"""Which gap shows the difference: delayed recall, the default LSTM against the remedy, over seeds.

Accuracy after the demo's 400 steps; the demo takes a gap that the default never learns and the remedy always does.
"""

import sys
import tempfile
import time
from pathlib import Path

import retrograd as rg
from benchmarks import results
from retrograd.config import merge
from retrograd.experiments.demo import RECALL

GAPS, SEEDS = (10, 20, 40, 60, 80, 100), (1, 2, 3)


def one(gap: int, init: str, seed: int, folder: Path) -> dict[str, float | str]:
    values = merge(RECALL, {"recall": {"gap": gap}, "model": {"init": init}, "training": {"seed": seed}})
    begin = time.perf_counter()
    done = rg.train(rg.make_config(values), out=folder / f"{gap}-{init}-{seed}")
    start = done.report.measurements["start"].horizon
    return {"horizon": start.display, "accuracy": done.test.accuracy, "seconds": time.perf_counter() - begin}


def main() -> None:
    gaps = [int(gap) for gap in sys.argv[1:]] or GAPS
    with tempfile.TemporaryDirectory() as folder:
        table = {
            gap: {init: [one(gap, init, seed, Path(folder)) for seed in SEEDS] for init in ("default", f"chrono={gap}")}
            for gap in gaps
        }
    results.write("recall_gap", seeds=SEEDS, steps=RECALL["training"]["steps"], gaps=table)


if __name__ == "__main__":
    main()
