"""Sentiment by naive Bayes and by an LSTM; tags by a forward and by a bidirectional LSTM: right answers by kind.

python -m benchmarks.labels [SEED...]        needs retrograd[sklearn]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import retrograd as rg
from benchmarks import results
from benchmarks.trained import row

RUNS: dict[str, dict[str, Any]] = {
    "sentiment, naive Bayes": {"task": "sentiment", "model": {"kind": "naive-bayes"}},
    "sentiment, LSTM": {"task": "sentiment", "model": {"hidden": 64}, "training": {"steps": 1600}},
    "tagging, forward": {"task": "tagging", "model": {"hidden": 64}, "training": {"steps": 1200}},
    "tagging, bidirectional": {
        "task": "tagging",
        "model": {"hidden": 32, "bidirectional": True},
        "training": {"steps": 1200},
    },
}


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [1]
    with tempfile.TemporaryDirectory() as folder:
        table: dict[str, Any] = {name: {} for name in RUNS}
        for name, values in RUNS.items():
            for seed in seeds[:1] if "naive" in name else seeds:
                seeded = {**values, "training": {**values.get("training", {}), "seed": seed}}
                table[name][seed] = row(rg.make_config(seeded), Path(folder) / f"{name}-{seed}")[1]
    results.write("labels", runs=table)


if __name__ == "__main__":
    main()
