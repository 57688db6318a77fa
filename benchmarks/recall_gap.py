"""Which gap shows the difference: delayed recall, the default LSTM against the remedy, over seeds.

Accuracy after the demo's 400 steps; the demo takes a gap that the default never learns and the remedy always does.
"""

import sys
import tempfile
from pathlib import Path

import retrograd as rg
from benchmarks import results
from retrograd.experiments.demo import RECALL, recall, remedy
from retrograd.experiments.events import Finished

GAPS, SEEDS = (10, 20, 40, 60, 80), (1, 2, 3)


def pair(gap: int, seed: int, folder: Path) -> dict[str, dict[str, float | str]]:
    """The default, and after it the remedy that its diagnosis names."""
    default = rg.train(recall(gap, "default", seed=seed), out=folder / f"{gap}-{seed}-default")
    cured = rg.train(recall(gap, remedy(default), seed=seed), out=folder / f"{gap}-{seed}-remedy")
    return {"default": _figures(default), "remedy": {"init": remedy(default), **_figures(cured)}}


def _figures(done: Finished) -> dict[str, float | str]:
    return {"horizon": done.report.measurements["start"].horizon.display, "accuracy": done.test.accuracy}


def main() -> None:
    gaps = [int(gap) for gap in sys.argv[1:]] or GAPS
    with tempfile.TemporaryDirectory() as folder:
        table = {gap: [pair(gap, seed, Path(folder)) for seed in SEEDS] for gap in gaps}
    results.write("recall_gap", seeds=SEEDS, steps=RECALL["training"]["steps"], gaps=table)


if __name__ == "__main__":
    main()
