"""Systems of the lectures, trained: right answers, errors, horizons, steps and minutes, by task, model and seed.

python -m benchmarks.learned GROUP [SEED...]

    adding         T = 150 by the configs of the papers: a squared error under 0.01 is learned, a guess costs 1/6
    order          temporal order, T = 50, without and with the regulariser: success is under 1 % errors
    memory         an LSTM whose forget gates start open on the other long lags; digits need retrograd[sklearn]
    sentiment      naive Bayes beside an LSTM; needs retrograd[sklearn]
    tagging        one direction beside both
    captioning     exact match on pairs of shapes that were never seen together
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import retrograd as rg
from benchmarks import results
from benchmarks.trained import CONFIGS, row
from retrograd import config


def _named(*files: str) -> dict[str, dict[str, Any]]:
    return {file: config.read(CONFIGS / f"{file}.toml") for file in files}


def _open(task: str, *, lag: int, steps: int, hidden: int = 64, lr: float = 0.01, **keys: Any) -> dict[str, Any]:
    """An LSTM with forget gates that start open for memories of up to `lag` steps."""
    return {
        "task": {"name": task, **keys},
        "model": {"hidden": hidden, "init": f"chrono={lag}"},
        "training": {"steps": steps, "lr": lr},
    }


GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    "adding": _named("rnn-adding", "irnn-adding", "np-rnn-adding", "lstm-adding"),
    "order": _named("msgd-c-temporal-order", "msgd-cr-temporal-order"),
    "memory": {
        "latch, T = 50": _open("latch", lag=50, steps=1500, length=50),
        "copying, 20 blanks": _open("copying", lag=40, steps=2500, hidden=128, lr=0.005, length=20),
        "temporal order, 3 bits, T = 50": _open("temporal-order", lag=50, steps=1500, length=50, bits=3),
        "digits, 64 steps": _open("digits", lag=64, steps=2000, lr=0.005),
        "digits, permuted": _open("digits", lag=64, steps=2000, lr=0.005, permuted=True),
    },
    "sentiment": {
        "naive Bayes": {"task": "sentiment", "model": {"kind": "naive-bayes"}},
        "LSTM": {"task": "sentiment", "model": {"hidden": 64}, "training": {"steps": 1600}},
    },
    "tagging": {
        "forward": {"task": "tagging", "model": {"hidden": 64}, "training": {"steps": 1200}},
        "bidirectional": {
            "task": "tagging",
            "model": {"hidden": 32, "bidirectional": True},
            "training": {"steps": 1200},
        },
    },
    "captioning": _named("coloured-shapes"),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in GROUPS:
        sys.exit(f"Name a group, {', '.join(GROUPS)}: python -m benchmarks.learned GROUP [SEED...]")
    seeds = [int(seed) for seed in sys.argv[2:]] or [1]
    table: dict[str, dict[int, Any]] = {name: {} for name in GROUPS[sys.argv[1]]}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for name, values in GROUPS[sys.argv[1]].items():
                if values["model"].get("kind") == "naive-bayes" and seed != seeds[0]:
                    continue  # nothing in it is drawn
                settings = rg.make_config(config.merge(values, {"training": {"seed": seed}}))
                table[name][seed] = row(settings, Path(folder) / f"{name}-{seed}")[1]
    results.write(sys.argv[1], runs=table)


if __name__ == "__main__":
    main()
